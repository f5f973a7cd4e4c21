"""Where an evaluation lies: an immutable folder by key, a link by split, tables in CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd
from pydantic import BaseModel

from glaucoma.datasets.manifest import read_manifest
from glaucoma.errors import DatasetError, IntegrityError, NotFoundError, problems
from glaucoma.evaluation.result import Evaluation
from glaucoma.provenance import Built, code_sha256, run_stage, stage_key, write_bytes, write_json
from glaucoma.schema import Column, Split
from glaucoma.training.experiment import CheckpointRecord, Experiment
from glaucoma.training.gpu_errors import gpu_errors_can_pass
from glaucoma.workspace import Workspace

METRICS_NAME = "metrics.json"
PREDICTIONS_NAME = "predictions.csv"
ROC_NAME = "roc.csv"
CALIBRATION_NAME = "calibration.csv"
RECORD_NAME = "stage.json"
Kept = TypeVar("Kept", bound=BaseModel)


def read_evaluation(experiment: Experiment, split: Split = Split.VAL) -> Evaluation:
    """The newest evaluation of that split; `NotFoundError` where there is none."""
    return read_metrics(experiment.results / str(split))


def read_metrics(folder: Path) -> Evaluation:
    """The evaluation that `folder` holds; raises as `read_kept` does."""
    return read_kept(Evaluation, folder / METRICS_NAME, "evaluation", "evaluate")


def read_kept(kind: type[Kept], path: Path, what: str, verb: str) -> Kept:
    """The result that the JSON file at `path` holds.

    Args:
        what: What it is called, and `verb` what one does to have it.

    Raises:
        NotFoundError: There is none.
        IntegrityError: The file is damaged.
    """
    if not path.is_file():
        raise NotFoundError(f"No {what} at {path}", remedy=f"run the {what} first")
    try:
        return kind.model_validate_json(path.read_bytes())
    except ValueError as error:
        raise IntegrityError(
            f"{path} is no valid {what} ({problems(error)})",
            remedy=f"remove {path.parent.resolve()} and {verb} again",
        ) from error


def keep_by_split(
    *,
    stage: str,
    workspace: Workspace,
    parent: Path,
    split: Split,
    inputs: Mapping[str, str],
    settings: BaseModel,
    module: str,
    build: Callable[[Path, str], tuple[Kept, Built]],
    read: Callable[[Path], Kept],
    name: str,
) -> Kept:
    """The result in `parent/<key>`, made there unless it is there already; `parent/<split>` then points at it.

    Args:
        build: Called with the staging folder and the key; what it gives is written to the file `name`.
        read: Reads that file in a folder. The result has a field `reused`, which is set here.

    Raises:
        TransientError: The GPU reported an error.
    """
    key = stage_key(stage, inputs, settings.model_dump(mode="json"), code_sha256(module))

    def build_and_write(staging: Path) -> Built:
        found, built = build(staging, key)
        write_json(staging / name, found.model_dump(mode="json"))
        return built

    with gpu_errors_can_pass(f"{stage} of {parent.parent.name}"):
        output = run_stage(
            stage=stage,
            workspace=workspace,
            parent=parent,
            record_name=RECORD_NAME,
            inputs=inputs,
            settings=settings,
            module=module,
            build=build_and_write,
        )
    found = read(output.folder)
    link_split(parent, split, output.key)
    return found.model_copy(update={"reused": output.reused})


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
