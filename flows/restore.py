"""Bring a registered version back."""

from __future__ import annotations

import sys

from prefect import flow

from flows.cli import main
from flows.configs import RestoreConfig
from flows.resolve import remote_of_version, workspace_of
from flows.results import RestoreResult, show_restore
from tasks import register as stage


@flow(name="restore", flow_run_name="restore-{config.name}")
def restore(config: RestoreConfig) -> RestoreResult:
    """Bring a registered version, old or new, back from the remote, every byte checked."""
    workspace = workspace_of(config)
    remote = remote_of_version(workspace, config.name, config.version, config.registry)
    return RestoreResult.of(stage.restore(config.name, config.version, workspace, remote, config.replace_damaged))


if __name__ == "__main__":
    sys.exit(main(restore, RestoreConfig, show=show_restore))
