"""Delete experiments for good."""

from __future__ import annotations

import sys

from prefect import flow

from flows.cli import main
from flows.configs_control import DeleteConfig
from flows.resolve import workspace_of
from flows.results_control import DeleteResult, show_delete
from tasks import archive as stage


@flow(name="delete", flow_run_name="delete-{config.named}")
def delete(config: DeleteConfig) -> DeleteResult:
    """Plan what may go, and remove exactly that, unless it is a dry run."""
    workspace = workspace_of(config)
    plan = stage.plan_deletion(config.experiments, workspace, config.reason)
    done = None if config.dry_run else stage.delete_planned(plan, workspace)
    return DeleteResult.of(plan, done)


if __name__ == "__main__":
    sys.exit(main(delete, DeleteConfig, show=show_delete))
