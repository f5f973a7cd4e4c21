"""Train: one experiment in a child process that is watched; a retry goes on from the last checkpoint."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.logging import get_run_logger

from tasks.stage import ProgressArtifact, artifact_key, found_again, shown_if_possible, stage_task

if TYPE_CHECKING:
    from glaucoma.training.progress_log import TrainingProgress
    from glaucoma.training.settings import ExecutionSettings
    from glaucoma.training.spec import ExperimentSpec
    from glaucoma.training.tracking.account import Account
    from glaucoma.workspace import Workspace

_TABLE_EVERY_S = 5.0


@stage_task(run_name="train {spec.model} on {spec.dataset}", timeout_s=14 * 24 * 3600)
def train(
    spec: ExperimentSpec, workspace: Workspace, execution: ExecutionSettings, account: Account | None = None
) -> Any:
    """Trains, resumes, or finds the experiment finished. The watchdog in `glaucoma.training` keeps the time limits."""
    from glaucoma.training.spec import experiment_id
    from glaucoma.training.supervise import is_complete, other_code
    from glaucoma.training.supervise import train as train_experiment
    from glaucoma.training.tracking.tracker import heard_by, tracked

    name = experiment_id(spec)
    logger = get_run_logger()
    show = TrainingDisplay(name)
    with tracked(spec, workspace, execution.tracking, account, logger.warning) as tracker:
        experiment = train_experiment(spec, workspace, execution, report=heard_by(show, tracker))
    metadata = experiment.metadata
    if not show.heard and is_complete(experiment):
        if warning := other_code(experiment):
            logger.warning("%s", warning)
            with shown_if_possible():
                create_markdown_artifact(warning, key=artifact_key("other-code", name), description="Trained before")
        return found_again(experiment, f"{name} was trained already")
    epoch = metadata.checkpoint.epoch if metadata.checkpoint else None
    logger.info("Trained %s in %.1f s; best epoch %s", name, metadata.duration_s, epoch)
    return experiment


class TrainingDisplay:
    """Shows a training's progress: a bar with the time left, a table with a row an epoch, and lines in the log."""

    def __init__(self, name: str) -> None:
        self.heard = False
        self._key = artifact_key("epochs", name)
        self._name = name
        self._progress = ProgressArtifact(artifact_key("train", name), f"Training {name}")
        self._epochs: list[dict[str, Any]] = []
        self._table_at = 0.0
        self._logger = get_run_logger()

    def __call__(self, progress: TrainingProgress) -> None:
        self.heard = True
        left = f", {progress.eta_s:.0f} s left" if progress.eta_s is not None else ""
        if progress.event is not None:
            self._logger.info("%s: %s", self._name, progress.line())
        elif progress.val is not None:
            self._epochs.append(_row(progress))
            last = progress.epoch >= progress.epochs
            if last or time.monotonic() - self._table_at > _TABLE_EVERY_S:
                described = f"**{self._name}**: metrics by epoch"
                with shown_if_possible():
                    create_table_artifact(table=self._epochs, key=self._key, description=described)
                self._table_at = time.monotonic()
            self._logger.info("%s: %s%s", self._name, progress.line(), left)
        self._progress(progress.share, progress.line() + left)


def _row(progress: TrainingProgress) -> dict[str, Any]:
    numbers = {
        "loss": progress.loss,
        **{f"validation {name}": value for name, value in (progress.val or {}).items()},
        "learning rate": progress.lr,
        "images/s": progress.images_per_s,
        "GPU memory MB": progress.gpu_memory_mb,
    }
    return {"epoch": progress.epoch, **{k: "-" if v is None else f"{v:.4g}" for k, v in numbers.items()}}
