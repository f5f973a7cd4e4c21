"""How a training ended that could not say it itself: its run was cancelled, or its process was lost.

Each training notes the run that it belongs to (`logs/run.json`), so that whoever learns of the run's end, another
process perhaps, finds its experiments and writes their end into their metadata and the ledger.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from glaucoma.errors import NotFoundError
from glaucoma.provenance import write_json
from glaucoma.records.ledger import Ledger
from glaucoma.records.remember import first_entry, remember
from glaucoma.records.words import Standing
from glaucoma.training.claims import claimed
from glaucoma.training.experiment import (
    Experiment,
    Metadata,
    Status,
    create_experiment,
    list_experiments,
    remove_held,
)
from glaucoma.training.settings import ExecutionSettings
from glaucoma.training.spec import ExperimentSpec, experiment_id
from glaucoma.workspace import Workspace

RUN_FILE = "run.json"
_LOOKED_AT_S = 1.0
"""Longer than housekeeping holds an experiment to see whether somebody trains it."""
_OWN_ENDS = (Status.COMPLETED, Status.FAILED, Status.CANCELLED)


class TrainingRun(BaseModel):
    """`logs/run.json`: the run that trains the experiment, or trained it last."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    run_id: str
    execution: ExecutionSettings = Field(description="How it trains, and whether a cancel removes all that it wrote.")


def note_run(spec: ExperimentSpec, workspace: Workspace, run: TrainingRun) -> None:
    """Writes down that `run` is about to train the experiment, unless another run is training it."""
    experiment = create_experiment(spec, workspace)
    with claimed(experiment, workspace, _LOOKED_AT_S) as free:
        if free:
            note_run_held(experiment, run)


def note_run_held(experiment: Experiment, run: TrainingRun) -> None:
    """The same for who holds the experiment's lock."""
    write_json(_run_path(experiment), run.model_dump())


def run_of(experiment: Experiment) -> TrainingRun | None:
    """The run that trained the experiment last; None where none was noted, or the note cannot be read."""
    try:
        return TrainingRun.model_validate_json(_run_path(experiment).read_bytes())
    except (OSError, ValueError):
        return None


def experiments_of_run(run_id: str, workspace: Workspace) -> list[tuple[Experiment, TrainingRun]]:
    """The experiments that the run trained last, with what it noted."""
    noted = [(experiment, run_of(experiment)) for experiment in list_experiments(workspace)]
    return [(experiment, run) for experiment, run in noted if run is not None and run.run_id == run_id]


def end_run(
    run_id: str, workspace: Workspace, *, cancelled: bool, reason: str, at: datetime, patience_s: float = 0.0
) -> list[str]:
    """Writes the end of a run into all that it was training; gives a sentence for each experiment.

    A run that was lost is written down where the training has no end of its own: one that it wrote itself stays. One
    that was lost while it waited for its next attempt keeps its reason, and the ledger learns of it. A run that was
    cancelled is written down wherever no training has completed.
    """
    lines = []
    for experiment, run in experiments_of_run(run_id, workspace):
        if not cancelled and experiment.status in _OWN_ENDS:
            continue
        standing = end_training(
            experiment.spec,
            workspace,
            cancelled=cancelled,
            rollback=run.execution.rollback,
            reason=reason,
            at=at,
            patience_s=patience_s,
        )
        said = f"is {standing}" if standing else "is being trained by another process and was left as it is"
        lines.append(f"{experiment.experiment_id} {said}")
    return lines


def end_training(
    spec: ExperimentSpec,
    workspace: Workspace,
    *,
    cancelled: bool,
    rollback: bool,
    reason: str,
    at: datetime,
    patience_s: float = 0.0,
) -> Standing | None:
    """Writes into metadata and ledger that the experiment was cancelled, or else interrupted; gives its standing.

    Args:
        rollback: With `cancelled`: removes all that the experiment wrote, unless its training is complete.
        patience_s: How long to wait for a training process that is about to end.

    Returns:
        None where another process trains the experiment: its end is not ours to write.
    """
    experiment = Experiment(workspace.experiments / experiment_id(spec))
    with claimed(experiment, workspace, patience_s) as free:
        if not free:
            return None
        wanted = Status.CANCELLED if cancelled else Status.INTERRUPTED
        if experiment.metadata_path.is_file():
            status = experiment.status
            if status not in (Status.COMPLETED, Status.FAILED, wanted):
                experiment.set_status(wanted, reason)
            elif status is wanted:
                _say_why(experiment, reason)
            if cancelled and rollback and status is not Status.COMPLETED:
                remove_held(experiment)
        if cancelled and rollback and not experiment.folder.exists():
            reason = f"{reason}. All that it wrote was removed (rollback)"
        return _to_ledger(spec, experiment, workspace, Standing(wanted.value), reason, at)


def _say_why(experiment: Experiment, reason: str) -> None:
    """Puts the reason in place of one that is a bare name, such as that of the signal: the training knew no better."""

    def change(metadata: Metadata) -> None:
        last = metadata.history[-1]
        if " " not in last.reason:
            last.reason = reason

    experiment.update(change)


def _to_ledger(
    spec: ExperimentSpec, experiment: Experiment, workspace: Workspace, standing: Standing, reason: str, at: datetime
) -> Standing:
    ledger = Ledger(workspace.ledger_url)
    try:
        before = ledger.experiment(experiment.experiment_id).status
    except NotFoundError:
        before = None
    if experiment.metadata_path.is_file():
        if experiment.status is Status.COMPLETED and before is Standing.COMPLETED:
            return before  # found again, and cancelled: what was measured before stays
        entry = remember(experiment, ledger, at=at)
        if experiment.status is not Status.COMPLETED:
            return entry.status
    elif before is None:
        ledger.put(first_entry(spec, at))
    return ledger.change(experiment.experiment_id, status=standing, reason=reason).status


def _run_path(experiment: Experiment) -> Path:
    return experiment.folder / "logs" / RUN_FILE
