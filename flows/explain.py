"""Show where a trained model looks."""

from __future__ import annotations

import sys

from prefect import flow

from flows.cli import main
from flows.configs import ExplainConfig
from flows.elsewhere import experiment_here, send
from flows.resolve import workspace_of
from flows.results import ExplainResult, show_metrics
from tasks.explain import explain as explain_stage


@flow(name="explain", flow_run_name="explain-{config.experiment}-{config.split.value}")
def explain(config: ExplainConfig) -> ExplainResult:
    """Show where a trained model looks: Grad-CAM, Grad-CAM++, Disc Relevance Index, overlays."""
    workspace = workspace_of(config)
    experiment = experiment_here(config.experiment, workspace)
    found = explain_stage(experiment, workspace, config.explain, config.split)
    send(experiment, workspace)
    return ExplainResult.of(found, experiment.visualizations / config.split)


if __name__ == "__main__":
    sys.exit(main(explain, ExplainConfig, show=show_metrics))
