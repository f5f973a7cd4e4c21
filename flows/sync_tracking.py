"""Send runs that were tracked offline to W&B."""

from __future__ import annotations

import sys

from prefect import flow
from pydantic import Field

from blocks.tracking import account_in_block
from flows.cli import main
from flows.configs import SyncTrackingConfig
from flows.resolve import workspace_of
from flows.results import Result
from glaucoma.training.tracking.wandb_sync import SyncedRun
from tasks import sync_tracking as stage


class SyncTrackingResult(Result):
    """What became of every run that was tracked offline."""

    dry_run: bool
    runs: list[SyncedRun] = Field(description="By run; a run is an experiment.")


@flow(name="sync-tracking")
def sync_tracking(config: SyncTrackingConfig) -> SyncTrackingResult:
    """Send runs that were tracked offline to W&B; a dry run lists them."""
    workspace = workspace_of(config)
    account = account_in_block(config.account_block) if config.account_block else None
    runs: list[SyncedRun] = stage.sync_tracking(workspace, account, config.dry_run, config.timeout_s)
    return SyncTrackingResult(dry_run=config.dry_run, runs=runs)


if __name__ == "__main__":
    sys.exit(main(sync_tracking, SyncTrackingConfig))
