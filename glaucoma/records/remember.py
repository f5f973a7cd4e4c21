"""From an experiment's folder into the ledger: what came of it, and each look at the test split before it happens."""

from __future__ import annotations

from datetime import datetime

from glaucoma.errors import NotFoundError
from glaucoma.records.ledger import Ledger, LedgerExperiment
from glaucoma.records.words import PRIMARY_METRIC, Standing
from glaucoma.schema import Split
from glaucoma.training.experiment import Experiment, Status
from glaucoma.training.spec import ExperimentSpec, experiment_id
from glaucoma.workspace import Workspace

STANDING_OF = {
    Status.CREATED: Standing.PROPOSED,
    Status.RUNNING: Standing.RUNNING,
    Status.COMPLETED: Standing.COMPLETED,
    Status.INTERRUPTED: Standing.INTERRUPTED,
    Status.FAILED: Standing.FAILED,
    Status.CANCELLED: Standing.CANCELLED,
}


def remember(experiment: Experiment, ledger: Ledger, *, at: datetime) -> LedgerExperiment:
    """Writes what the experiment's folder says: standing, reason, metrics, duration. Who asked for it stays as it was.

    Args:
        at: Time of creation, where the ledger does not know the experiment yet.
    """
    spec, metadata = experiment.spec, experiment.metadata
    try:
        known = ledger.experiment(experiment.experiment_id)
    except NotFoundError:
        known = first_entry(spec, at)
    ended_badly = metadata.status in (Status.INTERRUPTED, Status.FAILED, Status.CANCELLED)
    val_metrics = metadata.metrics.get(Split.VAL, {})
    entry = known.model_copy(
        update={
            "status": STANDING_OF[metadata.status],
            "reason": metadata.history[-1].reason if ended_badly else "",
            "val_metrics": val_metrics,
            "test_metrics": metadata.metrics.get(Split.TEST, {}),
            "primary_score": val_metrics.get(PRIMARY_METRIC[spec.task], {}).get("value"),
            "duration_s": metadata.duration_s,
        }
    )
    ledger.put(entry)
    return entry


def first_entry(spec: ExperimentSpec, at: datetime) -> LedgerExperiment:
    """An experiment that no cycle asked for, as the ledger first hears of it."""
    return LedgerExperiment(
        experiment_id=experiment_id(spec),
        task=spec.task,
        dataset=spec.dataset,
        prepared_key=spec.prepared_key,
        spec=spec.model_dump(mode="json"),
        model=spec.model,
        seed=spec.seed,
        status=Standing.PROPOSED,
        proposal_reason="Run by hand.",
        created_at=at,
    )


def write_look(experiment: Experiment, workspace: Workspace, reason: str, *, at: datetime) -> None:
    """Writes that `experiment` is about to be measured on the test split; the same look twice is one."""
    ledger = Ledger(workspace.ledger_url)
    remember(experiment, ledger, at=at)
    ledger.record_look(experiment.experiment_id, reason=reason, at=at, split=Split.TEST)
