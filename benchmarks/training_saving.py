"""What a checkpoint costs: a save of a real network's state, and the share that saving takes of a short run."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from benchmarks.harness import Candidate, Comparison
from benchmarks.place import Place
from benchmarks.training_place import Prepared, execution, loop_ends, prepared
from glaucoma.models.classifiers import build_classifier
from glaucoma.schema import Task
from glaucoma.training.checkpoints import Checkpoints, Identity
from glaucoma.training.loop import Trainer
from glaucoma.training.state import State

_MODEL, _SIDE_PX, _BATCH = "efficientnet_b3", 320, 2


def benchmark(place: Place) -> Iterator[Comparison]:
    """By the clock on the wall in any case: the disk takes no processor time."""
    network = build_classifier(_MODEL).train()
    payload = _trained_a_step(network)
    checkpoints, plain = Checkpoints(place.empty("checkpoints")), place.empty("plain") / "last.pt"
    megabytes = sum(one.nbytes for one in _tensors(payload)) / 1e6
    yield Comparison(
        "checkpoint of the last state",
        Candidate("own, listed, hashed, synced", lambda: _timed(lambda: checkpoints.save_last(payload))),
        (
            Candidate("torch.save alone, not synced", lambda: torch.save(payload, plain)),
            Candidate("limit: writing and syncing the bytes", lambda: _write(plain, int(megabytes * 1e6))),
        ),
        f"{_MODEL}, {megabytes:.0f} MB with the optimizer",
        rounds=7,
    )
    best = {**payload, "optimizer": None}
    yield Comparison(
        "checkpoint of an epoch's end",
        Candidate("the last state and the best network", lambda: _both(checkpoints, payload, best)),
        (Candidate(f"a step of one thread, an image at {_SIDE_PX} px", lambda: _one_image(network)),),
        f"{_MODEL}; the ratio times 50 is the images of an epoch of which it takes 2 %",
        rounds=3,
    )
    data = prepared(place, 96)
    yield Comparison(
        "share of a short run spent on saving",
        Candidate("own loop, 10 epochs", lambda: [_share_of_run(data)]),
        (Candidate("aim", lambda: [2.0]),),
        "lcnet_050, 10 epochs of 5 steps of 16 x 96 px",
        rounds=3,
        unit="%",
    )


def _trained_a_step(network: torch.nn.Module) -> dict[str, Any]:
    """What the loop saves, after a step: before it AdamW has no state."""
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4)
    network(torch.zeros(2, 3, 64, 64)).sum().backward()
    optimizer.step()
    optimizer.zero_grad()
    return {
        "experiment_id": "cls-benchmark",
        "identity": Identity("cls-benchmark", {}, "0" * 64),
        "state": asdict(State()),
        "scores": {},
        "model": network.state_dict(),
        "optimizer": optimizer.state_dict(),
        "ema": None,
        "scaler": None,
    }


def _tensors(value: Any) -> Iterator[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, dict):
        for one in value.values():
            yield from _tensors(one)


def _timed(run: Any) -> list[float]:
    began = time.perf_counter()
    run()
    return [time.perf_counter() - began]


def _both(checkpoints: Checkpoints, last: dict[str, Any], best: dict[str, Any]) -> list[float]:
    began = time.perf_counter()
    checkpoints.save_best(best)
    checkpoints.save_last(last)
    return [time.perf_counter() - began]


def _write(path: Path, size_bytes: int) -> None:
    with path.open("wb") as handle:
        handle.write(bytes(size_bytes))
        handle.flush()
        os.fsync(handle.fileno())


def _one_image(network: torch.nn.Module) -> list[float]:
    images = torch.zeros(_BATCH, 3, _SIDE_PX, _SIDE_PX)
    began = time.perf_counter()
    network(images).sum().backward()
    network.zero_grad()
    return [(time.perf_counter() - began) / _BATCH]


def _share_of_run(data: Prepared) -> float:
    """Percent of the loop's time, from the first step's end to the last epoch's."""
    spec = data.spec(Task.CLASSIFICATION, "lcnet_050", input_px=96, batch_size=16, epochs=10)
    seen: list[float] = []

    def look(trainer: Trainer) -> None:
        seen.append(trainer.checkpoints.saving_s)

    began = time.perf_counter()
    loop_ends(spec, data, time.perf_counter, execution(), look=look)
    return 100 * seen[0] / (time.perf_counter() - began)
