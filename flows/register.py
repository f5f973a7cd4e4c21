"""Keep a dataset's version."""

from __future__ import annotations

import sys

from prefect import flow

from flows.cli import main
from flows.configs import RegisterConfig
from flows.resolve import dataset_folder, kept_in_its_block, prepared_from, remote_of, workspace_of
from glaucoma.datasets.registry import Registration
from tasks import register as stage


@flow(name="register", flow_run_name="register-{config.name}")
def register(config: RegisterConfig) -> Registration:
    """Keep a dataset's version, and what was prepared from it, with DVC and in the registry."""
    workspace = workspace_of(config)
    dataset = dataset_folder(workspace, config.name, config.dataset)
    prepared = prepared_from(workspace, config.name, dataset, config.prepared)
    key = prepared.name if prepared else None
    settings = kept_in_its_block(workspace, config.name, dataset.name, key, config.registry)
    entry: Registration = stage.register(dataset, prepared, config.name, workspace, settings, remote_of(settings))
    return entry


if __name__ == "__main__":
    sys.exit(main(register, RegisterConfig))
