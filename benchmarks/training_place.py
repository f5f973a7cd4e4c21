"""What the benchmarks of training share: small prepared data, specs on them, and the real loop with a clock in it."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks.place import Place
from glaucoma.archives.unpack import unpack
from glaucoma.datasets.normalize import normalize
from glaucoma.preprocessing.preprocess import preprocess
from glaucoma.preprocessing.settings import PreprocessSettings
from glaucoma.schema import Task
from glaucoma.synthetic.generate import generate_archive
from glaucoma.synthetic.settings import SyntheticSettings
from glaucoma.training.device import choose_device, configure
from glaucoma.training.engine import find_place, make_engine
from glaucoma.training.experiment import Experiment, create_experiment
from glaucoma.training.feed import Batch, Feed
from glaucoma.training.loop import Trainer
from glaucoma.training.progress_log import ProgressWriter
from glaucoma.training.settings import Device, ExecutionSettings, Precision, TrainSettings
from glaucoma.training.spec import ExperimentSpec, spec_from
from glaucoma.workspace import Workspace

_PATIENTS = 48
_seeds = itertools.count(1)


@dataclass(frozen=True)
class Prepared:
    """A workspace with one prepared dataset of generated photographs."""

    workspace: Workspace
    key: str

    def spec(self, task: Task, model: str, **overrides: Any) -> ExperimentSpec:
        """Not augmented and never ended early, unless said otherwise."""
        wanted = {"augment": 0.0, "epochs": 1, "pretrained": False, "patience": 100, **overrides}
        if task is Task.CLASSIFICATION:
            wanted.setdefault("balanced_sampling", False)
        return spec_from(TrainSettings.for_preset("base"), task, "small", self.key, model=model, **wanted)


def prepared(place: Place, side_px: int) -> Prepared:
    """Photographs of `side_px` (and a half more before they are cut), made once for all benchmarks of a run."""
    return _prepared(place.root / f"training-{side_px}", side_px, place.seed)


@functools.cache
def _prepared(root: Path, side_px: int, seed: int) -> Prepared:
    workspace = Workspace.at(root)
    synthetic = SyntheticSettings(patients=_PATIENTS, photo_height_px=max(240, side_px * 5 // 4), seed=seed)
    archive = generate_archive(root / "small.zip", synthetic, threads=2).path
    dataset = normalize(unpack(archive, workspace), "small", workspace)
    settings = PreprocessSettings(image_size_px=side_px)
    return Prepared(workspace, preprocess(dataset.folder, "small", workspace, settings).key)


def execution(**wanted: Any) -> ExecutionSettings:
    """On one thread of the CPU, in 32 bits, unless said otherwise."""
    settings = {"device": Device.CPU, "threads": torch.get_num_threads(), "precision": Precision.FP32}
    return ExecutionSettings(**{**settings, **wanted})


def new_experiment(spec: ExperimentSpec, workspace: Workspace) -> Experiment:
    """An experiment of that spec that was never there: its seed is a new one."""
    return create_experiment(spec.model_copy(update={"seed": next(_seeds)}), workspace)


class Ready:
    """Batches that lie ready, where the loop looks for its feed."""

    place = "ready as tensors"

    def __init__(self, batches: Sequence[Batch]) -> None:
        self._batches = batches
        self.batches_per_epoch = len(batches)

    def epoch(self, epoch: int, first_batch: int = 0) -> Iterator[Batch]:
        return iter(self._batches[first_batch:])

    def wait_share(self) -> float:
        return 0.0

    def close(self) -> None:
        pass


class _EnoughError(Exception):
    """All steps that were asked for are done."""


def loop_ends(
    spec: ExperimentSpec,
    data: Prepared,
    clock: Callable[[], float],
    chosen: ExecutionSettings,
    *,
    feed: Callable[[Feed], Any] = lambda feed: feed,
    steps: int | None = None,
    look: Callable[[Trainer], None] = lambda trainer: None,
) -> list[tuple[int, float]]:
    """Runs the real loop with all that belongs to it; the number in its epoch and the time of each step's end.

    The loop asks whether it should stop after each step and after each batch of the validation: a clock for free.

    Args:
        feed: What stands in the feed's place.
        steps: Stop after so many; None: train to the end.
        look: Called with the trainer at the end.
    """
    device = choose_device(chosen.device)
    configure(device, chosen.threads, deterministic=chosen.deterministic)
    experiment = new_experiment(spec, data.workspace)
    asked: list[tuple[int, float]] = []

    class Clocked(Trainer):
        def _open_data(self, progress: ProgressWriter) -> None:
            super()._open_data(progress)
            self.train = feed(self.train)

    def stop_asked() -> bool:
        number = trainer.state.next_batch
        if not asked or asked[-1][0] != number:  # a batch of the validation takes no step
            asked.append((number, clock()))
        if steps is not None and len(asked) >= steps:
            raise _EnoughError
        return False

    progress = ProgressWriter(experiment.progress_path)
    engine = make_engine(chosen, device, find_place(chosen))
    trainer = Clocked(experiment, data.workspace, chosen, engine, progress, stop_asked)
    try:
        trainer.run()
    except _EnoughError:
        pass
    finally:
        progress.close()
        engine.close()
    look(trainer)
    return asked


def between(ends: Sequence[tuple[int, float]]) -> list[float]:
    """Seconds of each step but each epoch's first."""
    return [after[1] - before[1] for before, after in itertools.pairwise(ends) if after[0] == before[0] + 1]
