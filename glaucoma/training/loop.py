"""The training loop. Every random draw is a function of (seed, epoch, step), so resuming needs no generator's state.

The same spec on the same CPU and threads ends with the same weights, bit for bit, however often it was stopped.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import nn

from glaucoma.errors import TrainingError
from glaucoma.provenance import code_sha256
from glaucoma.schema import Split
from glaucoma.training.batching import Batches
from glaucoma.training.build import build_model
from glaucoma.training.checkpoints import BEST, Checkpoints
from glaucoma.training.data import load_arrays, open_prepared, require_trainable
from glaucoma.training.device import choose_device, configure, held, memory_mb, uses_bfloat16
from glaucoma.training.experiment import CheckpointRecord, Experiment, Metadata
from glaucoma.training.losses import LOSSES
from glaucoma.training.optimization import learning_rate, parameter_groups
from glaucoma.training.progress_log import ProgressWriter
from glaucoma.training.sampling import Indices, batches, epoch_order, step_seed
from glaucoma.training.settings import ExecutionSettings
from glaucoma.training.spec import ExperimentSpec
from glaucoma.training.validation import rank, validate
from glaucoma.workspace import Workspace

_CLIP_NORM = 1.0
_DROPOUT, _AUGMENT = 1, 2


class StoppedError(Exception):
    """The loop was asked to stop, and has saved."""


@dataclass
class State:
    """Where a run stands; with the weights and the optimizer all that resuming needs."""

    epoch: int = 0
    """Epochs finished."""
    next_batch: int = 0
    loss_sum: float = 0.0
    images_seen: int = 0
    best_epoch: int = 0
    """The first is 1; 0: none yet."""
    best_rank: list[float] = field(default_factory=list)
    since_best: int = 0


def run_training(
    experiment: Experiment,
    workspace: Workspace,
    execution: ExecutionSettings,
    progress: ProgressWriter,
    should_stop: Callable[[float], bool],
) -> None:
    """Trains the experiment to its end, from its last good checkpoint where there is one.

    Args:
        should_stop: Waits up to that many seconds for a request to stop, and says whether there is one.

    Raises:
        StoppedError: Asked to stop; the state is saved.
        TrainingError: The loss is no longer finite.
        InputError: The data or the model's name or weights do not serve.
    """
    spec = experiment.spec
    device = choose_device(execution.device)
    configure(device, execution.threads, deterministic=execution.deterministic)

    def wait() -> None:
        progress.step(event="waiting", message="waiting for the GPU, which another training holds")
        if should_stop(1.0):
            raise StoppedError

    with held(device, workspace, wait):
        trainer = Trainer(experiment, spec, workspace, execution, device, progress, lambda: should_stop(0.0))
        trainer.run()


class Trainer:
    """One run of the loop."""

    def __init__(
        self,
        experiment: Experiment,
        spec: ExperimentSpec,
        workspace: Workspace,
        execution: ExecutionSettings,
        device: torch.device,
        progress: ProgressWriter,
        stop_asked: Callable[[], bool],
    ) -> None:
        self.experiment, self.spec, self.execution, self.device = experiment, spec, execution, device
        self.progress, self.stop_asked = progress, stop_asked
        data = open_prepared(spec, workspace)
        train = load_arrays(data, spec, Split.TRAIN, execution.threads)
        val = load_arrays(data, spec, Split.VAL, execution.threads)
        self.left_out = data.left_out(spec.task)
        require_trainable(train, val, spec, self.left_out)
        self.labels = train.labels if spec.balanced_sampling else None
        self.train, self.val = Batches.of(train, device), Batches.of(val, device)
        self.loss = LOSSES[spec.loss]
        self.batches_per_epoch = len(batches(self._order(0), spec.batch_size))
        self.checkpoints = Checkpoints(experiment.checkpoints)
        saved = self.checkpoints.load_last(experiment.note)
        self.state = State(**saved["state"]) if saved else State()
        torch.manual_seed(spec.seed)
        model = build_model(spec, workspace, pretrained=spec.pretrained and saved is None)
        if device.type == "cuda":
            model = model.to(memory_format=torch.channels_last)
        self.model: nn.Module = model.to(device)
        self.optimizer = torch.optim.AdamW(parameter_groups(self.model, spec.weight_decay), lr=spec.learning_rate)
        if saved:
            self.model.load_state_dict(saved["model"])
            self.optimizer.load_state_dict(saved["optimizer"])
        self._loss_sum = torch.tensor(self.state.loss_sum, dtype=torch.float64, device=device)
        self._last_saved = self._began = time.monotonic()
        self._images_done = 0
        self._say_begun(saved is not None)

    def run(self) -> None:
        """Trains until the last epoch, or until patience is at its end, and writes down what came out."""
        while not self.finished:
            self._run_epoch()
        self._write_down()
        self.progress.write(event="end", message="training is complete", **self._position())

    @property
    def finished(self) -> bool:
        return self.state.epoch >= self.spec.epochs or self.state.since_best >= self.spec.patience

    def _order(self, epoch: int) -> Indices:
        return epoch_order(len(self.train.images), self.labels, self.spec.seed, epoch)

    def _run_epoch(self) -> None:
        state = self.state
        cut = batches(self._order(state.epoch), self.spec.batch_size)
        self.model.train()
        for index in range(state.next_batch, len(cut)):
            self._step(cut[index], state.epoch * len(cut) + index)
            state.next_batch = index + 1
            self.progress.step(**self._position())
            self._save_or_stop()
        scores = validate(
            self.model, self.val, self.spec.task, self.loss, 2 * self.spec.batch_size, self._between_validation_batches
        )
        self._end_epoch(scores)

    def _step(self, indices: Indices, step: int) -> None:
        seed = self.spec.seed
        torch.manual_seed(step_seed(seed, step, _DROPOUT))
        generator = torch.Generator().manual_seed(step_seed(seed, step, _AUGMENT))
        inputs, targets = self.train.gather(indices, self.spec.augment, generator)
        if self.device.type == "cuda":
            inputs = inputs.contiguous(memory_format=torch.channels_last)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.spec.learning_rate, step, self.spec.epochs * self.batches_per_epoch)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=uses_bfloat16(self.device)):
            logits = self.model(inputs)
        loss = self.loss(logits.float(), targets)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.model.parameters(), _CLIP_NORM)
        self.optimizer.step()
        self._loss_sum += loss.detach().double() * len(indices)
        self.state.images_seen += len(indices)
        self._images_done += len(indices)

    def _end_epoch(self, scores: dict[str, float]) -> None:
        state = self.state
        line = self._position()
        loss = self._mean_loss()
        state.epoch, state.next_batch, state.images_seen = state.epoch + 1, 0, 0
        self._loss_sum.zero_()
        if not state.best_rank or rank(scores) > state.best_rank:
            state.best_epoch, state.best_rank, state.since_best = state.epoch, rank(scores), 0
            self.checkpoints.save_best(self._payload(scores, optimizer=False))
        else:
            state.since_best += 1
        self._save()
        self.progress.write(**{**line, "loss": loss, "val": scores})

    def _save_or_stop(self) -> None:
        if self.stop_asked():
            self._save()
            raise StoppedError
        if time.monotonic() - self._last_saved >= self.execution.checkpoint_every_s:
            self._save()

    def _between_validation_batches(self) -> None:
        self.progress.step(**self._position())
        if self.stop_asked():
            self._save()  # all batches of the epoch are done: the next attempt begins with the validation
            raise StoppedError

    def _save(self) -> None:
        self._mean_loss()  # a diverged state is not worth keeping
        self.checkpoints.save_last(self._payload({}, optimizer=True))
        self._last_saved = time.monotonic()

    def _payload(self, scores: dict[str, float], *, optimizer: bool) -> dict[str, Any]:
        self.state.loss_sum = float(self._loss_sum)
        payload: dict[str, Any] = {
            "experiment_id": self.experiment.experiment_id,
            "state": asdict(self.state),
            "model": self.model.state_dict(),
            "scores": scores,
        }
        if optimizer:
            payload["optimizer"] = self.optimizer.state_dict()
        return payload

    def _mean_loss(self) -> float:
        """The epoch's mean loss so far; `TrainingError` where it is not finite."""
        mean = float(self._loss_sum) / max(self.state.images_seen, 1)
        if not math.isfinite(mean):
            raise TrainingError(
                f"The loss of {self.experiment.experiment_id} is {mean} in epoch {self.state.epoch + 1}: it diverged",
                expected="a finite loss",
                consequence="The training ended without a model",
                remedy=f"lower the learning rate, which is {self.spec.learning_rate:g}",
            )
        return mean

    def _position(self) -> dict[str, Any]:
        """Where the run is, for a line of progress."""
        state, spec = self.state, self.spec
        step, steps = state.epoch * self.batches_per_epoch + state.next_batch, spec.epochs * self.batches_per_epoch
        elapsed = time.monotonic() - self._began
        speed = self._images_done / elapsed if elapsed > 0 and self._images_done else None
        return {
            "epoch": min(state.epoch + 1, spec.epochs),
            "epochs": spec.epochs,
            "step": step,
            "steps": steps,
            "loss": self._mean_loss() if state.images_seen else None,
            "lr": self.optimizer.param_groups[0]["lr"],
            "images_per_s": round(speed, 2) if speed else None,
            "eta_s": round((steps - step) * spec.batch_size / speed, 1) if speed else None,
            "gpu_memory_mb": memory_mb(self.device),
        }

    def _say_begun(self, resumed: bool) -> None:
        where = f"resumed after step {self._position()['step']}" if resumed else "started"
        counts = f"{len(self.train.images)} images for training, {len(self.val.images)} for validation"
        self.progress.write(
            event="resume" if resumed else "start", message=f"{where} on {self.device}, {counts}", **self._position()
        )

    def _write_down(self) -> None:
        """Puts the result into the metadata, from what the best checkpoint itself says."""
        best = self.checkpoints.load_best()
        sha256 = self.checkpoints.sha256(BEST)

        def change(metadata: Metadata) -> None:
            metadata.checkpoint = CheckpointRecord(
                path=f"checkpoints/{BEST}", sha256=sha256, epoch=best["state"]["best_epoch"]
            )
            metadata.code_sha256 = code_sha256("glaucoma.training.loop")
            metadata.training = {
                "epochs_run": self.state.epoch,
                "stopped_early": self.state.epoch < self.spec.epochs,
                "best_epoch": best["state"]["best_epoch"],
                "best_scores": {name: _or_none(value) for name, value in best["scores"].items()},
                "images": {"train": len(self.train.images), "val": len(self.val.images)},
                "left_out": self.left_out,
                "device": str(self.device),
                "threads": self.execution.threads,
                "parameters": sum(parameter.numel() for parameter in self.model.parameters()),
            }

        self.experiment.update(change)


def _or_none(value: float) -> float | None:
    return value if math.isfinite(value) else None
