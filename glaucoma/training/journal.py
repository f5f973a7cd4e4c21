"""What a run tells while it goes on, and writes down at its end."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

from glaucoma.provenance import code_sha256
from glaucoma.training.checkpoints import BEST, Checkpoints
from glaucoma.training.device import memory_mb, utilization_percent
from glaucoma.training.engine import Engine
from glaucoma.training.experiment import CheckpointRecord, Experiment, Metadata
from glaucoma.training.feed import Feed
from glaucoma.training.learner import Learner
from glaucoma.training.progress_log import INTERVAL_S, Phase, ProgressWriter
from glaucoma.training.spec import ExperimentSpec
from glaucoma.training.state import State
from glaucoma.training.task_definition import Scores


class Journal:
    """The lines of progress: of this process's own share, but for the loss and the scores at an epoch's end."""

    def __init__(
        self, progress: ProgressWriter, spec: ExperimentSpec, engine: Engine, feed: Feed, learner: Learner
    ) -> None:
        self._progress, self._spec, self._engine, self._feed, self._learner = progress, spec, engine, feed, learner
        self._began = time.monotonic()
        self._last = -math.inf
        self._images_done = self._validated = 0

    def begun(self, state: State, images: dict[str, int], *, resumed: bool, compiled: bool) -> None:
        """Tells how the run starts, and what its first step has to do beside."""
        line = self.position(state)
        where = f"resumed after step {line['step']}" if resumed else "started"
        world = self._engine.place.world
        on = f"{self._engine.device}" if world == 1 else f"{world} processes, the first on {self._engine.device}"
        counts = f"{images['train']} images for training ({self._feed.place}), {images['val']} for validation"
        self._progress.write(event="resume" if resumed else "start", message=f"{where} on {on}, {counts}", **line)
        if compiled:
            self._progress.write(phase=Phase.COMPILING, message="the first step compiles the network", **line)

    def step(self, state: State, images: int) -> bool:
        """Takes note of a step of so many images; writes a line where the last one is old enough, and says whether.

        Writing it costs a look at the loss, for which a GPU must have come to its end.
        """
        self._images_done += images
        self._validated = 0
        return self._shown(state)

    def validated(self, state: State) -> None:
        """Takes note of one more batch validated, here or by another process, as `step` does of a step."""
        self._validated += 1
        self._shown(state, phase=Phase.VALIDATION, phase_done=self._validated)

    def _shown(self, state: State, **phase: Any) -> bool:
        if time.monotonic() - self._last < INTERVAL_S:
            return False
        self._last = time.monotonic()
        self._progress.write(
            **self.position(state),
            **phase,
            gpu_utilization_percent=utilization_percent(self._engine.device),
            wait_share=self._feed.wait_share(),
        )
        return True

    def epoch_ended(self, line: dict[str, Any], loss: float, scores: Scores) -> None:
        """Writes the line with the scores."""
        self._progress.write(**{**line, "loss": loss, "val": scores})

    def ended(self, state: State, message: str, event: str = "end") -> None:
        """Tells how the run ends."""
        self._progress.write(event=event, message=message, **self.position(state))

    def position(self, state: State) -> dict[str, Any]:
        """Where the run is."""
        spec, learner, per_epoch = self._spec, self._learner, self._feed.batches_per_epoch
        step, steps = state.epoch * per_epoch + state.next_batch, spec.epochs * per_epoch
        elapsed = time.monotonic() - self._began
        speed = self._images_done / elapsed if elapsed > 0 and self._images_done else None
        return {
            "epoch": min(state.epoch + 1, spec.epochs),
            "epochs": spec.epochs,
            "step": step,
            "steps": steps,
            "loss": float(learner.loss_sum) / learner.images_seen if learner.images_seen else None,
            "lr": learner.rate,
            "images_per_s": round(speed, 2) if speed else None,
            "eta_s": round((steps - step) * spec.batch_size / speed, 1) if speed else None,
            "gpu_memory_mb": memory_mb(self._engine.device),
        }


def loading(progress: ProgressWriter) -> Callable[[int], None]:
    """What tells that so many images are loaded, before there is a journal."""

    def told(n_images: int) -> None:
        progress.step(phase=Phase.LOADING, phase_done=n_images, message=f"{n_images} images loaded")

    return told


def write_down(experiment: Experiment, checkpoints: Checkpoints, state: State, facts: dict[str, Any]) -> None:
    """Puts the result into the metadata, from what the best checkpoint itself says.

    Args:
        facts: How it was trained.
    """
    best = checkpoints.load_best()
    sha256 = checkpoints.sha256(BEST)
    best_epoch = best["state"]["best_epoch"]

    def change(metadata: Metadata) -> None:
        metadata.checkpoint = CheckpointRecord(path=f"checkpoints/{BEST}", sha256=sha256, epoch=best_epoch)
        metadata.code_sha256 = code_sha256("glaucoma.training.loop")
        metadata.training = {
            "epochs_run": state.epoch,
            "stopped_early": state.ended_by != "epochs",
            "ended_by": state.ended_by,
            "best_epoch": best_epoch,
            "best_scores": {name: _or_none(value) for name, value in best["scores"].items()},
            **facts,
        }

    experiment.update(change)


def _or_none(value: float) -> float | None:
    return value if math.isfinite(value) else None
