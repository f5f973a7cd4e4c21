"""Say how the whole system stands."""

from __future__ import annotations

import sys

from prefect import flow

from flows.cli import main
from flows.configs_control import StatusConfig
from flows.resolve import workspace_of
from flows.results_control import show_status
from tasks.system_status import SystemStatus, system_status


@flow(name="status", flow_run_name="status")
def status(config: StatusConfig) -> SystemStatus:
    """Say how the whole system stands: server, workers, runs, mode, machine, cycles, errors."""
    found: SystemStatus = system_status(workspace_of(config), config.last)
    return found


if __name__ == "__main__":
    sys.exit(main(status, StatusConfig, show=show_status))
