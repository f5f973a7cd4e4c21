"""Telemetry is off before the libraries that have it are imported, wherever a flow is started."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from deployments.local import environment
from flows.quiet import QUIET, be_quiet
from glaucoma.workspace import Workspace

_ASK = "import sys, os, json, flows; print(json.dumps([dict(os.environ), sorted(sys.modules)]))"


def test_whoever_imports_a_flow_is_counted_by_nobody_even_far_from_this_project(tmp_path: Path) -> None:
    clean = {"PATH": os.environ["PATH"], "PYTHONPATH": str(Path(__file__).parents[3]), "HOME": str(tmp_path)}
    asked = subprocess.run([sys.executable, "-c", _ASK], env=clean, cwd=tmp_path, capture_output=True, check=True)
    variables, modules = json.loads(asked.stdout)
    assert QUIET.items() <= variables.items()
    assert not {"prefect", "dvc", "wandb", "mlflow", "great_expectations", "huggingface_hub"} & set(modules)


def test_who_wants_to_be_counted_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DO_NOT_TRACK", "0")
    be_quiet()
    assert os.environ["DO_NOT_TRACK"] == "0"


def test_server_and_workers_are_told_the_same(tmp_path: Path) -> None:
    assert QUIET.items() <= environment(Workspace.at(tmp_path)).items()
