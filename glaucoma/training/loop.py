"""The training loop. Every random draw is a function of (seed, step, rank), so resuming needs no generator's state.

The same spec on the same CPU and threads ends with the same weights, bit for bit, however often it was stopped.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import torch

from glaucoma.provenance import file_sha256
from glaucoma.schema import Split
from glaucoma.training.build import build_model
from glaucoma.training.catch_up import bar_for
from glaucoma.training.checkpoints import Checkpoints, Identity
from glaucoma.training.data import load_arrays, open_prepared, prepared_folder, require_trainable
from glaucoma.training.device import choose_device, configure, held, placed, release
from glaucoma.training.divergence import EPOCHS, TIMES, diverged, epochs_exploded
from glaucoma.training.engine import Engine, computed, find_place, make_engine
from glaucoma.training.experiment import Experiment
from glaucoma.training.feed import Feed
from glaucoma.training.images_at_once import images_at_once
from glaucoma.training.journal import Journal, loading, write_down
from glaucoma.training.learner import Learner
from glaucoma.training.limits import require_fits
from glaucoma.training.losses import make_loss
from glaucoma.training.progress_log import Phase, ProgressWriter
from glaucoma.training.saving import Saving
from glaucoma.training.settings import ExecutionSettings
from glaucoma.training.state import State, read_state
from glaucoma.training.task_definition import DEFINITIONS, Scores
from glaucoma.training.validation import validate
from glaucoma.workspace import Workspace


class StoppedError(Exception):
    """The loop was asked to stop, and has saved."""


def run_training(
    experiment: Experiment,
    workspace: Workspace,
    execution: ExecutionSettings,
    progress: ProgressWriter,
    should_stop: Callable[[float], bool],
) -> None:
    """Trains the experiment to its end, from its last good checkpoint where there is one.

    With `execution.devices` above 1 it is called in each of as many processes, in torchrun's environment; only the
    first writes checkpoints and metadata.

    Args:
        progress: Writes nothing in the other processes.
        should_stop: Waits up to that many seconds for a request to stop, and says whether there is one.

    Raises:
        StoppedError: Asked to stop, here or in another process; the state is saved.
        TrainingError: The loss is no longer finite, or exploded.
        InputError: The data, the settings, or the model's name or weights do not serve.
    """
    place = find_place(execution)
    device = choose_device(execution.device, place.local_rank)
    configure(device, execution.threads, deterministic=execution.deterministic)

    told = ""

    def wait(what: str) -> None:
        nonlocal told
        if what != told:  # a turn of events once; after that only that it still waits
            progress.write(event=Phase.WAITING, message=what)
            told = what
        progress.step(phase=Phase.WAITING, message=what)
        if should_stop(1.0):
            raise StoppedError

    with held(device, workspace, wait, local_rank=place.local_rank, local_world=place.local_world):
        engine = make_engine(execution, device, place)
        try:
            Trainer(experiment, workspace, execution, engine, progress, lambda: should_stop(0.0)).run()
        finally:
            engine.close()
            release(device)


class Trainer:
    """One run of the loop."""

    def __init__(
        self,
        experiment: Experiment,
        workspace: Workspace,
        execution: ExecutionSettings,
        engine: Engine,
        progress: ProgressWriter,
        stop_asked: Callable[[], bool],
    ) -> None:
        self.experiment, self.workspace, self.execution, self.engine = experiment, workspace, execution, engine
        self.stop_asked = stop_asked
        self.spec = experiment.spec
        self.definition = DEFINITIONS[self.spec.task]
        bar = bar_for(experiment, workspace) if engine.is_first else None
        self.bar: Any = engine.from_first(bar)
        self._open_data(progress)
        self.checkpoints = Checkpoints(experiment.checkpoints, computed(engine, execution, self.spec))
        manifest = prepared_folder(self.spec, workspace) / "manifest.csv"
        self.identity = Identity(experiment.experiment_id, self.spec.model_dump(mode="json"), file_sha256(manifest))
        self.state = State()
        resumed = self._make_learner()
        self.journal = Journal(progress, self.spec, engine, self.train, self.learner)
        self.journal.begun(self.state, self.images, resumed=resumed, compiled=execution.compile)
        self.saving = Saving(self.checkpoints, execution.checkpoint_every_s)

    def run(self) -> None:
        """Trains until the last epoch, or an earlier end that the spec asks for, and writes down what came out."""
        try:
            while not self.state.ended_by:
                self._train_epoch()
                self._end_epoch(self._validate())
            if self.engine.is_first:
                write_down(self.experiment, self.checkpoints, self.state, self._facts())
                self.journal.ended(self.state, "training is complete")
            self.engine.gathered(None)  # none leaves before the first has written
        finally:
            self.train.close()
            self.val.close()

    def _open_data(self, progress: ProgressWriter) -> None:
        spec, execution, place = self.spec, self.execution, self.engine.place
        data = open_prepared(spec, self.workspace)
        told = loading(progress)
        train, val = (
            load_arrays(data, spec, split, execution.threads, place.local_world, told)
            for split in (Split.TRAIN, Split.VAL)
        )
        self.left_out = data.left_out(spec.task)
        require_trainable(train, val, spec, self.left_out)
        self.images = {"train": len(train), "val": len(val)}
        self.clinical = train.clinical
        self.loss = make_loss(spec, train.labels)
        self.train, self.val = (
            Feed(arrays, spec, execution, self.engine.device, rank=place.rank, world=place.world, loaded=told)
            for arrays in (train, val)
        )

    def _make_learner(self) -> bool:
        """Makes the learner, new or from the last checkpoint; True where there was one."""
        self.learner = self._new_learner(pretrained=False)  # what a checkpoint fills needs no weights file
        resumed = self._load_last()
        if not resumed and (self.spec.pretrained or self.learner.touched):
            self.learner = self._new_learner(pretrained=self.spec.pretrained)
        self.estimate = require_fits(self.spec, self.execution, self.engine.device, self.learner.model)
        self.learner.ready(compiled=self.execution.compile)
        rank, world = self.engine.place.rank, self.engine.place.world
        self.state.spread(world)
        self.learner.begin_epoch(self.state.loss_sums[rank], self.state.images_seen[rank])
        return resumed

    def _new_learner(self, *, pretrained: bool) -> Learner:
        spec, device = self.spec, self.engine.device
        torch.manual_seed(spec.seed)
        model: Any = placed(build_model(spec, self.workspace, pretrained=pretrained), device, spec.task)
        if self.clinical is not None:
            model.set_clinical_scale(self.clinical)
        return Learner(model, spec, self.loss, self.engine, spec.epochs * self.train.batches_per_epoch)

    def _load_last(self) -> bool:
        """Takes over the newest good checkpoint: the first process chooses it and hands it to the others."""
        saved = None
        if self.engine.is_first:
            saved = self.checkpoints.load_last(self.experiment.note, self.identity, self._accept)
        saved = self.engine.from_first(saved)
        if saved is not None and not self.engine.is_first:
            self._accept(saved)
        return saved is not None

    def _accept(self, payload: dict[str, Any]) -> None:
        state = read_state(payload["state"], self.spec, self.train.batches_per_epoch)
        self.learner.load(payload)
        self.state = state

    def _train_epoch(self) -> None:
        state, before = self.state, self.state.epoch * self.train.batches_per_epoch
        self.learner.model.train()
        for batch in self.train.epoch(state.epoch, state.next_batch):
            self.learner.step(batch, before + state.next_batch, self.execution.micro_batch_size)
            state.next_batch += 1
            self._after_step(batch.n_step)

    def _after_step(self, images: int) -> None:
        """Shows where the run is, and saves or ends it where that is due: all processes do the same."""
        shown = self.journal.step(self.state, images)
        stop, save, broken = self.engine.any(
            self.stop_asked(),
            self.engine.is_first and self.saving.is_due,
            shown and not math.isfinite(float(self.learner.loss_sum)),
        )
        if stop or save or broken:
            self._save()
        if stop:
            raise StoppedError

    def _validate(self) -> Scores:
        self.learner.share_buffers()
        size = 2 * images_at_once(self.spec, self.execution)  # without gradients a device holds more
        batches, after_batch = self.val.in_order(size), self._after_validation_batch
        return validate(self.learner.kept, batches, self.definition, self.loss, self.engine, after_batch)

    def _after_validation_batch(self, more: bool) -> bool:
        self.journal.validated(self.state)
        stop, any_more = self.engine.any(more and self.stop_asked(), more)
        if stop:
            self._save()  # all batches of the epoch are done: the next attempt begins with the validation
            raise StoppedError
        return any_more

    def _end_epoch(self, scores: Scores) -> None:
        """Judges the epoch, keeps the best, and decides whether another one follows."""
        state, line = self.state, self.journal.position(self.state)
        loss = self._judge_loss(scores["loss"])
        state.epoch, state.next_batch = state.epoch + 1, 0
        self.learner.begin_epoch()
        rank = self.definition.rank(scores)
        better = not state.best_rank or rank > state.best_rank
        state.since_best = 0 if better else state.since_best + 1
        if better:
            state.best_epoch, state.best_rank = state.epoch, rank
        reason = self._decide_end()
        self._gather_sums()
        self.engine.collect()
        if not self.engine.is_first:
            return
        if better:
            self.saving.keep_best({**self._payload(scores), "model": self.learner.kept.state_dict()})
        self.journal.epoch_ended(line, loss, scores)  # before the save: a kill may have it told twice, never left out
        if state.ended_by or self.saving.is_due_at_end:
            self._write()
        if reason:
            self.journal.ended(state, reason, event="cannot_catch_up")

    def _judge_loss(self, validation_loss: float) -> float:
        """The epoch's mean training loss, of all processes; `TrainingError` where the run has diverged."""
        self._gather_sums()
        state = self.state
        loss = sum(state.loss_sums) / sum(state.images_seen)
        if not math.isfinite(validation_loss):
            raise self._diverged(f"is {validation_loss} on the validation images")
        state.exploded = epochs_exploded(loss, state.lowest_loss, state.exploded)
        if state.exploded >= EPOCHS:
            raise self._diverged(f"is {loss:.4g}, for {EPOCHS} epochs more than {TIMES:g} times its best,")
        state.lowest_loss = min(loss, state.lowest_loss)
        return loss

    def _decide_end(self) -> str:
        """Sets what ended the run, if anything did; the reason for a person where it cannot catch up."""
        state, reason = self.state, ""
        if state.epoch >= self.spec.epochs:
            state.ended_by = "epochs"
        elif state.since_best >= self.spec.patience:
            state.ended_by = "patience"
        elif reason := self.bar.hopeless(state.epoch / self.spec.epochs, state.best_rank[0]):
            state.ended_by = "cannot_catch_up"
        return reason

    def _save(self) -> None:
        self._gather_sums()
        self.engine.collect()
        if self.engine.is_first:
            self._write()

    def _write(self) -> None:
        self.saving.write({**self._payload({}), **self.learner.payload()})

    def _gather_sums(self) -> None:
        """Puts the processes' sums into the state; a diverged one is not worth keeping."""
        shares = self.engine.gathered((float(self.learner.loss_sum), self.learner.images_seen))
        self.state.loss_sums, self.state.images_seen = [one for one, _ in shares], [one for _, one in shares]
        total = sum(self.state.loss_sums)
        if not math.isfinite(total):
            raise self._diverged(f"is {total}")

    def _diverged(self, what: str) -> Exception:
        return diverged(self.experiment.experiment_id, what, self.state.epoch + 1, self.spec.learning_rate)

    def _payload(self, scores: Scores) -> dict[str, Any]:
        return {
            "experiment_id": self.experiment.experiment_id,
            "identity": self.identity,
            "state": asdict(self.state),
            "scores": scores,
        }

    def _facts(self) -> dict[str, Any]:
        return {
            "images": self.images,
            "left_out": self.left_out,
            "device": str(self.engine.device),
            "threads": self.execution.threads,
            "parameters": self.estimate.parameters,
            "step_estimate": {key: value for key, value in asdict(self.estimate).items() if key != "parameters"},
            "ema": self.spec.ema_decay > 0,
            "micro_batch_size": self.execution.micro_batch_size,
            **self.engine.facts(),
        }
