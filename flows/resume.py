"""Go on with what was cut off: train from the last checkpoint, evaluate, explain."""

from __future__ import annotations

import sys

from prefect import flow
from prefect.logging import get_run_logger

from flows.cli import main
from flows.configs import ResumeConfig
from flows.elsewhere import experiment_here
from flows.experiment import remembered_experiment
from flows.hooks import ENDED
from flows.resolve import workspace_of
from flows.results import ExperimentResult, ResumeResult
from glaucoma.errors import TrainingError
from glaucoma.records.resumable import execution_of, require_resumable, resumable
from glaucoma.training.experiment import Experiment
from glaucoma.training.settings import ExecutionSettings
from glaucoma.workspace import Workspace


@flow(name="resume", flow_run_name="resume-{config.named}", **ENDED)
def resume(config: ResumeConfig) -> ResumeResult:
    """Go on with one experiment that was cut off, or with all of them, one after the other."""
    workspace = workspace_of(config)
    if config.experiment:
        experiment = experiment_here(config.experiment, workspace)
        require_resumable(experiment, workspace, failed_too=config.retry_failed)
        return ResumeResult(experiments=[go_on(experiment, config, workspace)])
    return ResumeResult(experiments=go_on_with_all(config, workspace))


def go_on_with_all(config: ResumeConfig, workspace: Workspace) -> list[ExperimentResult]:
    """Goes on with each that was cut off; one that fails does not keep the others from it.

    Raises:
        TrainingError: Some could not be completed; the reasons are in the ledger too.
    """
    done, failures = [], []
    for experiment in resumable(workspace, failed_too=config.retry_failed):
        try:
            done.append(go_on(experiment, config, workspace))
        except Exception as error:  # noqa: BLE001  whatever it was, the others go on and the ledger keeps the reason
            get_run_logger().error("%s failed: %s", experiment.experiment_id, error)
            failures.append(f"{experiment.experiment_id}: {error}")
    if failures:
        raise TrainingError(
            f"{len(failures)} of {len(done) + len(failures)} experiments were not completed ({' '.join(failures)})",
            remedy="mend what is named and resume again: those that are complete stay so",
        )
    get_run_logger().info("%d experiments were resumed", len(done))
    return done


def go_on(experiment: Experiment, config: ResumeConfig, workspace: Workspace) -> ExperimentResult:
    """Trains to the end, evaluates and explains."""
    execution = execution_of(experiment, config.execution, ExecutionSettings.for_preset(config.preset))
    get_run_logger().info("Goes on with %s, which is %s", experiment.experiment_id, experiment.status)
    return remembered_experiment(experiment.spec, workspace, execution, config.evaluate, config.explain)


if __name__ == "__main__":
    sys.exit(main(resume, ResumeConfig))
