"""Pack a cycle away, or bring it back."""

from __future__ import annotations

import sys

from prefect import flow

from flows.cli import main
from flows.configs_control import ArchiveCycleConfig
from flows.resolve import workspace_of
from flows.results_control import ArchiveCycleResult, show_archive_cycle
from tasks import archive as stage


@flow(name="archive-cycle", flow_run_name="archive-cycle-{config.named}")
def archive_cycle(config: ArchiveCycleConfig) -> ArchiveCycleResult:
    """Pack a cycle's files away, with its experiments where that is asked for, or bring them back."""
    workspace = workspace_of(config)
    cycle = stage.archive_cycle(config.cycle, workspace, config.force, config.back)
    experiments = stage.archive_experiments_of(config.cycle, workspace, config.back) if config.experiments else None
    return ArchiveCycleResult.of(cycle, experiments)


if __name__ == "__main__":
    sys.exit(main(archive_cycle, ArchiveCycleConfig, show=show_archive_cycle))
