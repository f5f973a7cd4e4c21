"""Make one dataset of several."""

from __future__ import annotations

import sys

from prefect import flow

from flows.cli import main
from flows.configs import MergeConfig
from flows.resolve import dataset_folder, workspace_of
from flows.results import StageResult
from tasks import merge as stage


@flow(name="merge", flow_run_name="merge-{config.name}")
def merge(config: MergeConfig) -> StageResult:
    """Make one dataset of several, each image's origin kept and no photograph on two sides of a split."""
    workspace = workspace_of(config)
    folders = []
    for dataset in config.datasets:
        name, _, key = dataset.partition("/")
        folders.append(dataset_folder(workspace, name, key or None))
    return StageResult.of(stage.merge(folders, config.name, workspace, config.merge))


if __name__ == "__main__":
    sys.exit(main(merge, MergeConfig))
