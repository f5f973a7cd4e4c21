"""List the snapshots."""

from __future__ import annotations

import sys

from prefect import flow

from flows.cli import main
from flows.configs_control import SnapshotsConfig
from flows.resolve import workspace_of
from flows.results_control import SnapshotsResult, show_snapshots
from tasks import snapshot as stage


@flow(name="snapshots", flow_run_name="snapshots")
def snapshots(config: SnapshotsConfig) -> SnapshotsResult:
    """List the snapshots, newest first."""
    return SnapshotsResult(snapshots=stage.list_snapshots(workspace_of(config), config.limit))


if __name__ == "__main__":
    sys.exit(main(snapshots, SnapshotsConfig, show=show_snapshots))
