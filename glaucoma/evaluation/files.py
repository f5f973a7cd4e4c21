"""Where an evaluation lies: an immutable folder by key, a link by split, tables in CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from glaucoma.datasets.manifest import read_manifest
from glaucoma.errors import DatasetError, IntegrityError, NotFoundError
from glaucoma.evaluation.result import Evaluation
from glaucoma.provenance import write_bytes
from glaucoma.schema import Column, Split
from glaucoma.training.experiment import CheckpointRecord, Experiment
from glaucoma.workspace import Workspace

METRICS_NAME = "metrics.json"
PREDICTIONS_NAME = "predictions.csv"
ROC_NAME = "roc.csv"
CALIBRATION_NAME = "calibration.csv"
RECORD_NAME = "stage.json"


def read_evaluation(experiment: Experiment, split: Split = Split.VAL) -> Evaluation:
    """The newest evaluation of that split; `NotFoundError` where there is none."""
    return read_metrics(experiment.results / str(split))


def read_metrics(folder: Path) -> Evaluation:
    """The evaluation that `folder` holds.

    Raises:
        NotFoundError: There is none.
        IntegrityError: `metrics.json` is damaged.
    """
    path = folder / METRICS_NAME
    if not path.is_file():
        raise NotFoundError(f"No evaluation at {path}", remedy="run the evaluation first")
    try:
        return Evaluation.model_validate_json(path.read_bytes())
    except ValueError as error:
        raise IntegrityError(
            f"{path} is no valid evaluation ({error})", remedy=f"remove {folder.resolve()} and evaluate again"
        ) from error


def link_split(parent: Path, split: Split, key: str) -> None:
    """Makes `parent/<split>` point at `parent/<key>`, in one step: who looks sees the old one or the new one."""
    link = parent / str(split)
    if link.is_symlink() and link.readlink() == Path(key):
        return
    temporary = parent / f".{split}.{key}"
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(key)
    temporary.replace(link)


def require_checkpoint(experiment: Experiment, consequence: str) -> CheckpointRecord:
    """The checkpoint that results come from; `NotFoundError` where nothing is trained yet."""
    metadata = experiment.metadata
    if metadata.checkpoint is None:
        raise NotFoundError(
            f"The experiment {experiment.experiment_id} has no trained model (its status is {metadata.status})",
            consequence=consequence,
            remedy="train it first",
        )
    return metadata.checkpoint


def prepared_folder(experiment: Experiment, workspace: Workspace) -> Path:
    """The prepared dataset that the experiment was trained on; `NotFoundError` where it is gone."""
    metadata = experiment.metadata
    return workspace.find(workspace.prepared(metadata.dataset), metadata.prepared_key, "prepared dataset")


def split_of_manifest(experiment: Experiment, workspace: Workspace, split: Split) -> pd.DataFrame:
    """The rows of the prepared manifest that stand in `split`, by their position in the packed arrays.

    Raises:
        DatasetError: The split holds no image.
    """
    folder = prepared_folder(experiment, workspace)
    manifest = read_manifest(folder)
    rows = manifest[manifest[str(Column.SPLIT)] == str(split)]
    if rows.empty:
        raise DatasetError(
            f"The {split} split of the prepared dataset {folder} holds no image",
            consequence="Nothing was measured",
            remedy="give the dataset a larger share for this split",
        )
    return rows


def write_table(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """A CSV file with the columns of the first row; what is undefined is an empty cell."""
    listed = list(rows)
    text = io.StringIO()
    if listed:
        writer = csv.DictWriter(text, fieldnames=list(listed[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows({name: _cell(value) for name, value in row.items()} for row in listed)
    write_bytes(path, text.getvalue().encode())


def _cell(value: Any) -> Any:
    return "" if value is None or (isinstance(value, float) and value != value) else value


def resolve_device(device: str) -> str:
    """`cuda` for `auto` where a GPU is there, else `cpu`; any other name as it is."""
    if device != "auto":
        return device
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"
