"""The batches of a training, one after the other, on the device: the same whatever makes them, and where it began.

Which images a step shows and how they are changed is a function of (seed, epoch, step). The images lie on the GPU where
they fit; else they come to it through pinned memory, one batch ahead. `Arrays` says whether from memory or the disk.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Iterator, Sequence
from functools import cached_property

import numpy as np
import torch

from glaucoma.errors import DatasetError, SettingsError
from glaucoma.training.batching import Batch, mask_targets
from glaucoma.training.data import Arrays, untold
from glaucoma.training.device import fits
from glaucoma.training.gathering import Gathered, Gatherer, Recipe, by_thread, by_workers, finish
from glaucoma.training.sampling import batches, epoch_order, share, step_seed
from glaucoma.training.settings import ExecutionSettings
from glaucoma.training.spec import ExperimentSpec
from glaucoma.training.waiting import WaitClock

__all__ = ["Batch", "Feed"]

_AUGMENT = 2
"""The purpose of a step's seed: sets its augmentation apart from its order and its dropout."""


class Feed:
    """The images of one split for one of `world` processes. Close it, or use it in a `with`: then no worker is left.

    Args:
        execution: `workers` prepare batches ahead, unless all images lie on the GPU; `threads` resize without workers.
        rank: Number of this process, from 0.
        loaded: Told now and then how many images are on the GPU.

    Raises:
        SettingsError: The batch has less than 2 images for each process.
    """

    def __init__(
        self,
        arrays: Arrays,
        spec: ExperimentSpec,
        execution: ExecutionSettings,
        device: torch.device,
        *,
        rank: int = 0,
        world: int = 1,
        loaded: Callable[[int], None] = untold,
    ) -> None:
        if spec.batch_size < 2 * world:
            raise SettingsError(
                f"A batch of {spec.batch_size} images cannot be shared by {world} processes",
                expected="at least 2 images for each, since batch normalisation needs two",
                remedy="raise the batch size, or take fewer devices",
            )
        self.spec, self.device = spec, device
        self._workers, self._rank, self._world = execution.workers, rank, world
        self._n = len(arrays)
        self._order_labels = arrays.labels if spec.balanced_sampling else None
        self._labels = None if arrays.labels is None else torch.from_numpy(arrays.labels).to(device).float()[:, None]
        self._clinical = None if arrays.clinical is None else torch.from_numpy(arrays.clinical).to(device)
        self._gpu = device.type == "cuda"
        pixels = self._n * spec.input_px**2
        self._bytes = pixels * (3 if arrays.masks is None else 4)
        self._resident = (
            _moved(arrays, spec, device, execution.threads, loaded) if self._gpu and fits(device, self._bytes) else None
        )
        self._gatherer = Gatherer(arrays, spec, finishes=not self._gpu, threads=execution.threads)
        self._in_memory = arrays.in_memory
        self._clock = WaitClock(device)
        self._open: list[Generator[Gathered, None, None]] = []

    def __len__(self) -> int:
        return self._n

    def __enter__(self) -> Feed:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    @property
    def place(self) -> str:
        """Where the images lie, for people: `5.9 MB in memory`."""
        size = f"{self._bytes / 1e6:.1f} MB"
        if self._resident is not None:
            return f"{size} on the GPU"
        where = f"{size} in memory" if self._in_memory else f"{size}, read from the disk for each batch"
        return f"{where}, {self._workers} workers" if self._workers else where

    @cached_property
    def batches_per_epoch(self) -> int:
        """Steps of an epoch, the same for all processes.

        Raises:
            DatasetError: There are less than 2 images for each process.
        """
        if self._n < 2 * self._world:
            raise DatasetError(
                f"{self._n} images for training cannot be shared by {self._world} processes",
                expected="at least 2 for each, since batch normalisation needs two",
                remedy="take fewer devices, or a larger dataset",
            )
        return len(batches(np.arange(self._n), self.spec.batch_size, self._world))

    def epoch(self, epoch: int, first_batch: int = 0) -> Iterator[Batch]:
        """This process's share of the steps of epoch `epoch` (from 0), from `first_batch` on: shuffled and augmented.

        Each step of `spec.batch_size` images is cut into contiguous shares, equal to within one image. A last batch of
        less than 2 images a process is left out.
        """
        order = epoch_order(self._n, self._order_labels, self.spec.seed, epoch)
        recipes = []
        for number in range(first_batch, self.batches_per_epoch):
            step = order[number * self.spec.batch_size : (number + 1) * self.spec.batch_size]
            mine = share(len(step), self._rank, self._world)
            seed = step_seed(self.spec.seed, epoch, number, _AUGMENT)
            recipes.append(Recipe(step[mine], len(step), mine.start, seed))
        return self._batches(recipes)

    def in_order(self, batch_size: int) -> Iterator[Batch]:
        """This process's share of all images, each as it is and once over all processes; a share may be empty.

        `n_step` is the number of images in the batch itself.
        """
        mine = np.arange(self._n)[share(self._n, self._rank, self._world)]
        cut = [mine[start : start + batch_size] for start in range(0, len(mine), batch_size)]
        return self._batches([Recipe(indices, len(indices)) for indices in cut])

    def wait_share(self) -> float | None:
        """Share of the time since the last call (at first: since the start), 0..1, in which a batch was waited for.

        On a CPU: by this process, for gathering and augmenting too where it does that itself. On a GPU: by the device,
        for a batch to arrive; what it augments itself is work. None where no time has passed.
        """
        return self._clock.share()

    def close(self) -> None:
        """Ends all passes, and the workers with them."""
        while self._open:
            self._open.pop().close()

    def _batches(self, recipes: Sequence[Recipe]) -> Iterator[Batch]:
        source = self._source(recipes)
        self._open.append(source)
        try:
            for recipe in recipes:
                with self._clock.waiting():
                    images, masks = next(source)
                if self._gpu:
                    images, masks = finish(images, masks, recipe.draws(self.spec))
                    images = images.contiguous(memory_format=torch.channels_last)
                yield self._batch(recipe, images, masks)
        except StopIteration:
            raise RuntimeError("the feed was closed while it was read") from None
        finally:
            source.close()
            if source in self._open:
                self._open.remove(source)

    def _batch(self, recipe: Recipe, inputs: torch.Tensor, masks: torch.Tensor | None) -> Batch:
        chosen = torch.from_numpy(recipe.indices).to(self.device, non_blocking=True)
        if masks is not None:
            targets = mask_targets(masks)
        elif self._labels is not None:
            targets = self._labels[chosen]
        else:
            raise ValueError("a split without masks has labels")
        clinical = None if self._clinical is None else self._clinical[chosen]
        return Batch(inputs, clinical, targets, recipe.indices, recipe.n_step)

    def _source(self, recipes: Sequence[Recipe]) -> Generator[Gathered, None, None]:
        """Finished inputs on a CPU, raw bytes on a GPU; masks."""
        if self._resident is not None:
            return _picked(*self._resident, recipes)
        if self._workers:
            source = by_workers(self._gatherer, recipes, self._workers, pin=self._gpu)
        elif self._gpu:
            source = by_thread(self._gatherer, recipes, self.device)
        else:
            return (self._gatherer[recipe] for recipe in recipes)
        return _copied_ahead(source, self.device) if self._gpu else source


def _moved(
    arrays: Arrays, spec: ExperimentSpec, device: torch.device, threads: int, loaded: Callable[[int], None]
) -> Gathered:
    """All images, and masks, on the device, some at a time: they may lie on the disk, and be more than memory holds."""
    n, side = len(arrays), spec.input_px
    images = torch.empty(n, side, side, 3, dtype=torch.uint8, device=device)
    masks = None if arrays.masks is None else torch.empty(n, side, side, dtype=torch.uint8, device=device)
    for place, here, there in arrays.in_chunks(side, threads):
        images[place] = torch.from_numpy(here)
        if masks is not None and there is not None:
            masks[place] = torch.from_numpy(there)
        loaded(place.stop)
    return images, masks


def _picked(
    images: torch.Tensor, masks: torch.Tensor | None, recipes: Sequence[Recipe]
) -> Generator[Gathered, None, None]:
    for recipe in recipes:
        chosen = torch.from_numpy(recipe.indices).to(images.device, non_blocking=True)
        yield images[chosen], None if masks is None else masks[chosen]


def _copied_ahead(source: Generator[Gathered, None, None], device: torch.device) -> Generator[Gathered, None, None]:
    """Pinned batches on the device; each one's copy runs beside the computing on the batch before."""
    stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    with contextlib.closing(source):
        coming: tuple[torch.Tensor, torch.Tensor | None, torch.cuda.Event] | None = None
        for images, masks in source:
            arrived = coming
            with torch.cuda.stream(stream):
                there = images.to(device, non_blocking=True)
                coming = there, None if masks is None else masks.to(device, non_blocking=True), stream.record_event()
            if arrived is not None:
                yield _ready(*arrived)
        if coming is not None:
            yield _ready(*coming)


def _ready(images: torch.Tensor, masks: torch.Tensor | None, copied: torch.cuda.Event) -> Gathered:
    """For the current stream: it waits for the copy, and the memory is not given away before it is done with it."""
    current = torch.cuda.current_stream(images.device)
    current.wait_event(copied)
    images.record_stream(current)
    if masks is not None:
        masks.record_stream(current)
    return images, masks
