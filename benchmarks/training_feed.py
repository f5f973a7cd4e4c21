"""The feed of a training on the CPU: images a second, and how long the training waits for them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from benchmarks.harness import Candidate, Comparison
from benchmarks.place import Place
from benchmarks.training_place import Prepared, execution, loop_ends, prepared
from glaucoma.schema import Column, Split, Task
from glaucoma.training.data import IMAGENET_MEAN, IMAGENET_STD, Arrays, load_arrays, open_prepared, prepared_folder
from glaucoma.training.feed import Batch, Feed
from glaucoma.training.spec import ExperimentSpec

_PACKED_PX, _SIDE_PX, _BATCH, _EPOCHS = 512, 320, 16, 3
_CPU = torch.device("cpu")


def benchmark(place: Place) -> Iterator[Comparison]:
    """Seconds an image, by the clock on the wall: with workers most of the work is done by others."""
    data = prepared(place, _PACKED_PX)
    plain = data.spec(Task.CLASSIFICATION, "lcnet_050", input_px=_SIDE_PX, batch_size=_BATCH)
    changed = plain.model_copy(update={"augment": 0.5})
    opened = open_prepared(plain, data.workspace)
    memory = load_arrays(opened, plain, Split.TRAIN)
    rows = opened.rows(Task.CLASSIFICATION, Split.TRAIN)
    disk = replace(memory, images=opened.images, rows=rows)
    folder = prepared_folder(plain, data.workspace)
    files = [folder / str(name) for name in opened.manifest[Column.IMAGE].to_numpy()[rows]]
    for spec, in_words in ((plain, "not augmented"), (changed, "augmented")):
        for workers in (0, 2):
            ours = Candidate("own feed, from memory", _feeding(memory, spec, workers))
            against = (
                Candidate("own feed, from the packed array on the disk", _feeding(disk, spec, workers)),
                Candidate("DataLoader on the PNGs, by cv2", _loading(files, workers, augmented=spec is changed)),
            )
            n = f"an image of {_PACKED_PX} px to {_SIDE_PX} px, {in_words}, {workers} workers"
            yield Comparison("feed", ours, against, n, rounds=3)
    yield from _waits(data)


def _waits(data: Prepared) -> Iterator[Comparison]:
    """The share of a training's time that waits for its batches, augmented."""
    for model, side_px, batch, steps in (("resnet18", 224, 8, 4), ("efficientnet_b3", _SIDE_PX, 4, 3)):
        spec = data.spec(Task.CLASSIFICATION, model, input_px=side_px, batch_size=batch, augment=0.5)
        yield Comparison(
            "share of time that waits for data",
            Candidate("own loop, 0 workers", _waiting(spec, data, 0, steps)),
            (Candidate("own loop, 2 workers", _waiting(spec, data, 2, steps)),),
            f"{model}, {batch} x {side_px} px, augmented, one thread",
            rounds=1 if side_px == _SIDE_PX else 3,
            unit="%",
        )


def _waiting(spec: ExperimentSpec, data: Prepared, workers: int, steps: int) -> Callable[[], list[float]]:
    def run() -> list[float]:
        waits: list[float] = []
        chosen = execution(workers=workers)
        ends = loop_ends(spec, data, time.perf_counter, chosen, feed=lambda feed: _Waited(feed, waits), steps=steps)
        # The first step's time, when workers start and memory is first taken, is not counted.
        return [100 * sum(waits[1:steps]) / (ends[-1][1] - ends[0][1])]

    return run


class _Waited:
    """The feed, and the seconds that each batch was waited for."""

    def __init__(self, feed: Feed, waits: list[float]) -> None:
        self._feed, self._waits = feed, waits

    def __getattr__(self, name: str) -> Any:
        return getattr(self._feed, name)

    def epoch(self, epoch: int, first_batch: int = 0) -> Iterator[Batch]:
        batches = self._feed.epoch(epoch, first_batch)
        for _ in range(first_batch, self._feed.batches_per_epoch):
            began = time.perf_counter()
            batch = next(batches)
            self._waits.append(time.perf_counter() - began)
            yield batch


def _feeding(arrays: Arrays, spec: ExperimentSpec, workers: int) -> Callable[[], list[float]]:
    def run() -> list[float]:
        took, images = 0.0, 0
        with Feed(arrays, spec, execution(workers=workers), _CPU) as feed:
            for epoch in range(_EPOCHS):
                began = time.perf_counter()
                images += sum(len(batch) for batch in feed.epoch(epoch))
                took += time.perf_counter() - began
        return [took / images]

    return run


def _loading(files: list[Path], workers: int, *, augmented: bool) -> Callable[[], list[float]]:
    def run() -> list[float]:
        # As by default, without persistent workers: those of the feed begin anew with each epoch too.
        loader: Any = DataLoader(_Files(files, augmented=augmented), _BATCH, shuffle=True, num_workers=workers)
        took, images = 0.0, 0
        for _ in range(_EPOCHS):
            began = time.perf_counter()
            images += sum(len(batch) for batch in loader)
            took += time.perf_counter() - began
        return [took / images]

    return run


class _Files(Dataset[torch.Tensor]):
    """PNGs as most people feed them: read, resized, changed and normalised by OpenCV and numpy, one at a time."""

    def __init__(self, files: list[Path], *, augmented: bool) -> None:
        self._files, self._augmented = files, augmented
        self._mean, self._std = (np.array(values, np.float32) for values in (IMAGENET_MEAN, IMAGENET_STD))

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, index: int) -> torch.Tensor:
        image = cv2.cvtColor(cv2.imread(str(self._files[index])), cv2.COLOR_BGR2RGB)
        image = cv2.resize(image, (_SIDE_PX, _SIDE_PX), interpolation=cv2.INTER_AREA)
        scaled = (self._change(image) if self._augmented else image).astype(np.float32) / 255
        return torch.from_numpy(((scaled - self._mean) / self._std).transpose(2, 0, 1).copy())

    @staticmethod
    def _change(image: Any) -> Any:
        """Flips, rotation, scale, shift, brightness and contrast, drawn as ours are."""
        draw = partial(np.random.default_rng().uniform, -0.5, 0.5)
        middle = (_SIDE_PX / 2, _SIDE_PX / 2)
        matrix = cv2.getRotationMatrix2D(middle, 20 * draw(), 1 + 0.15 * draw())
        matrix[:, 2] += 0.05 * _SIDE_PX * np.array([draw(), draw()])
        if draw() > 0:
            image = cv2.flip(image, 1)
        if draw() > 0:
            image = cv2.flip(image, 0)
        image = cv2.warpAffine(image, matrix, (_SIDE_PX, _SIDE_PX))
        return cv2.convertScaleAbs(image, alpha=1 + 0.25 * draw(), beta=255 * 0.25 * draw())
