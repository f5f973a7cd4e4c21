"""Send runs that were tracked offline to W&B."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from prefect.artifacts import create_table_artifact
from prefect.logging import get_run_logger

from glaucoma.errors import TransientError
from tasks.stage import ProgressArtifact, shown_if_possible, stage_task

if TYPE_CHECKING:
    from glaucoma.training.tracking.account import Account
    from glaucoma.training.tracking.wandb_sync import SyncedRun
    from glaucoma.workspace import Workspace


@stage_task(run_name="sync tracking", timeout_s=24 * 3600, retries=0)
def sync_tracking(workspace: Workspace, account: Account | None, dry_run: bool, timeout_s: float) -> Any:
    """Sends each piece of a run that was not sent; says of each run what happened."""
    from glaucoma.training.tracking.wandb_sync import SyncOutcome, sync_runs

    progress = ProgressArtifact("sync-tracking-progress", "Sending runs")
    runs: list[SyncedRun] = sync_runs(workspace, account, dry_run=dry_run, timeout_s=timeout_s, report=progress)
    with shown_if_possible():
        create_table_artifact(
            table=[run.model_dump(mode="json") for run in runs] or [{"runs": "none tracked offline"}],
            key="sync-tracking",
            description=f"{len(runs)} runs tracked offline{', none sent: a dry run' if dry_run else ''}",
        )
    for run in runs:
        get_run_logger().info("%s: %s %s", run.run_id, run.outcome.value, run.reason)
    failed = [run for run in runs if run.outcome is SyncOutcome.FAILED]
    if failed:
        raise TransientError(
            f"{len(failed)} of {len(runs)} runs could not be sent to W&B "
            f"({'; '.join(f'{run.run_id}: {run.reason}' for run in failed[:3])})",
            consequence="They are not marked as sent; the others are",
            remedy="correct what W&B says, and run it again",
        )
    return runs
