"""The prepared dataset and models of the evaluation's tests."""

from __future__ import annotations

import importlib.util
from pathlib import Path

_path = Path(__file__).parents[1] / "evaluation" / "conftest.py"
_spec = importlib.util.spec_from_file_location("evaluation_fixtures", _path)
assert _spec is not None
assert _spec.loader is not None
_fixtures = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_fixtures)

workspace = _fixtures.workspace
classifier = _fixtures.classifier
fused_classifier = _fixtures.fused_classifier
segmenter = _fixtures.segmenter
without_masks = _fixtures.without_masks
