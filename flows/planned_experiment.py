"""One experiment that a cycle has planned: train, evaluate, explain."""

from __future__ import annotations

import sys

from prefect import flow

from flows.cli import main
from flows.configs_queue import PlannedExperimentConfig
from flows.elsewhere import bring_prepared
from flows.experiment import remembered_experiment
from flows.hooks import ENDED
from flows.resolve import account_of, workspace_of
from flows.results import ExperimentResult
from glaucoma.planning.cycle import planned


@flow(name="planned-experiment", flow_run_name="planned-experiment-{config.experiment}", **ENDED)
def planned_experiment(config: PlannedExperimentConfig) -> ExperimentResult:
    """Train, evaluate on validation and explain one experiment of a cycle's plan; only the plan says what it is."""
    workspace = workspace_of(config)
    spec = planned(workspace, config.cycle, config.experiment)
    account_of(config.execution.tracking)  # a block that is missing is no experiment's failure
    bring_prepared(workspace, spec.dataset, spec.prepared_key)
    return remembered_experiment(spec, workspace, config.execution, config.evaluate, config.explain)


if __name__ == "__main__":
    sys.exit(main(planned_experiment, PlannedExperimentConfig))
