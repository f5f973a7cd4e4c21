"""Judge a dataset."""

from __future__ import annotations

import sys

from prefect import flow

from flows.cli import main
from flows.configs import ValidateConfig
from flows.resolve import dataset_folder, workspace_of
from flows.results import StageResult
from tasks import validate as stage


@flow(name="validate", flow_run_name="validate-{config.name}")
def validate(config: ValidateConfig) -> StageResult:
    """Judge a dataset with Great Expectations; a critical failure is an error that lists all of them."""
    workspace = workspace_of(config)
    dataset = dataset_folder(workspace, config.name, config.dataset)
    return StageResult.of(stage.validate(dataset, config.name, workspace, config.validation))


if __name__ == "__main__":
    sys.exit(main(validate, ValidateConfig))
