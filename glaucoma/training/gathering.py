"""The images of a batch from memory or disk: by this process, by a thread, or by worker processes ahead of it."""

from __future__ import annotations

import atexit
import multiprocessing
import os
import shutil
import sys
import warnings
from collections.abc import Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing.process import BaseProcess
from multiprocessing.util import Finalize
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from glaucoma.errors import SettingsError
from glaucoma.training.augment import Draws, augment, draw
from glaucoma.training.data import Arrays, normalise
from glaucoma.training.sampling import Indices
from glaucoma.training.spec import ExperimentSpec
from glaucoma.training.stopping import die_with_parent, leave_stopping_to_the_training, stopping_held_back

Gathered = tuple[torch.Tensor, torch.Tensor | None]
_AHEAD = 2
"""Batches that each worker prepares ahead."""
_CACHED_PIXELS = 150_000
_LAST = -100
"""Of what multiprocessing does at a process's end: lower than its own (-5 for a queue)."""
_SHARED = Path("/dev/shm")  # noqa: S108  no place for files: how much memory processes may share


@dataclass(frozen=True)
class Recipe:
    """What one process's share of a step is made of: small, so that it can be sent to a worker.

    Args:
        indices: (n,) int64 into the split.
        n_step: Images of the step over all processes.
        start: Place of the first of `indices` in the step.
        seed: Of the step's augmentation; None: the images stay as they are.
    """

    indices: Indices
    n_step: int
    start: int = 0
    seed: int | None = None

    def draws(self, spec: ExperimentSpec) -> Draws:
        """This share of what is drawn for the step."""
        if self.seed is None:
            return Draws()
        whole = draw(self.n_step, spec.augmentation, spec.augment, self.seed)
        return whole.cut(self.start, self.start + len(self.indices))


class Gatherer(Dataset[Gathered]):
    """Recipes to images: raw bytes for a GPU, which finishes them itself; inputs of the network for a CPU.

    Args:
        finishes: Augment and normalise here.
        threads: For resizing, where the images are read from the disk.
    """

    def __init__(self, arrays: Arrays, spec: ExperimentSpec, *, finishes: bool, threads: int) -> None:
        self.arrays, self.spec, self.finishes, self.threads = arrays, spec, finishes, threads

    def __getitem__(self, recipe: Recipe) -> Gathered:
        """(n, px, px, 3) uint8, or finished (n, 3, px, px) float32; masks (n, px, px) uint8 or None."""
        images, masks = self.arrays.gather(recipe.indices, self.spec.input_px, self.threads)
        gathered = torch.from_numpy(images), None if masks is None else torch.from_numpy(masks)
        return finish(*gathered, recipe.draws(self.spec)) if self.finishes else gathered


def finish(images: torch.Tensor, masks: torch.Tensor | None, draws: Draws) -> Gathered:
    """(n, px, px, 3) uint8 to normalised, augmented (n, 3, px, px) float32; masks follow. Where they lie.

    On a CPU a few at a time: what lies between the steps then stays in its cache, which halves the time at 320 px.
    """
    n, side_px = images.shape[:2]
    some = n if images.is_cuda else max(_CACHED_PIXELS // side_px**2, 1)
    if n <= some:
        changed, masks = augment(images, masks, draws)
        return normalise(changed), masks
    inputs = torch.empty(n, 3, side_px, side_px)
    moved = None if masks is None else torch.empty_like(masks)
    for start in range(0, n, some):
        here = slice(start, min(start + some, n))
        inputs[here], part = finish(
            images[here], None if masks is None else masks[here], draws.cut(here.start, here.stop)
        )
        if moved is not None and part is not None:
            moved[here] = part
    return inputs, moved


def by_thread(gatherer: Gatherer, recipes: Sequence[Recipe], device: torch.device) -> Generator[Gathered, None, None]:
    """Each gathered by a thread while the batch before it is used; in pinned memory where the device is a GPU."""
    with ThreadPoolExecutor(1, "feed", _use, (device,)) as pool:
        coming: Future[Gathered] | None = None
        for recipe in recipes:
            arrived, coming = coming, pool.submit(_gathered, gatherer, recipe, device)
            if arrived is not None:
                yield arrived.result()
        if coming is not None:
            yield coming.result()


def _use(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.set_device(device)  # a new thread is on the first GPU, and would take memory there


def _gathered(gatherer: Gatherer, recipe: Recipe, device: torch.device) -> Gathered:
    images, masks = gatherer[recipe]
    if device.type != "cuda":
        return images, masks
    return images.pin_memory(), None if masks is None else masks.pin_memory()


def by_workers(
    gatherer: Gatherer, recipes: Sequence[Recipe], workers: int, *, pin: bool
) -> Generator[Gathered, None, None]:
    """In the order of the recipes, each made by one of `workers` processes, which end with the iterator or its parent.

    Raises:
        SettingsError: The memory that processes may share does not hold the batches that lie ready.
    """
    if not recipes:
        return
    _require_shared_memory(gatherer, recipes, workers)
    from glaucoma.datasets.imagefile import opencv_single_threaded

    gatherer = Gatherer(gatherer.arrays, gatherer.spec, finishes=gatherer.finishes, threads=1)
    loader = DataLoader(
        gatherer,
        batch_size=None,
        sampler=recipes,  # what the dataset is asked for, one after the other
        num_workers=workers,
        prefetch_factor=_AHEAD,
        pin_memory=pin,
        worker_init_fn=partial(_begin_worker, os.getpid()),
        generator=torch.Generator(),  # or it would draw from the global one, and shift the dropout
        multiprocessing_context="fork",  # the arrays are shared as they lie; any other way would copy them
    )
    others = multiprocessing.active_children()
    # OpenCV's threads do not survive a fork, and a worker that then ends them waits for ever: they end before it.
    with warnings.catch_warnings(), opencv_single_threaded(), stopping_held_back():
        # The workers take no lock that a thread of this process may hold: they only gather, resize and augment.
        warnings.filterwarnings("ignore", message=".*multi-threaded.*fork", category=DeprecationWarning)
        iterator: Any = iter(loader)
    processes = [process for process in multiprocessing.active_children() if process not in others]
    end = partial(_end, iterator, processes)
    atexit.register(end)  # before multiprocessing's own, which would wait for them for ever
    try:
        for _ in recipes:
            yield _next(iterator, processes)
    finally:
        end()
        atexit.unregister(end)


def _next(iterator: Any, processes: list[BaseProcess]) -> Any:
    """The next batch; a worker that is killed while it hands one over is told as torch tells one killed before."""
    try:
        return next(iterator)
    except (ConnectionError, EOFError, FileNotFoundError) as error:
        lost = ", ".join(str(process.pid) for process in processes if not process.is_alive())
        raise RuntimeError(f"DataLoader worker (pid {lost}) was lost while it handed over a batch: {error}") from error


def _begin_worker(parent: int, worker: int) -> None:
    """One thread; lives as long as its parent, and leaves it to the parent to act on a signal to the process group."""
    leave_stopping_to_the_training()
    if not die_with_parent(parent):
        os._exit(1)
    # What other libraries registered for the end of the parent (Prefect: sending its last logs) fails in its fork.
    Finalize(None, _leave, exitpriority=_LAST)
    torch.set_num_threads(1)


def _leave() -> None:
    os._exit(0 if sys.exc_info()[1] is None else 1)


def _end(iterator: Any, processes: list[BaseProcess]) -> None:
    iterator._shutdown_workers()  # asks, and waits 5 s for each; as Lightning does, since no public call does it
    for process in processes:
        if process.is_alive():
            process.kill()
        process.join()


def _require_shared_memory(gatherer: Gatherer, recipes: Sequence[Recipe], workers: int) -> None:
    if not _SHARED.is_dir():
        return
    pixel_bytes = (12 if gatherer.finishes else 3) + (gatherer.arrays.masks is not None)
    batch_bytes = max(len(recipe.indices) for recipe in recipes) * gatherer.spec.input_px**2 * pixel_bytes
    needed, free = batch_bytes * (_AHEAD * workers + 1), shutil.disk_usage(_SHARED).free
    if needed > free:
        raise SettingsError(
            f"{workers} workers keep {needed / 1e6:.0f} MB of batches ready; {_SHARED} has {free / 1e6:.0f} MB free",
            expected="as much memory that processes may share",
            consequence="The workers would be killed",
            remedy="set execution.workers lower or to 0, or give the container more of it (--shm-size, --ipc=host)",
        )
