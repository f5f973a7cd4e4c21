"""Remove experiments that nobody needs any more, and what killed processes left behind."""

from __future__ import annotations

import sys

from prefect import flow

from flows.cli import main
from flows.configs import HousekeepingConfig
from flows.resolve import workspace_of
from flows.results import HousekeepingResult, show_housekeeping
from tasks.housekeep import plan_removals, remove_planned


@flow(name="housekeeping", flow_run_name="housekeeping-{config.named}")
def housekeeping(config: HousekeepingConfig) -> HousekeepingResult:
    """Plan what may go, and remove exactly that, unless it is a dry run."""
    workspace = workspace_of(config)
    plan = plan_removals(workspace, config.keep)
    done = None if config.dry_run else remove_planned(plan, workspace)
    return HousekeepingResult.of(plan, done)


if __name__ == "__main__":
    sys.exit(main(housekeeping, HousekeepingConfig, show=show_housekeeping))
