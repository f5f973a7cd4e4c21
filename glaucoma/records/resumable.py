"""Which trainings can go on, and why one cannot."""

from __future__ import annotations

from glaucoma.errors import InputError
from glaucoma.records.ended import run_of
from glaucoma.schema import Split
from glaucoma.settings import Settings
from glaucoma.training.claims import is_trained_now
from glaucoma.training.experiment import Experiment, Status, list_experiments
from glaucoma.training.settings import ExecutionSettings
from glaucoma.training.supervise import is_complete
from glaucoma.workspace import Workspace

_UNFINISHED = frozenset({Status.CREATED, Status.RUNNING, Status.INTERRUPTED, Status.CANCELLED})
"""Of these `running`, where nobody trains, is what a kill left behind."""


class NotResumableError(InputError):
    """The experiment is complete, is being trained, or failed by itself."""


def resumable(workspace: Workspace, *, failed_too: bool = False) -> list[Experiment]:
    """All experiments whose training was cut off and that nobody trains, by id.

    Args:
        failed_too: Also those that failed by themselves.

    Raises:
        IntegrityError: The metadata of one cannot be read.
    """
    wanted = _UNFINISHED | ({Status.FAILED} if failed_too else set())
    there = [experiment for experiment in list_experiments(workspace) if experiment.status in wanted]
    return [experiment for experiment in there if not is_trained_now(experiment, workspace)]


def require_resumable(experiment: Experiment, workspace: Workspace, *, failed_too: bool = False) -> None:
    """Refuses an experiment that has nothing to go on with.

    One whose training is complete goes on too, where its evaluation or explanation was cut off.

    Raises:
        NotResumableError: It is complete, is being trained, or failed by itself.
        IntegrityError: Its metadata cannot be read.
    """
    name = experiment.experiment_id
    if is_trained_now(experiment, workspace):
        raise NotResumableError(
            f"{name} is being trained by another process", remedy="wait for it, or cancel that run first"
        )
    metadata = experiment.metadata
    if is_complete(experiment) and Split.VAL in metadata.metrics and (experiment.visualizations / Split.VAL).exists():
        raise NotResumableError(
            f"{name} is complete: trained, evaluated and explained",
            consequence="There is nothing to resume",
            remedy="to measure it in another way, run evaluate or explain",
        )
    if metadata.status is Status.FAILED and not failed_too:
        raise NotResumableError(
            f"{name} failed by itself ({metadata.history[-1].reason or 'without a reason'})",
            expected="an experiment that was interrupted or cancelled",
            consequence="The same would happen again",
            remedy="change what made it fail (the machine, or settings of execution) and set retry_failed",
        )


def execution_of(
    experiment: Experiment, given: ExecutionSettings | None, otherwise: ExecutionSettings
) -> ExecutionSettings:
    """How to go on: as the experiment's last run did, with what was given on top.

    Args:
        given: Only the fields that were set in it count.
        otherwise: Where the last run noted nothing, or nothing that can be read.
    """
    run = run_of(experiment)
    base: Settings = run.execution if run is not None else otherwise
    changes = {name: getattr(given, name) for name in given.model_fields_set} if given is not None else {}
    return ExecutionSettings.model_validate({**base.model_dump(), **changes})
