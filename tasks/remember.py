"""Remember: what came of an experiment goes into the ledger."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from glaucoma.errors import is_outside_cause
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


@contextlib.contextmanager
def failure_remembered(spec: ExperimentSpec, workspace: Workspace) -> Iterator[None]:
    """Writes to the ledger why the experiment did not complete, and lets the error go on."""
    try:
        yield
    except Exception as error:
        outside = is_outside_cause(error) or is_server_away(error)
        remember(spec, workspace, failure=f"{type(error).__name__}: {error}", interrupted=outside)
        raise
