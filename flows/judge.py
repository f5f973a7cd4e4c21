"""Say of pairs of photographs whether they are the same."""

from __future__ import annotations

import sys

from prefect import flow

from flows.cli import main
from flows.configs import JudgeConfig
from flows.resolve import dataset_folder, workspace_of
from flows.results import JudgeResult
from tasks import judge as stage


@flow(name="judge", flow_run_name="judge-{config.name}")
def judge(config: JudgeConfig) -> JudgeResult:
    """Keep what a person says of pairs of photographs that look alike; it counts when the dataset is made again."""
    workspace = workspace_of(config)
    dataset = dataset_folder(workspace, config.name, config.dataset)
    return JudgeResult.of(config.name, stage.judge(dataset, config.name, workspace, config.pairs, config.by))


if __name__ == "__main__":
    sys.exit(main(judge, JudgeConfig))
