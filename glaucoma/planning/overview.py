"""What experiments there are, and all that is known of one: from the ledger, its folder, and what was packed away."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from glaucoma.errors import NotFoundError
from glaucoma.planning.archive import archived_names, pack_path
from glaucoma.planning.housekeeping import last_change, size
from glaucoma.planning.wanted import wanted_experiments
from glaucoma.records.ended import run_of
from glaucoma.records.ledger import Ledger, LedgerExperiment
from glaucoma.records.remember import STANDING_OF, first_entry
from glaucoma.records.words import Standing
from glaucoma.schema import Split, Task
from glaucoma.settings import Settings
from glaucoma.training.claims import is_trained_now
from glaucoma.training.experiment import Experiment, StatusChange, is_there, list_experiments
from glaucoma.training.progress_log import TrainingProgress, read_progress
from glaucoma.workspace import Workspace


class Place(StrEnum):
    """Where an experiment's files are."""

    WORKSPACE = "workspace"
    ARCHIVED = "archived"
    GONE = "gone"
    """Removed, or never made."""


class ExperimentFilter(Settings):
    """Which experiments are listed: those that match all that is given."""

    task: Task | None = Field(default=None, description="Empty: both.")
    dataset: str | None = Field(default=None, min_length=1, max_length=63, description="Name. Empty: every dataset.")
    status: Standing | None = Field(default=None, description="Empty: however they stand.")
    place: Place | None = Field(default=None, description="Where their files are. Empty: anywhere.")
    limit: int = Field(default=50, ge=1, le=10_000, description="The newest so many.")


class ExperimentLine(BaseModel):
    """One experiment in a list."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    experiment_id: str
    task: Task
    model: str
    dataset: str
    status: Standing
    place: Place
    training_now: bool
    primary_score: float | None = Field(description="Validation AUC or mean Dice; none where undefined.")
    val_metrics: dict[str, float | None] = Field(description="The values alone; none where undefined.")
    duration_s: float | None
    cycle_id: str | None
    created_at: datetime
    reason: str = Field(description="Why it failed or was cancelled, where its files went.")


class ExperimentInfo(BaseModel):
    """All that is known of one experiment."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    line: ExperimentLine
    needed_because: str = Field(description="Why housekeeping and delete leave it; empty where nothing needs it.")
    progress: TrainingProgress | None = Field(description="The last line of its training, while it trains.")
    history: list[StatusChange]
    notes: list[str]
    metrics: dict[str, dict[str, Any]] = Field(description="Split -> metric -> value with its interval.")
    spec: dict[str, Any] = Field(description="All settings of the experiment.")
    places: dict[str, Path] = Field(description="What -> where it lies; only what is there.")
    bytes: int = Field(description="Of its folder, or its pack.")
    changed_at: datetime | None = Field(description="When anything of it was last written.")
    flow_run_id: str | None = Field(description="The flow run that trains it, or trained it last.")
    code_sha256: str | None = Field(description="Of the code that trained it.")


def list_overview(workspace: Workspace, ledger: Ledger, wanted: ExperimentFilter) -> list[ExperimentLine]:
    """The experiments that match, newest first.

    One that only its folder knows, as its run has not ended yet or its ledger was put back, is listed too.

    Raises:
        IntegrityError: The metadata of one cannot be read.
    """
    entries = {entry.experiment_id: entry for entry in ledger.experiments()}
    for experiment in list_experiments(workspace):
        if experiment.experiment_id not in entries:
            entries[experiment.experiment_id] = _entry_of(experiment)
    packed = set(archived_names("experiment", workspace))
    newest = sorted(entries.values(), key=lambda e: (e.created_at, e.experiment_id), reverse=True)
    found: list[ExperimentLine] = []
    for entry in newest:
        if wanted.task not in (None, entry.task) or wanted.dataset not in (None, entry.dataset):
            continue
        line = _line(entry, workspace, packed)
        if wanted.status in (None, line.status) and wanted.place in (None, line.place):
            found.append(line)
        if len(found) == wanted.limit:
            break
    return found


def describe_experiment(name: str, workspace: Workspace, ledger: Ledger) -> ExperimentInfo:
    """All that is known of the experiment of that id.

    Raises:
        NotFoundError: Neither ledger nor workspace knows it.
        IntegrityError: Its metadata cannot be read.
    """
    experiment, there = Experiment(workspace.experiments / name), False
    with contextlib.suppress(NotFoundError):
        pack_path("experiment", name, workspace)  # a plain name, so that nothing outside is looked at
        there = is_there(name, workspace)
    try:
        entry = ledger.experiment(name)
    except NotFoundError:
        if not there:
            raise
        entry = _entry_of(experiment)
    line = _line(entry, workspace, set(archived_names("experiment", workspace)))
    metadata = experiment.metadata if there else None
    run = run_of(experiment) if there else None
    lines = read_progress(experiment.progress_path) if there and line.training_now else []
    place = experiment.folder if there else pack_path("experiment", name, workspace)
    return ExperimentInfo(
        line=line,
        needed_because=wanted_experiments(workspace, ledger).get(name, ""),
        progress=lines[-1] if lines else None,
        history=metadata.history if metadata else [],
        notes=[f"{note.at:%Y-%m-%d %H:%M} UTC: {note.text}" for note in metadata.notes] if metadata else [],
        metrics=metadata.metrics if metadata else {Split.VAL: entry.val_metrics, Split.TEST: entry.test_metrics},
        spec=entry.spec,
        places=_places(experiment) if there else {"pack": place} if place.is_file() else {},
        bytes=size(place) if place.exists() else 0,
        changed_at=last_change(place) if place.exists() else None,
        flow_run_id=(run.run_id or None) if run else None,
        code_sha256=metadata.code_sha256 if metadata else None,
    )


def _entry_of(experiment: Experiment) -> LedgerExperiment:
    """What the ledger would say of a folder that it does not know."""
    metadata = experiment.metadata
    changes = {
        "status": STANDING_OF[metadata.status],
        "val_metrics": metadata.metrics.get(Split.VAL, {}),
        "duration_s": metadata.duration_s,
    }
    return first_entry(experiment.spec, metadata.history[0].at).model_copy(update=changes)


def _line(entry: LedgerExperiment, workspace: Workspace, packed: set[str]) -> ExperimentLine:
    there = is_there(entry.experiment_id, workspace)
    training = there and is_trained_now(Experiment(workspace.experiments / entry.experiment_id), workspace)
    place = Place.WORKSPACE if there else Place.ARCHIVED if entry.experiment_id in packed else Place.GONE
    return ExperimentLine(
        experiment_id=entry.experiment_id,
        task=entry.task,
        model=entry.model,
        dataset=entry.dataset,
        status=Standing.RUNNING if training else entry.status,
        place=place,
        training_now=training,
        primary_score=entry.primary_score,
        val_metrics={name: _value(metric) for name, metric in entry.val_metrics.items()},
        duration_s=entry.duration_s,
        cycle_id=entry.cycle_id,
        created_at=entry.created_at,
        reason=entry.reason,
    )


def _value(metric: Any) -> float | None:
    value = metric.get("value") if isinstance(metric, dict) else metric
    return float(value) if isinstance(value, int | float) else None


def _places(experiment: Experiment) -> dict[str, Path]:
    known: Sequence[tuple[str, Path]] = [
        ("folder", experiment.folder),
        ("settings", experiment.spec_path),
        ("log", experiment.child_log),
        ("progress", experiment.progress_path),
        ("best model", experiment.checkpoints / "best.pt"),
        ("validation", experiment.results / Split.VAL),
        ("test", experiment.results / Split.TEST),
        ("pictures", experiment.visualizations / Split.VAL),
    ]
    return {what: path for what, path in known if path.exists()}
