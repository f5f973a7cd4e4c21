"""A step on a GPU, as the base preset takes it, against timm's own recipe; nothing where there is no GPU."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from benchmarks.harness import Candidate, Comparison, Skipped
from benchmarks.place import Place
from benchmarks.training_place import Prepared, Ready, between, execution, loop_ends, prepared
from glaucoma.schema import Split, Task
from glaucoma.training.data import load_arrays, open_prepared
from glaucoma.training.device import utilization_percent
from glaucoma.training.feed import Batch, Feed
from glaucoma.training.settings import Device, Precision
from glaucoma.training.spec import ExperimentSpec

_MODEL, _SIDE_PX, _BATCH = "efficientnet_b3", 288, 32
_WARM, _COUNTED = 10, 60
_LOOK_EVERY_S = 0.05


def benchmark(place: Place) -> Iterator[Comparison | Skipped]:
    """Seconds an image, and the share of time in which the GPU was busy, by NVML."""
    stage = f"training on a GPU ({_MODEL}, {_SIDE_PX} px)"
    if not torch.cuda.is_available():
        yield Skipped(stage, "no GPU here")
        return
    data = prepared(place, 320)
    spec = data.spec(Task.CLASSIFICATION, _MODEL, input_px=_SIDE_PX, batch_size=_BATCH)
    batches = _batches(spec, data)
    busy: dict[str, float] = {}
    own = Candidate("own loop, batches ready", lambda: _own(spec, data, batches, busy, "own"))
    fed = Candidate("own loop and feed, augmented", lambda: _own(_fed(spec), data, [], busy, "fed"))
    timm = Candidate("timm's recipe, batches ready", lambda: _timm(batches, busy))
    n = f"an image, batch {_BATCH}, bf16, channels_last; {torch.cuda.get_device_name()}"
    yield Comparison(stage, own, (timm,), n, rounds=5)
    yield Comparison(f"{stage}, with the feed", fed, (timm,), n, rounds=5)
    if busy:
        shown = [Candidate(name, lambda name=name: [busy[name]]) for name in ("own", "fed", "timm")]  # type: ignore[misc]
        yield Comparison(f"{stage}: busy", shown[0], tuple(shown[1:]), "by NVML, last run", rounds=1, unit="%")


def _fed(spec: ExperimentSpec) -> ExperimentSpec:
    return spec.model_copy(update={"augment": 0.5})


def _batches(spec: ExperimentSpec, data: Prepared) -> list[Batch]:
    arrays = load_arrays(open_prepared(spec, data.workspace), spec, Split.TRAIN)
    with Feed(arrays, spec, execution(device=Device.CUDA), torch.device("cuda", 0)) as feed:
        whole = [batch for batch in feed.epoch(0) if len(batch) == _BATCH]
    return [whole[number % len(whole)] for number in range(_WARM + _COUNTED)]


def _own(spec: ExperimentSpec, data: Prepared, batches: list[Batch], busy: dict[str, float], name: str) -> list[float]:
    """Seconds an image of the real loop, with the batches given or, where there are none, with its feed."""
    chosen = execution(device=Device.CUDA, precision=Precision.BF16)

    def clock() -> float:
        torch.cuda.synchronize()  # at each step, for both: what is compared is the whole step
        return time.perf_counter()

    def feed(real: Feed) -> Any:
        return Ready(batches) if batches else _Whole(real, spec.batch_size)

    with _busy(busy, name):
        ends = loop_ends(spec, data, clock, chosen, feed=feed, steps=_WARM + _COUNTED)
    return [float(np.median(between(ends)[_WARM // 2 :])) / spec.batch_size]


class _Whole:
    """A feed's whole batches, one epoch after the other as if they were one."""

    def __init__(self, feed: Feed, size: int) -> None:
        self._feed, self._size = feed, size
        self.batches_per_epoch = _WARM + _COUNTED
        self.wait_share, self.close = feed.wait_share, feed.close

    def epoch(self, epoch: int, first_batch: int = 0) -> Iterator[Batch]:
        every = itertools.chain.from_iterable(self._feed.epoch(number) for number in itertools.count())
        whole = (batch for batch in every if len(batch) == self._size)
        return itertools.islice(whole, self.batches_per_epoch)


def _timm(batches: list[Batch], busy: dict[str, float]) -> list[float]:
    """The inner loop of timm's train.py with `--amp --amp-dtype bfloat16 --channels-last --opt adamw --clip-grad 1`."""
    import timm
    from timm.optim import create_optimizer_v2
    from timm.scheduler.cosine_lr import CosineLRScheduler
    from timm.utils.clip_grad import dispatch_clip_grad

    model = timm.create_model(_MODEL, num_classes=1).cuda().to(memory_format=torch.channels_last).train()
    optimizer = create_optimizer_v2(model, opt="adamw", lr=3e-4, weight_decay=0.01)
    schedule = CosineLRScheduler(optimizer, t_initial=len(batches), t_in_epochs=False)
    loss_of = torch.nn.BCEWithLogitsLoss()
    ends: list[float] = []
    with _busy(busy, "timm"):
        for step, batch in enumerate(batches):
            with torch.autocast("cuda", torch.bfloat16):
                loss = loss_of(model(batch.inputs), batch.targets)
            loss.backward()
            dispatch_clip_grad(model.parameters(), value=1.0)
            optimizer.step()
            optimizer.zero_grad()
            schedule.step_update(step)
            torch.cuda.synchronize()  # as train.py does at each update
            ends.append(time.perf_counter())
    return [float(np.median(np.diff(ends)[_WARM // 2 :])) / _BATCH]


@contextmanager
def _busy(found: dict[str, float], name: str) -> Iterator[None]:
    """Notes the mean of NVML's utilisation meanwhile; nothing where the driver does not tell."""
    shares: list[float] = []
    done = threading.Event()
    watcher = threading.Thread(target=_watch, args=(shares, done.wait))
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()
    if shares:
        found[name] = float(np.mean(shares[len(shares) // 3 :]))  # the beginning loads and compiles kernels


def _watch(shares: list[float], wait: Callable[[float], bool]) -> None:
    while not wait(_LOOK_EVERY_S):
        share = utilization_percent(torch.device("cuda", 0))
        if share is not None:
            shares.append(share)
