"""List what is registered."""

from __future__ import annotations

import sys

from prefect import flow

from flows.cli import main
from flows.configs import DatasetsConfig
from flows.resolve import workspace_of
from flows.results import DatasetsResult, show_datasets
from tasks import register as stage


@flow(name="datasets", flow_run_name="datasets")
def datasets(config: DatasetsConfig) -> DatasetsResult:
    """List every registered version of every dataset."""
    workspace = workspace_of(config)
    return DatasetsResult(registry=workspace.registry, versions=stage.list_datasets(workspace))


if __name__ == "__main__":
    sys.exit(main(datasets, DatasetsConfig, show=show_datasets))
