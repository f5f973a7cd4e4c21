"""The record of a research cycle: question, data, experiments, numbers and decision, in one JSON file for machines.

`cycles/<cycle_id>/record.json`; the fields are explained in docs/reference/record.md.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from glaucoma.errors import IntegrityError, NotFoundError, problems
from glaucoma.evaluation.result import Metric
from glaucoma.provenance import write_json
from glaucoma.records.comparison import Comparison
from glaucoma.records.decision import Decision
from glaucoma.records.words import CycleStatus, Novelty, Standing
from glaucoma.schema import Split, Task
from glaucoma.workspace import Workspace

RECORD_NAME = "record.json"
REPORT_NAME = "report.html"
FORMAT_VERSION = 1


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class SetAside(_Part):
    """An image that was left out, and why."""

    source: str
    reason: str


class DatasetFacts(_Part):
    """The data that a cycle worked on."""

    name: str
    dataset_key: str
    prepared_key: str
    manifest_sha256: str | None = None
    archive_sha256: str | None = Field(default=None, description="Of the archive that the dataset came from.")
    layout: str = Field(default="", description="The layout that was recognised.")
    synthetic: bool = Field(description="True where the photographs were generated: no statement about eyes follows.")
    images: int
    patients: int | None = Field(default=None, description="None where the source names no patients.")
    with_mask: int
    counts_by_split: dict[str, dict[str, int]] = Field(description="Split -> label -> images.")
    grouping: str = Field(default="", description="What a split may not cut, in words.")
    image_size_px: int | None = Field(default=None, description="Side of the prepared images.")
    set_aside: list[SetAside] = Field(default_factory=list)
    warnings: list[str] = Field(default_factory=list, description="What validation found and let pass.")


class CheckpointFacts(_Part):
    """The model that the results come from."""

    path: str = Field(description="Relative to the workspace.")
    sha256: str
    epoch: int


class ExperimentFacts(_Part):
    """One experiment of the cycle."""

    experiment_id: str
    task: Task
    model: str
    status: Standing
    seed: int
    novelty: Novelty | None = None
    reason: str = Field(default="", description="Why it was proposed.")
    failure: str = Field(default="", description="Why it failed, was cancelled or refused.")
    spec: dict[str, Any] = Field(description="All settings of the experiment.")
    metrics: dict[str, dict[str, Metric]] = Field(default_factory=dict, description="Split -> metric -> value.")
    dri: dict[str, dict[str, Metric]] = Field(
        default_factory=dict, description="Split -> name -> value: where the model looks (Disc Relevance Index)."
    )
    checkpoint: CheckpointFacts | None = None
    duration_s: float | None = None

    def metric(self, name: str, split: Split = Split.VAL) -> Metric | None:
        """The metric, where it was measured."""
        return self.metrics.get(split, {}).get(name)


class CycleRecord(_Part):
    """All that is kept of a research cycle."""

    format_version: int = FORMAT_VERSION
    cycle_id: str = Field(min_length=1)
    status: CycleStatus
    failure: str = Field(default="", description="Why it failed or was cancelled.")
    preset: str = ""
    started_at: datetime
    duration_s: float
    dataset: DatasetFacts
    experiments: list[ExperimentFacts]
    best: dict[Task, str] = Field(default_factory=dict, description="Task -> experiment on top of the ranking.")
    comparisons: list[Comparison] = Field(default_factory=list)
    approval: Decision | None = Field(default=None, description="The decision on the plan; none where it needed none.")
    test_looks: int = Field(default=0, ge=0, description="Looks at the test split in this cycle.")
    learned: list[str] = Field(default_factory=list)
    next: list[str] = Field(default_factory=list)
    versions: dict[str, str]
    config: dict[str, Any] = Field(description="The whole configuration of the cycle.")

    @model_validator(mode="after")
    def _best_is_among_the_experiments(self) -> Self:
        tasks = {e.experiment_id: e.task for e in self.experiments}
        compared = {r.experiment_id: c.task for c in self.comparisons for r in c.ranking}
        for task, name in self.best.items():
            if (tasks | compared).get(name) is not task:
                raise ValueError(f"the best {task} experiment, {name}, is none of this record's")
        return self

    def experiment(self, experiment_id: str) -> ExperimentFacts | None:
        """The experiment of that id, where this cycle ran it."""
        return next((e for e in self.experiments if e.experiment_id == experiment_id), None)


def cycle_folder(cycle_id: str, workspace: Workspace) -> Path:
    """Where a cycle's files lie; `NotFoundError` for a name that would lead elsewhere."""
    if not cycle_id or cycle_id.startswith(".") or Path(cycle_id).name != cycle_id:
        raise NotFoundError(f"{cycle_id!r} is no cycle's id", expected="a plain folder name")
    return workspace.cycles / cycle_id


def write_record(record: CycleRecord, workspace: Workspace) -> Path:
    """Writes `cycles/<cycle_id>/record.json`, whole or not at all; gives back its path."""
    path = cycle_folder(record.cycle_id, workspace) / RECORD_NAME
    write_json(path, record.model_dump(mode="json"))
    return path


def read_record(cycle_id: str, workspace: Workspace) -> CycleRecord:
    """The record of a cycle.

    Raises:
        NotFoundError: No such cycle, or it has no record yet.
        IntegrityError: The file is no valid record.
    """
    path = cycle_folder(cycle_id, workspace) / RECORD_NAME
    if not path.is_file():
        there = sorted(p.parent.name for p in workspace.cycles.glob(f"*/{RECORD_NAME}"))
        raise NotFoundError(
            f"No record of the cycle {cycle_id!r} ({path})", expected=f"one of: {', '.join(there) or 'none'}"
        )
    try:
        return CycleRecord.model_validate_json(path.read_bytes())
    except ValueError as error:
        raise IntegrityError(
            f"{path} is no valid record ({problems(error)})", remedy="put back a copy, or run the cycle again"
        ) from error
