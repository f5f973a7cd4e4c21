"""Prepare a dataset for training."""

from __future__ import annotations

import sys

from prefect import flow

from flows.cli import main
from flows.configs import PreprocessConfig
from flows.resolve import dataset_folder, workspace_of
from flows.results import StageResult
from tasks import preprocess as stage


@flow(name="preprocess", flow_run_name="preprocess-{config.name}")
def preprocess(config: PreprocessConfig) -> StageResult:
    """Crop, equalise and resize a dataset's photographs, and pack them for training."""
    workspace = workspace_of(config)
    dataset = dataset_folder(workspace, config.name, config.dataset)
    return StageResult.of(stage.preprocess(dataset, config.name, workspace, config.preprocess))


if __name__ == "__main__":
    sys.exit(main(preprocess, PreprocessConfig))
