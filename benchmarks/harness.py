"""Candidates run in turn on the same data; what counts is the ratio of their medians.

A shared machine is slow in one minute and fast in the next. Candidates that take turns meet the same minutes, so their
ratio holds where a time in seconds would not.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def nothing() -> None:
    """No preparation is needed."""


@dataclass(frozen=True)
class Candidate:
    """One way to do the work.

    Attributes:
        run: Does it once. Where it times itself it gives the seconds of each repetition, else None.
        before: Called before each run, outside the measurement.
    """

    name: str
    run: Callable[[], Sequence[float] | None]
    before: Callable[[], None] = nothing


@dataclass(frozen=True)
class Comparison:
    """Our way against one or more others.

    Attributes:
        n: What one run works on, in words.
        rounds: How often each candidate's turn comes, after one turn that is not counted.
        unit: Of what the candidates measure: "s", or another where they give numbers of their own, such as "MB".
    """

    stage: str
    ours: Candidate
    against: tuple[Candidate, ...]
    n: str
    rounds: int = 7
    unit: str = "s"


@dataclass(frozen=True)
class Skipped:
    """A comparison that cannot be made here."""

    stage: str
    reason: str


@dataclass(frozen=True)
class Result:
    """Ours against one other.

    Attributes:
        ratio: Median of ours over median of the other: below 1 ours is faster.
        ratio_low: Lower quartile of the ratios of single rounds.
        ratio_high: Upper quartile of them.
    """

    stage: str
    measured: str
    measured_s: float
    against: str
    against_s: float
    ratio: float
    ratio_low: float
    ratio_high: float
    n: str
    rounds: int
    unit: str = "s"


def compare(comparison: Comparison) -> list[Result]:
    """Measures all candidates in turn; the first of a round is another one each time."""
    candidates = [comparison.ours, *comparison.against]
    seconds: list[list[float]] = [[] for _ in candidates]
    for turn in range(comparison.rounds + 1):
        for step in range(len(candidates)):
            place = (turn + step) % len(candidates)
            took = _once(candidates[place])
            if turn:  # the first turn warms caches and lazy imports
                seconds[place].append(took)
    times = [np.array(one, dtype=np.float64) for one in seconds]
    return [
        _result(comparison, other, times[0], theirs)
        for other, theirs in zip(comparison.against, times[1:], strict=True)
    ]


def _once(candidate: Candidate) -> float:
    """Seconds of one run; the median of its repetitions where it times them itself."""
    candidate.before()
    gc.collect()
    start = time.perf_counter()
    own = candidate.run()
    took = time.perf_counter() - start
    return took if own is None else float(np.median(own))


def _result(comparison: Comparison, other: Candidate, ours: Floats, theirs: Floats) -> Result:
    low, high = np.quantile(ours / theirs, (0.25, 0.75))
    return Result(
        stage=comparison.stage,
        measured=comparison.ours.name,
        measured_s=float(np.median(ours)),
        against=other.name,
        against_s=float(np.median(theirs)),
        ratio=float(np.median(ours) / np.median(theirs)),
        ratio_low=float(low),
        ratio_high=float(high),
        n=comparison.n,
        rounds=comparison.rounds,
        unit=comparison.unit,
    )
