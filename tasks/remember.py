"""Remember: what came of an experiment goes into the ledger."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from prefect.logging import get_run_logger

from glaucoma.errors import ArcError, is_outside_cause
from tasks.own_run import ending, was_cancelled
from tasks.stage import is_server_away, stage_task

if TYPE_CHECKING:
    from glaucoma.training.spec import ExperimentSpec
    from glaucoma.workspace import Workspace


@stage_task(run_name="remember {spec.model} on {spec.dataset}", timeout_s=600, first_delay_s=5)
def remember(spec: ExperimentSpec, workspace: Workspace, failure: str = "", interrupted: bool = False) -> Any:
    """Writes the experiment's standing and metrics to the ledger.

    Args:
        failure: Why it did not complete, where the experiment's own folder cannot say it.
        interrupted: The reason lies outside the experiment, which may be proposed again.
    """
    from glaucoma.records.ledger import Ledger
    from glaucoma.records.remember import remember as remember_experiment
    from glaucoma.records.words import Standing
    from glaucoma.training.experiment import create_experiment

    ledger = Ledger(workspace.ledger_url)
    entry = remember_experiment(create_experiment(spec, workspace), ledger, at=datetime.now(UTC))
    if failure:
        standing = Standing.INTERRUPTED if interrupted else Standing.FAILED
        return ledger.change(entry.experiment_id, status=standing, reason=failure)
    return entry


@stage_task(run_name="remember what was lost", timeout_s=600, first_delay_s=5)
def remember_lost(spec: ExperimentSpec, workspace: Workspace, reason: str, *, cancelled: bool) -> None:
    """Writes why another run did not complete the experiment, unless that run, or its worker, has written it itself."""
    from glaucoma.records.ended import end_training
    from glaucoma.records.ledger import Ledger
    from glaucoma.records.words import Standing
    from glaucoma.training.spec import experiment_id

    name = experiment_id(spec)
    get_run_logger().error("%s was not completed: %s", name, reason)
    if Ledger(workspace.ledger_url).experiment(name).status in (Standing.PROPOSED, Standing.RUNNING):
        said = f"{reason[:1].upper()}{reason[1:]}"
        end_training(spec, workspace, cancelled=cancelled, rollback=False, reason=said, at=datetime.now(UTC))


@contextlib.contextmanager
def failure_remembered(spec: ExperimentSpec, workspace: Workspace, *, rollback: bool = False) -> Iterator[None]:
    """Writes to the ledger why the experiment did not complete, and lets the error go on.

    Args:
        rollback: Where somebody cancelled it, all that the experiment wrote is removed.
    """
    try:
        yield
    except Exception as error:
        outside = is_outside_cause(error) or is_server_away(error)
        remember(spec, workspace, failure=f"{type(error).__name__}: {error}", interrupted=outside)
        raise
    except BaseException as error:  # a cancel, or a signal to end: no task is started any more
        _write_end(spec, workspace, error, rollback)
        instead = ending(error)
        if instead is error:
            raise
        raise instead from error


def _write_end(spec: ExperimentSpec, workspace: Workspace, error: BaseException, rollback: bool) -> None:
    from glaucoma.records.ended import end_training

    cancelled = was_cancelled(error)
    reason = f"{'Cancelled' if cancelled else 'Ended from outside'} ({str(error) or type(error).__name__})"
    try:
        end_training(
            spec, workspace, cancelled=cancelled, rollback=rollback, reason=reason, at=datetime.now(UTC), patience_s=5
        )
    except (ArcError, OSError) as problem:  # the cancel itself must go on; the next run of the experiment writes anew
        get_run_logger().warning("The end of the experiment could not be written down: %s", problem)
