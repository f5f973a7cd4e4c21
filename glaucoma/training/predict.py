"""What a trained model says of a split: the one way in which evaluation and explanation see a model."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from glaucoma.errors import IntegrityError, SettingsError
from glaucoma.schema import Column, Label, Split, Task
from glaucoma.training.data import PreparedData, clinical_input, model_input, open_prepared
from glaucoma.training.experiment import Experiment
from glaucoma.training.spec import ExperimentSpec
from glaucoma.workspace import Workspace

if TYPE_CHECKING:
    import pandas as pd
    import torch


@dataclass(frozen=True)
class SegmentationPrediction:
    """One image: probabilities of disc (whole, cup included) and cup, and the reader's mask, at prepared resolution."""

    image_id: str
    probability: np.ndarray[Any, np.dtype[np.float32]]
    """(2, S, S) float32 in 0..1; channel 0 the whole disc, channel 1 the cup."""
    truth: np.ndarray[Any, np.dtype[np.uint8]]
    """(S, S) uint8 of `MaskValue`."""


def load_model(experiment: Experiment, device: str = "cpu") -> tuple[torch.nn.Module, ExperimentSpec]:
    """The best checkpoint's model in eval mode on `device`, and its spec.

    `data.model_input` and `data.clinical_input` make what it takes, `models.fusion.logits_of` calls it.

    Raises:
        IntegrityError: The checkpoint is missing, damaged, not the one that the metadata name, or of another network.
    """
    from glaucoma.training.build import build_model
    from glaucoma.training.checkpoints import BEST, Checkpoints, require_same_tensors

    spec = experiment.spec
    checkpoints = Checkpoints(experiment.checkpoints)
    payload = checkpoints.load_best()
    recorded = experiment.metadata.checkpoint
    wrong_hash = recorded is not None and recorded.sha256 != checkpoints.sha256(BEST)
    if wrong_hash or payload["experiment_id"] != experiment.experiment_id:
        raise IntegrityError(
            f"{experiment.checkpoints / BEST} is not the checkpoint of {experiment.experiment_id}'s metadata",
            remedy="train the experiment again",
        )
    model = build_model(spec, pretrained=False)
    try:
        require_same_tensors("model", payload["model"], model.state_dict())
    except IntegrityError as error:
        raise IntegrityError(
            f"{experiment.checkpoints / BEST} does not fit {spec.model} as it is built today: {error.found}",
            remedy="go back to the version of its library that the experiment's metadata name, or train it again",
        ) from error
    model.load_state_dict(payload["model"])
    return model.to(device).eval(), spec


def predict_classification(
    experiment: Experiment, workspace: Workspace, split: Split, *, device: str = "cpu", batch_size: int = 32
) -> pd.DataFrame:
    """A row per normal or glaucoma image of the split, in manifest order: image_id, label (0/1), logit, probability."""
    import pandas as pd
    import torch

    from glaucoma.models.fusion import logits_of

    spec, data, rows = _open(experiment, workspace, split, Task.CLASSIFICATION)
    model, _ = load_model(experiment, device)
    logits: list[float] = []
    with torch.inference_mode():
        for chosen in _chunks(rows, batch_size):
            inputs = model_input(data.images[chosen], spec).to(device)
            clinical = clinical_input(data.manifest, chosen, spec)
            found = logits_of(model, inputs, None if clinical is None else clinical.to(device))
            logits.extend(found.float().flatten().cpu().tolist())
    values = np.asarray(logits, dtype=np.float64)
    manifest = data.manifest.iloc[rows]
    return pd.DataFrame(
        {
            "image_id": manifest[Column.IMAGE_ID].to_numpy(),
            "label": (manifest[Column.LABEL] == str(Label.GLAUCOMA)).to_numpy().astype(np.int64),
            "logit": values,
            "probability": 1 / (1 + np.exp(-values)),
        }
    )


def predict_segmentation(
    experiment: Experiment, workspace: Workspace, split: Split, *, device: str = "cpu", batch_size: int = 16
) -> Iterator[SegmentationPrediction]:
    """One prediction per image of the split that has disc and cup in its mask, in manifest order.

    A batch is in memory at a time. Logits are enlarged to the prepared resolution (bilinear) before the sigmoid.
    """
    import torch
    from torch.nn.functional import interpolate

    spec, data, rows = _open(experiment, workspace, split, Task.SEGMENTATION)
    model, _ = load_model(experiment, device)
    ids = data.manifest[Column.IMAGE_ID].to_numpy()
    side = data.images.shape[1]
    for chosen in _chunks(rows, batch_size):
        with torch.inference_mode():
            logits = model(model_input(data.images[chosen], spec).to(device)).float()
            full = interpolate(logits, size=(side, side), mode="bilinear", align_corners=False)
            probability = torch.sigmoid(full).cpu().numpy()
        for place, row in enumerate(chosen):
            yield SegmentationPrediction(str(ids[row]), probability[place], np.array(data.masks[row]))


def _open(
    experiment: Experiment, workspace: Workspace, split: Split, task: Task
) -> tuple[ExperimentSpec, PreparedData, Any]:
    spec = experiment.spec
    if spec.task is not task:
        raise SettingsError(f"{experiment.experiment_id} is a {spec.task} experiment", expected=f"one of {task}")
    data = open_prepared(spec, workspace)
    return spec, data, data.rows(task, split)


def _chunks(rows: Any, size: int) -> Iterator[Any]:
    for start in range(0, len(rows), size):
        yield rows[start : start + size]
