"""Say all that is known of one experiment."""

from __future__ import annotations

import sys

from prefect import flow

from flows.cli import main
from flows.configs_control import ExperimentInfoConfig
from flows.resolve import workspace_of
from flows.results_control import show_experiment_info
from glaucoma.planning.overview import ExperimentInfo
from tasks import experiments as stage


@flow(name="experiment-info", flow_run_name="experiment-info-{config.experiment}")
def experiment_info(config: ExperimentInfoConfig) -> ExperimentInfo:
    """Say all that is known of one experiment: status, progress, history, metrics, places, its flow run."""
    info: ExperimentInfo = stage.describe_experiment(config.experiment, workspace_of(config))
    return info


if __name__ == "__main__":
    sys.exit(main(experiment_info, ExperimentInfoConfig, show=show_experiment_info))
