"""Remember: what came of an experiment goes into the ledger."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from tasks.stage import stage_task

if TYPE_CHECKING:
    from glaucoma.training.spec import ExperimentSpec
    from glaucoma.workspace import Workspace


@stage_task(run_name="remember {spec.model} on {spec.dataset}", timeout_s=600, first_delay_s=5)
def remember(spec: ExperimentSpec, workspace: Workspace, failure: str = "") -> Any:
    """Writes the experiment's standing and metrics to the ledger.

    Args:
        failure: Why it did not complete, where the experiment's own folder cannot say it.
    """
    from glaucoma.records.ledger import Ledger
    from glaucoma.records.remember import remember as remember_experiment
    from glaucoma.records.words import Standing
    from glaucoma.training.experiment import create_experiment

    ledger = Ledger(workspace.ledger_url)
    entry = remember_experiment(create_experiment(spec, workspace), ledger, at=datetime.now(UTC))
    if failure:
        return ledger.change(entry.experiment_id, status=Standing.FAILED, reason=failure)
    return entry
