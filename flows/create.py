"""Make an experiment and do not run it."""

from __future__ import annotations

import sys

from prefect import flow

from flows.cli import main
from flows.configs_control import CreateConfig
from flows.resolve import account_of, prepared_folder, workspace_of
from flows.results_control import CreateResult
from glaucoma.training.spec import spec_from
from tasks.experiments import create as create_stage
from tasks.plan import check_models


@flow(name="create", flow_run_name="create-{config.task.value}-{config.name}")
def create(config: CreateConfig) -> CreateResult:
    """Make an experiment's folder and its row in the ledger, found by its id when it is scheduled or resumed."""
    workspace = workspace_of(config)
    prepared = prepared_folder(workspace, config.name, config.prepared)
    check_models(config.train)
    account_of(config.train.execution.tracking)  # a block that is missing is said now, not when it is run
    spec = spec_from(config.train, config.task, config.name, prepared.name)
    return CreateResult.of(create_stage(spec, workspace, config.train.execution))


if __name__ == "__main__":
    sys.exit(main(create, CreateConfig))
