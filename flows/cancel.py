"""Cancel what trains an experiment."""

from __future__ import annotations

import sys

from prefect import flow

from flows.cli import main
from flows.configs_control import CancelConfig
from flows.resolve import workspace_of
from flows.results_control import CancelResult, show_cancel
from tasks.cancel import cancel as cancel_stage


@flow(name="cancel", flow_run_name="cancel-{config.named}")
def cancel(config: CancelConfig) -> CancelResult:
    """Cancel the flow runs that train an experiment, and wait until the training has ended."""
    workspace = workspace_of(config)
    done = cancel_stage(config.experiment, workspace, config.rollback, config.whole_cycle, config.patience_s)
    return CancelResult.of(done)


if __name__ == "__main__":
    sys.exit(main(cancel, CancelConfig, show=show_cancel))
