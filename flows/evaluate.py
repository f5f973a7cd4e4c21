"""Measure a trained model."""

from __future__ import annotations

import sys

from prefect import flow

from flows.cli import main
from flows.configs import EvaluateConfig
from flows.elsewhere import experiment_here, send
from flows.resolve import workspace_of
from flows.results import EvaluateResult, show_metrics
from tasks.evaluate import evaluate as evaluate_stage
from tasks.remember import remember


@flow(name="evaluate", flow_run_name="evaluate-{config.experiment}-{config.split.value}")
def evaluate(config: EvaluateConfig) -> EvaluateResult:
    """Measure a trained model on a split, every number with its interval."""
    workspace = workspace_of(config)
    experiment = experiment_here(config.experiment, workspace)
    found = evaluate_stage(experiment, workspace, config.evaluate, config.split)
    remember(experiment.spec, workspace)
    send(experiment, workspace)
    return EvaluateResult.of(found, experiment.results / config.split)


if __name__ == "__main__":
    sys.exit(main(evaluate, EvaluateConfig, show=show_metrics))
