"""Training in this process, as the unit tests of the engine and the loop do it."""

from __future__ import annotations

from collections.abc import Callable

from glaucoma.training.experiment import Experiment, create_experiment
from glaucoma.training.loop import run_training
from glaucoma.training.progress_log import ProgressWriter
from glaucoma.training.settings import ExecutionSettings
from glaucoma.training.spec import ExperimentSpec
from glaucoma.workspace import Workspace


def run(
    spec: ExperimentSpec,
    workspace: Workspace,
    execution: ExecutionSettings,
    should_stop: Callable[[float], bool] = lambda _: False,
) -> Experiment:
    experiment = create_experiment(spec, workspace)
    progress = ProgressWriter(experiment.progress_path)
    try:
        run_training(experiment, workspace, execution, progress, should_stop)
    finally:
        progress.close()
    return experiment


def stop_after(calls: int) -> Callable[[float], bool]:
    """A `should_stop` that says yes at its call number `calls`."""
    seen = iter(range(1, 10**6))
    return lambda _: next(seen) == calls
