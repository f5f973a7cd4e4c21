"""What the report takes from an experiment's folder; what is not there is None or empty, and the report says so."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import BaseModel

from glaucoma.errors import ArcError, problems
from glaucoma.evaluation.result import Evaluation
from glaucoma.explanation.result import Explanation
from glaucoma.records.record import ExperimentFacts
from glaucoma.schema import Split, Task
from glaucoma.training.progress_log import read_progress
from glaucoma.workspace import Workspace

Floats = NDArray[np.float64]
Model = TypeVar("Model", bound=BaseModel)
MAX_PICTURE_BYTES = 400_000
"""A larger picture stays in its folder: the report must open on a telephone."""


@dataclass(frozen=True)
class Picture:
    """An overlay as a data URI, with what it shows."""

    source: str
    title: str
    detail: str


@dataclass(frozen=True)
class Material:
    """The files of one experiment on one split, read."""

    evaluation: Evaluation | None = None
    roc: pd.DataFrame | None = None
    calibration: pd.DataFrame | None = None
    predictions: pd.DataFrame | None = None
    epochs: Floats = field(default_factory=lambda: np.zeros(0))
    losses: Floats = field(default_factory=lambda: np.zeros(0))
    val_losses: Floats = field(default_factory=lambda: np.zeros(0))
    val_scores: Floats = field(default_factory=lambda: np.zeros(0))
    pictures: list[Picture] = field(default_factory=list)
    pictures_left: int = 0
    explanation: Explanation | None = None


def read_material(
    experiment: ExperimentFacts, workspace: Workspace, *, split: Split = Split.VAL, max_pictures: int = 8
) -> Material:
    """All that the experiment's folder holds for the report."""
    folder = workspace.experiments / experiment.experiment_id
    results = folder / "results" / split
    epochs, losses, val_losses, val_scores = _history(folder / "logs" / "progress.jsonl", experiment.task)
    visualizations = folder / "visualizations" / split
    explanation = _read(Explanation, visualizations / "explanation.json")
    pictures, left = _pictures(explanation, visualizations, max_pictures)
    return Material(
        evaluation=_read(Evaluation, results / "metrics.json"),
        roc=_table(results / "roc.csv"),
        calibration=_table(results / "calibration.csv"),
        predictions=_table(results / "predictions.csv"),
        epochs=epochs,
        losses=losses,
        val_losses=val_losses,
        val_scores=val_scores,
        pictures=pictures,
        pictures_left=left,
        explanation=explanation,
    )


def _read(model: type[Model], path: Path) -> Model | None:
    """The JSON at `path` as `model`; None where there is no file."""
    try:
        return model.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise _damaged(path, error) from error


def _table(path: Path) -> pd.DataFrame | None:
    if not path.is_file():
        return None
    try:
        return pd.read_csv(path, dtype={"image_id": str, "group": str, "label_name": str})
    except ValueError as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> ArcError:
    return ArcError(
        f"{path} cannot be read ({problems(error)})",
        consequence="No report was written",
        remedy="evaluate the experiment again",
    )


def _history(path: Path, task: Task) -> tuple[Floats, Floats, Floats, Floats]:
    """Epoch, training loss, validation loss and validation score; of an epoch run twice the last counts."""
    score = "auc" if task is Task.CLASSIFICATION else "dice_mean"
    rows = {
        line.epoch: (line.loss, line.val.get("loss"), line.val.get(score)) for line in read_progress(path) if line.val
    }
    numbers = np.array([[epoch, *rows[epoch]] for epoch in sorted(rows)], dtype=np.float64).reshape(-1, 4)
    return numbers[:, 0], numbers[:, 1], numbers[:, 2], numbers[:, 3]


def _pictures(explanation: Explanation | None, folder: Path, limit: int) -> tuple[list[Picture], int]:
    """The first overlays with their words, and how many more there are."""
    entries = [e for e in explanation.overlays if _inside(folder, e.file)] if explanation else []
    chosen = entries[:limit]
    return [Picture(data_uri(folder / e.file), e.title, e.detail) for e in chosen], len(entries) - len(chosen)


def _inside(folder: Path, name: str) -> bool:
    """True for a small PNG of the folder itself; a path that leads elsewhere is none."""
    path = folder / name
    return (
        path.resolve().parent == folder.resolve()
        and path.suffix == ".png"
        and path.is_file()
        and path.stat().st_size <= MAX_PICTURE_BYTES
    )


def data_uri(path: Path) -> str:
    """A PNG as a `data:` address."""
    return "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode()
