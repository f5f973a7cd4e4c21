"""From a spec to its network."""

from __future__ import annotations

from typing import TYPE_CHECKING

from glaucoma.errors import WeightsUnavailableError
from glaucoma.models.classifiers import build_classifier
from glaucoma.models.segmenters import build_segmenter
from glaucoma.provenance import file_sha256
from glaucoma.schema import Task
from glaucoma.training.spec import ExperimentSpec
from glaucoma.workspace import Workspace

if TYPE_CHECKING:
    from torch import nn


def build_model(
    spec: ExperimentSpec, workspace: Workspace | None = None, *, pretrained: bool | None = None
) -> nn.Module:
    """The spec's network, new or with pretrained weights, on the CPU.

    It is called with images; with `spec.clinical` it is a `ClinicalFusion`, called with images and clinical values.

    Args:
        workspace: Where weights are looked for; not needed without them.
        pretrained: Overrides the spec, for a network that a checkpoint fills anyway.

    Raises:
        UnknownModelError: No such network.
        WeightsUnavailableError: No fitting weights, or the named file is no longer the one of the spec.
        SettingsError: The network does not serve for this input, or cannot be joined with clinical values.
    """
    wanted = spec.pretrained if pretrained is None else pretrained
    weights_dir = workspace.weights if workspace is not None else None
    if wanted:
        _require_same_weights(spec)
    if spec.task is Task.SEGMENTATION:
        return build_segmenter(
            spec.model,
            spec.decoder_channels,
            pretrained=wanted,
            weights_path=spec.weights_path,
            weights_dir=weights_dir,
        )
    classifier = build_classifier(
        spec.model,
        pretrained=wanted,
        weights_path=spec.weights_path,
        weights_dir=weights_dir,
        input_px=spec.input_px,
    )
    if not spec.clinical:
        return classifier
    from glaucoma.models.fusion import ClinicalFusion

    return ClinicalFusion(classifier, spec.clinical)


def _require_same_weights(spec: ExperimentSpec) -> None:
    path, expected = spec.weights_path, spec.weights_sha256
    if path is None or expected is None or not path.is_file():
        return  # a missing file is told by the search for weights
    found = file_sha256(path)
    if found != expected:
        raise WeightsUnavailableError(
            f"The weights file {path} has the SHA-256 {found}",
            expected=f"{expected}, as the experiment says",
            remedy="put the right file there, or make a new experiment from this one",
        )
