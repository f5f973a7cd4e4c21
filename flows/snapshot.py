"""Keep the books as they are."""

from __future__ import annotations

import sys

from prefect import flow

from flows.cli import main
from flows.configs_control import SnapshotConfig
from flows.resolve import workspace_of
from flows.results_control import show_snapshot
from glaucoma.planning.snapshot import Snapshot
from tasks import snapshot as stage


@flow(name="snapshot", flow_run_name="snapshot")
def snapshot(config: SnapshotConfig) -> Snapshot:
    """Keep the books as they are: ledger, registry, judgements, states of research."""
    made: Snapshot = stage.take_snapshot(workspace_of(config), config.reason)
    return made


if __name__ == "__main__":
    sys.exit(main(snapshot, SnapshotConfig, show=show_snapshot))
