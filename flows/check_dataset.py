"""Check a registered version, byte by byte."""

from __future__ import annotations

import sys

from prefect import flow

from flows.cli import main
from flows.configs import CheckDatasetConfig
from flows.resolve import remote_of_version, workspace_of
from flows.results import show_check
from glaucoma.datasets.integrity import Check, CheckPlace
from tasks import register as stage


@flow(name="check-dataset", flow_run_name="check-dataset-{config.name}")
def check_dataset(config: CheckDatasetConfig) -> Check:
    """Read every byte of a registered version again; one that differs is an error that names its file."""
    workspace = workspace_of(config)
    remote = None
    if config.place is not CheckPlace.WORKSPACE:
        remote = remote_of_version(workspace, config.name, config.version, config.registry)
    found: Check = stage.check_dataset(config.name, config.version, workspace, config.place, remote)
    return found


if __name__ == "__main__":
    sys.exit(main(check_dataset, CheckDatasetConfig, show=show_check))
