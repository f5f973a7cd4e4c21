"""The trainings that are attacked: one of each way in which one can run, small enough for hundreds of runs."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

from glaucoma.schema import Task
from glaucoma.training.settings import ExecutionSettings
from glaucoma.training.spec import ExperimentSpec
from glaucoma.workspace import Workspace
from tests.chaos.running import Attempt
from tests.unit.training.conftest import make_prepared, tiny_spec

STALL_S = 60.0
"""Longer than a start with its imports on a busy machine; the process that a SIGSTOP holds is ended after it."""


@dataclass(frozen=True)
class Subject:
    """A training by name."""

    name: str
    spec: ExperimentSpec
    execution: ExecutionSettings

    def run_undisturbed(self, folder: Path) -> str:
        """Trains it in a workspace of its own; gives the hash of the weights that must come out of every attack."""
        make_prepared(folder)
        said = Attempt(self, folder).ended(timeout_s=600)
        if said["outcome"] != "completed":
            raise AssertionError(f"{self.name} does not train even when nothing disturbs it: {said}")
        return weights_sha256(self, folder)

    def on_a_busy_machine(self, slowest_s: float) -> Subject:
        """The same, called stalled only after three times what the slowest of all took undisturbed."""
        patience = max(self.execution.stall_timeout_s, 3 * slowest_s)
        return replace(self, execution=self.execution.model_copy(update={"stall_timeout_s": patience}))


def subjects(epochs: int) -> list[Subject]:
    """All of them; `epochs` is how long each takes."""
    often = ExecutionSettings(
        device="cpu", threads=1, stall_timeout_s=STALL_S, stop_grace_s=10, checkpoint_every_s=0.05
    )
    return [
        Subject("classifier", tiny_spec(epochs=epochs, patience=10_000), often),
        Subject("segmenter", tiny_spec(Task.SEGMENTATION, epochs=epochs, patience=10_000), often),
        Subject(
            "classifier, averaged weights, two workers",
            tiny_spec(epochs=epochs, patience=10_000, ema_decay=0.9, seed=1),
            often.model_copy(update={"workers": 2}),
        ),
        Subject(
            "classifier, small batches added up",
            tiny_spec(epochs=epochs, patience=10_000, seed=2),
            often.model_copy(update={"micro_batch_size": 2}),
        ),
        Subject(
            "classifier, two processes",
            tiny_spec(epochs=epochs, patience=10_000, seed=3),
            often.model_copy(update={"devices": 2}),
        ),
    ]


def weights_sha256(subject: Subject, root: Path) -> str:
    """One hash of all the weights of the best model, name by name."""
    from glaucoma.training.checkpoints import Checkpoints
    from glaucoma.training.experiment import create_experiment

    best = Checkpoints(create_experiment(subject.spec, Workspace.at(root)).checkpoints).load_best()
    whole = hashlib.sha256()
    for name, tensor in sorted(best["model"].items()):
        whole.update(name.encode() + tensor.numpy().tobytes())
    return whole.hexdigest()
