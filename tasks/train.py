"""Train: one experiment in a child process that is watched; a retry goes on from the last checkpoint."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from prefect import runtime
from prefect.artifacts import create_markdown_artifact
from prefect.logging import get_run_logger

from tasks.live import LivePicture, LiveTable, Pace
from tasks.own_run import OwnRun
from tasks.stage import ProgressArtifact, artifact_key, found_again, shown_if_possible, stage_task

if TYPE_CHECKING:
    from collections.abc import Sequence

    from glaucoma.training.progress_log import TrainingProgress
    from glaucoma.training.settings import ExecutionSettings
    from glaucoma.training.spec import ExperimentSpec
    from glaucoma.training.tracking.account import Account
    from glaucoma.workspace import Workspace

_MOST_ROWS = 200
_EPOCHS_LOGGED_EVERY_S = 2.0


def train_with_retries(
    spec: ExperimentSpec, workspace: Workspace, execution: ExecutionSettings, account: Account | None = None
) -> Any:
    """The task `train`, tried again as often as `execution` says; each attempt goes on from the last checkpoint."""
    return train.retrying(execution.retries, execution.first_retry_delay_s)(spec, workspace, execution, account)


@stage_task(run_name="train {spec.model} on {spec.dataset}", timeout_s=14 * 24 * 3600)
def train(
    spec: ExperimentSpec, workspace: Workspace, execution: ExecutionSettings, account: Account | None = None
) -> Any:
    """Trains, resumes, or finds the experiment finished. The watchdog in `glaucoma.training` keeps the time limits."""
    from glaucoma.records.ended import TrainingRun, note_run, note_run_held
    from glaucoma.training.experiment import create_experiment
    from glaucoma.training.progress_log import read_progress
    from glaucoma.training.spec import experiment_id
    from glaucoma.training.supervise import is_complete, other_code
    from glaucoma.training.supervise import train as train_experiment
    from glaucoma.training.tracking.tracker import heard_by, tracked

    name = experiment_id(spec)
    logger = get_run_logger()
    run = TrainingRun(run_id=str(runtime.flow_run.id), execution=execution)
    note_run(spec, workspace, run)
    noted = create_experiment(spec, workspace)
    show = TrainingDisplay(name, read_progress(noted.progress_path))

    def note(progress: TrainingProgress) -> None:
        """At the first line the experiment is this run's, maybe after another run's training was waited for."""
        if not show.heard:
            note_run_held(noted, run)

    # The science cannot tell a cancel from another signal to end: `failure_remembered` can, and rolls back.
    kept = execution.model_copy(update={"rollback": False})
    with tracked(spec, workspace, execution.tracking, account, logger.warning) as tracker:
        experiment = train_experiment(spec, workspace, kept, report=heard_by(note, show, tracker))
    metadata = experiment.metadata
    if not show.heard and is_complete(experiment):
        if warning := other_code(experiment):
            logger.warning("%s", warning)
            with shown_if_possible():
                create_markdown_artifact(warning, key=artifact_key("other-code", name), description="Trained before")
        return found_again(experiment, f"{name} was trained already")
    show.finish()
    epoch = metadata.checkpoint.epoch if metadata.checkpoint else None
    logger.info("Trained %s in %.1f s; best epoch %s", name, metadata.duration_s, epoch)
    return experiment


class TrainingDisplay:
    """Shows a training: a bar with the time left, a table with a row an epoch, a picture of curves, lines in the log.

    It also looks whether the run is still wanted, as it is what the watched training calls.

    Args:
        name: The experiment.
        before: What earlier attempts said: their epochs stay in table and picture.
    """

    def __init__(self, name: str, before: Sequence[TrainingProgress] = ()) -> None:
        self.heard = False
        self._name = name
        self._lines = list(before)
        self._progress = ProgressArtifact(artifact_key("train", name), f"Training {name}")
        self._table = LiveTable(artifact_key("epochs", name))
        self._picture = LivePicture(artifact_key("curves", name))
        self._log = Pace(_EPOCHS_LOGGED_EVERY_S)
        self._own_run = OwnRun()
        self._logger = get_run_logger()

    def __call__(self, progress: TrainingProgress) -> None:
        self.heard = True
        self._own_run.require_wanted()
        left = f", {progress.eta_s:.0f} s left" if progress.eta_s is not None else ""
        if progress.event is not None:
            self._lines.append(progress)
            self._logger.info("%s: %s", self._name, progress.line())
        elif progress.val is not None:
            self._lines.append(progress)
            if self._log.due():
                self._logger.info("%s: %s%s", self._name, progress.line(), left)
                self._log.told()
            self._show_epochs(last=False)
        self._progress(progress.share, progress.line() + left)

    def finish(self) -> None:
        """Shows all epochs as they are at the end."""
        self._show_epochs(last=True)

    def _show_epochs(self, *, last: bool) -> None:
        from glaucoma.reporting.curves import curves_png, epoch_row, epochs_of, png_uri

        table, picture = (last or live.due() for live in (self._table, self._picture))
        epochs = epochs_of(self._lines) if table or picture else []
        if table and epochs:
            some = "" if len(epochs) <= _MOST_ROWS else f", the last {_MOST_ROWS} of {len(epochs)}"
            rows = [epoch_row(line) for line in epochs[-_MOST_ROWS:]]
            self._table.show(rows, f"**{self._name}**: metrics by epoch{some}")
        if picture and epochs:
            described = f"**{self._name}**: {len(epochs)} of {epochs[-1].epochs} epochs"
            self._picture.show(png_uri(curves_png(self._name, epochs)), described)
