"""Train one model."""

from __future__ import annotations

import sys

from prefect import flow

from flows.cli import main
from flows.configs import TrainConfig
from flows.resolve import account_of, prepared_folder, workspace_of
from flows.results import TrainResult
from glaucoma.training.spec import spec_from
from tasks.plan import check_models
from tasks.remember import failure_remembered, remember
from tasks.train import train as train_stage


@flow(name="train", flow_run_name="train-{config.task.value}-{config.name}")
def train(config: TrainConfig) -> TrainResult:
    """Train one model on a prepared dataset; goes on from its last checkpoint where it was cut off."""
    workspace = workspace_of(config)
    prepared = prepared_folder(workspace, config.name, config.prepared)
    check_models(config.train)
    account = account_of(config.train.execution.tracking)
    spec = spec_from(config.train, config.task, config.name, prepared.name)
    with failure_remembered(spec, workspace):
        experiment = train_stage(spec, workspace, config.train.execution, account)
    remember(spec, workspace)
    return TrainResult.of(experiment)


if __name__ == "__main__":
    sys.exit(main(train, TrainConfig))
