"""From the call that starts a training to its first step: how long, and on what."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

from benchmarks.harness import Candidate, Comparison
from benchmarks.place import Place
from benchmarks.training_place import Prepared, execution, prepared
from glaucoma.schema import Task
from glaucoma.training.progress_log import TrainingProgress
from glaucoma.training.supervise import train

PARTS = ("interpreter", "torch", "the rest of the loop's imports", "data", "timm", "network", "first step")
_MODEL = "resnet18"
_seeds = itertools.count(10_000)


class _EnoughError(Exception):
    """The first step is done."""


class _Parts:
    """One process gives all parts; each part's turn takes its own of the newest that it has not had yet."""

    def __init__(self, data: Prepared) -> None:
        self._data = data
        self._left: dict[str, float] = {}

    def take(self, part: str) -> list[float]:
        if part not in self._left:
            self._left = _probe(self._data)
        return [self._left.pop(part)]


def benchmark(place: Place) -> Iterator[Comparison]:
    """By the clock on the wall in any case: most of it passes in other processes."""
    data = prepared(place, 96)
    yield Comparison(
        "training: from the call to the first step",
        Candidate("supervise.train", lambda: [_until_first_step(data)]),
        (Candidate("limit: a new process that imports torch and timm", _importing),),
        f"{_MODEL}, 8 x 96 px",
        rounds=2,
    )
    parts = _Parts(data)
    yield Comparison(
        "training: parts until the first step",
        Candidate("all", lambda: parts.take("all")),
        tuple(Candidate(part, _taking(parts, part)) for part in PARTS),
        f"{_MODEL}, 8 x 96 px, without the watching process",
        rounds=2,
    )


def _taking(parts: _Parts, part: str) -> Callable[[], list[float]]:
    return lambda: parts.take(part)


def _until_first_step(data: Prepared) -> float:
    """Seconds from the call until the child's line of its first step, by the child's own clock."""
    spec = data.spec(Task.CLASSIFICATION, _MODEL, input_px=96, batch_size=8, epochs=4, seed=next(_seeds))
    lines: list[TrainingProgress] = []

    def report(line: TrainingProgress) -> None:
        if line.event is None and line.step:
            lines.append(line)
            raise _EnoughError

    began = datetime.now(UTC)
    try:
        train(spec, data.workspace, execution(), report=report)
    except _EnoughError:
        return (lines[0].time - began).total_seconds()
    raise RuntimeError("the training ended without a line of a step")


def _importing() -> None:
    subprocess.run([sys.executable, "-P", "-c", "import torch, timm"], check=True, capture_output=True)


def _probe(data: Prepared) -> dict[str, float]:
    spec = data.spec(Task.CLASSIFICATION, _MODEL, input_px=96, batch_size=8, seed=next(_seeds))
    given = {"root": str(data.workspace.root), "spec": spec.model_dump(mode="json")}
    environment = {**os.environ, "STARTED": str(datetime.now(UTC).timestamp())}
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.training_start_probe", json.dumps(given)],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    if done.returncode:
        raise RuntimeError(f"the probe ended with {done.returncode}: {done.stderr[-2000:]}")
    seconds: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return {**seconds, "all": sum(seconds.values())}
