"""Train one model."""

from __future__ import annotations

import sys

from prefect import flow

from flows.cli import main
from flows.configs import TrainConfig
from flows.elsewhere import send
from flows.hooks import ENDED
from flows.resolve import account_of, prepared_folder, workspace_of
from flows.results import TrainResult
from glaucoma.training.spec import spec_from
from tasks.plan import check_models
from tasks.remember import failure_remembered, remember
from tasks.train import train_with_retries as train_stage


@flow(name="train", flow_run_name="train-{config.task.value}-{config.name}", **ENDED)
def train(config: TrainConfig) -> TrainResult:
    """Train one model on a prepared dataset; goes on from its last checkpoint where it was cut off."""
    workspace = workspace_of(config)
    prepared = prepared_folder(workspace, config.name, config.prepared)
    check_models(config.train)
    account = account_of(config.train.execution.tracking)
    spec = spec_from(config.train, config.task, config.name, prepared.name)
    execution = config.train.execution
    with failure_remembered(spec, workspace, rollback=execution.rollback):
        experiment = train_stage(spec, workspace, execution, account)
    remember(spec, workspace)
    send(experiment, workspace)
    return TrainResult.of(experiment)


if __name__ == "__main__":
    sys.exit(main(train, TrainConfig))
