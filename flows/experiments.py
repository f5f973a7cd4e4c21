"""List experiments."""

from __future__ import annotations

import sys

from prefect import flow

from flows.cli import main
from flows.configs_control import ExperimentsConfig
from flows.resolve import workspace_of
from flows.results_control import ExperimentsResult, show_experiments
from tasks import experiments as stage


@flow(name="experiments", flow_run_name="experiments")
def experiments(config: ExperimentsConfig) -> ExperimentsResult:
    """List experiments, newest first, with where they stand and what was measured."""
    return ExperimentsResult(experiments=stage.list_experiments(workspace_of(config), config.show))


if __name__ == "__main__":
    sys.exit(main(experiments, ExperimentsConfig, show=show_experiments))
