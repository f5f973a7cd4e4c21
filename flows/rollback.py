"""Put the books back as a snapshot has them."""

from __future__ import annotations

import sys

from prefect import flow

from flows.cli import main
from flows.configs_control import RollbackConfig
from flows.resolve import workspace_of
from flows.results_control import show_rollback
from glaucoma.planning.rollback import RolledBack
from tasks import snapshot as stage


@flow(name="rollback", flow_run_name="rollback-{config.snapshot}")
def rollback(config: RollbackConfig) -> RolledBack:
    """Put the books back as a snapshot has them, all or nothing; no experiment is removed."""
    done: RolledBack = stage.roll_back(config.snapshot, workspace_of(config))
    return done


if __name__ == "__main__":
    sys.exit(main(rollback, RollbackConfig, show=show_rollback))
