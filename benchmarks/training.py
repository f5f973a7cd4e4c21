"""A step of the training loop, with all that belongs to it, against a plain torch loop and Lightning's Trainer."""

from __future__ import annotations

import contextlib
import logging
import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F  # noqa: N812  the name that everybody knows

from benchmarks.harness import Candidate, Comparison, Skipped
from benchmarks.place import Place
from benchmarks.training_place import Prepared, Ready, between, execution, loop_ends, prepared
from glaucoma.models.classifiers import build_classifier
from glaucoma.schema import Split, Task
from glaucoma.training.build import build_model
from glaucoma.training.data import IMAGENET_MEAN, IMAGENET_STD, Arrays, load_arrays, open_prepared
from glaucoma.training.device import placed
from glaucoma.training.feed import Batch, Feed
from glaucoma.training.losses import Loss, make_loss
from glaucoma.training.settings import Precision
from glaucoma.training.spec import ExperimentSpec

_CPU = torch.device("cpu")
_SEGMENTER = "tu-tf_mobilenetv3_small_minimal_100"
_NARROW = (48, 32, 24, 16, 8)


@dataclass(frozen=True)
class Work:
    """The steps that all candidates do: the same network, loss, and batches, which lie ready.

    Args:
        steps: How many a run takes.
    """

    spec: ExperimentSpec
    data: Prepared
    batches: Sequence[Batch]
    loss: Loss
    steps: int
    clock: Callable[[], float]

    @property
    def in_words(self) -> str:
        spec = self.spec
        return f"{spec.model}, {spec.batch_size} x {spec.input_px} px"

    def network(self) -> torch.nn.Module:
        return placed(build_model(self.spec), _CPU, self.spec.task).train()

    def groups(self, network: torch.nn.Module) -> list[dict[str, Any]]:
        """Weights decay; biases and the scales of normalisation do not."""
        trained = list(network.parameters())
        return [
            {"params": [one for one in trained if one.ndim > 1], "weight_decay": self.spec.weight_decay},
            {"params": [one for one in trained if one.ndim <= 1], "weight_decay": 0.0},
        ]

    def share_of_rate(self, step: int) -> float:
        """The schedule as a factor of the highest rate: a rise over a twentieth of the steps, then a cosine."""
        rise = max(1, round(self.spec.warm_up_share * self.steps))
        if step < rise:
            return (step + 1) / rise
        return 0.01 + 0.99 * (1 + math.cos(math.pi * (step - rise) / max(1, self.steps - rise))) / 2


def benchmark(place: Place) -> Iterator[Comparison | Skipped]:
    """The time from the end of one step to the end of the next, at steps of 20 ms and more."""
    data = prepared(place, 96)
    classifier = data.spec(Task.CLASSIFICATION, "lcnet_050", input_px=96, batch_size=16)
    segmenter = data.spec(Task.SEGMENTATION, _SEGMENTER, decoder_channels=_NARROW, input_px=96, batch_size=4)
    for spec, steps, rounds in ((classifier, 24, 9), (segmenter, 16, 9)):
        work = _work(spec, data, steps, place.clock)
        peers = (
            Candidate("plain torch loop", lambda work=work: _plain(work)),  # type: ignore[misc]
            Candidate("Lightning's Trainer", lambda work=work: _lightning(work)),  # type: ignore[misc]
        )
        own = Candidate("own loop", lambda work=work: _own(work))  # type: ignore[misc]
        yield Comparison("training step, batches ready", own, peers, work.in_words, rounds)
    yield _in_16_bits(place, data)
    yield _with_feed(place, data)


def _in_16_bits(place: Place, data: Prepared) -> Comparison:
    spec = data.spec(Task.CLASSIFICATION, "lcnet_050", input_px=64, batch_size=8)
    work = _work(spec, data, 16, place.clock)
    return Comparison(
        "training step in bf16, batches ready",
        Candidate("own loop, by Fabric", lambda: _own(work, precision=Precision.BF16)),
        (Candidate("plain loop with autocast", lambda: _plain(work, lower=True)),),
        work.in_words,
        rounds=7,
    )


def _with_feed(place: Place, data: Prepared) -> Comparison:
    """Each with its own way from bytes in memory to batches."""
    spec = data.spec(Task.CLASSIFICATION, "lcnet_050", input_px=96, batch_size=16, epochs=5)
    arrays = load_arrays(open_prepared(spec, data.workspace), spec, Split.TRAIN)
    steps = 5 * (len(arrays) // 16) + 4 * (len(arrays) % 16 > 0)
    return Comparison(
        "training step, batches gathered and normalised",
        Candidate("own loop and feed", lambda: between(loop_ends(spec, data, place.clock, execution(), steps=steps))),
        (Candidate("plain torch loop", lambda: _plain_gathering(arrays, spec, place.clock)),),
        f"{spec.model}, {spec.batch_size} x {spec.input_px} px, not augmented",
        rounds=7,
    )


def _work(spec: ExperimentSpec, data: Prepared, steps: int, clock: Callable[[], float]) -> Work:
    arrays = load_arrays(open_prepared(spec, data.workspace), spec, Split.TRAIN)
    with Feed(arrays, spec, execution(), _CPU) as feed:
        whole = [batch for batch in feed.epoch(0) if len(batch) == spec.batch_size]
    batches = [whole[number % len(whole)] for number in range(steps)]
    return Work(spec, data, batches, make_loss(spec, arrays.labels), steps, clock)


def _own(work: Work, **wanted: Any) -> list[float]:
    """The real loop: its journal, its checks for a stop and a checkpoint, its lines of progress."""
    chosen = execution(**wanted)
    return between(
        loop_ends(work.spec, work.data, work.clock, chosen, feed=lambda feed: Ready(work.batches), steps=work.steps)
    )


def _plain(work: Work, *, lower: bool = False) -> Sequence[float]:
    """The same steps as one would write them by hand.

    Args:
        lower: The network computes in bf16.
    """
    network = work.network()
    optimizer = torch.optim.AdamW(work.groups(network), lr=work.spec.learning_rate)
    lowered = torch.autocast("cpu", torch.bfloat16) if lower else contextlib.nullcontext()
    ends: list[float] = []
    total = 0.0
    for step, batch in enumerate(work.batches):
        for group in optimizer.param_groups:
            group["lr"] = work.spec.learning_rate * work.share_of_rate(step)
        with lowered:
            logits = network(batch.inputs)
        loss = work.loss(logits.float(), batch.targets)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        total += loss.item()
        ends.append(work.clock())
    return list(np.diff(ends))


def _lightning(work: Work) -> Sequence[float]:
    """The same steps as Lightning takes them, without logger, checkpoints, progress bar or validation."""
    import lightning.pytorch as pl

    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    ends: list[float] = []

    class Module(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.network = work.network()

        def training_step(self, batch: tuple[torch.Tensor, torch.Tensor], number: int) -> torch.Tensor:
            inputs, targets = batch
            return work.loss(self.network(inputs), targets)

        def configure_optimizers(self) -> Any:
            optimizer = torch.optim.AdamW(work.groups(self.network), lr=work.spec.learning_rate)
            schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, work.share_of_rate)
            return [optimizer], [{"scheduler": schedule, "interval": "step"}]

        def on_train_batch_end(self, *given: Any) -> None:
            ends.append(work.clock())

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the few workers, and the loader without a sampler
        trainer = pl.Trainer(
            accelerator="cpu",
            devices=1,
            max_epochs=1,
            gradient_clip_val=1.0,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        trainer.fit(Module(), _Loader(work.batches))
    return list(np.diff(ends))


class _Loader:
    """The batches as Lightning takes them: a list would be to it a list of loaders."""

    def __init__(self, batches: Sequence[Batch]) -> None:
        self._batches = batches

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        return ((batch.inputs, batch.targets) for batch in self._batches)


def _plain_gathering(arrays: Arrays, spec: ExperimentSpec, clock: Callable[[], float]) -> Sequence[float]:
    """The same network, loss, optimizer and clipping, and batches, by hand; each epoch's first step left out."""
    network = build_classifier(spec.model).train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=spec.learning_rate, weight_decay=spec.weight_decay)
    assert arrays.labels is not None
    images, labels = torch.from_numpy(arrays.images), torch.from_numpy(arrays.labels).float()
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
    seconds: list[float] = []
    for _ in range(spec.epochs):
        ends: list[float] = []
        for chosen in torch.split(torch.randperm(len(images)), spec.batch_size):
            inputs = (images[chosen].permute(0, 3, 1, 2).float() / 255 - mean) / std
            logits, targets = network(inputs)[:, 0], labels[chosen]
            entropy = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
            loss = ((1 - torch.exp(-entropy)) ** 2 * entropy).mean()
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
            ends.append(clock())
        seconds.extend(np.diff(ends).tolist())
    return seconds
