"""Confidence intervals: a bootstrap that draws whole groups, Wilson for shares, Newcombe for an AUC of 0 or 1.

The two eyes of a patient are not two observations. Everything here that resamples draws groups (patients, or
photographs found to be the same). A bootstrap replicate is a row of weights: how often each image was drawn. A
statistic that takes weights (replicates, images) and gives (replicates,) is evaluated for all replicates at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr, ndtri

Floats = NDArray[np.float64]
Statistic = Callable[[Floats], Floats]
"""Weights (replicates, images) to values (replicates,); NaN where a replicate leaves the value undefined."""

_CELLS_AT_ONCE = 4_000_000
_JACKKNIFE_LIMIT = 2_000
"""Above so many groups the acceleration, which falls with the root of their number, is taken as 0."""
_UNDEFINED_LIMIT = 0.05


@dataclass(frozen=True)
class Interval:
    """Ends of an interval, NaN where there is none; then `reason` says why."""

    low: float
    high: float
    method: str
    reason: str | None = None


def no_interval(method: str, reason: str) -> Interval:
    """An interval that could not be had."""
    return Interval(float("nan"), float("nan"), method, reason)


def bootstrap_interval(
    statistic: Statistic, groups: ArrayLike, *, replicates: int = 2000, confidence: float = 0.95, seed: int = 0
) -> Interval:
    """BCa interval of `statistic` by resampling groups with replacement.

    Bias-corrected and accelerated (Efron 1987), the acceleration by leaving out one group at a time. No interval
    where fewer than two groups are there, where more than 5 % of the replicates leave the statistic undefined (a class
    was not drawn), or where all replicates agree: a bootstrap cannot see beyond an unbroken row of successes.
    """
    method = "BCa bootstrap by group"
    labels, index = np.unique(np.asarray(groups), return_inverse=True)
    if labels.size < 2:
        return no_interval(method, f"{labels.size} group: resampling needs two at least")
    estimate = float(statistic(np.ones((1, index.size)))[0])
    if np.isnan(estimate):
        return no_interval(method, "the value itself is undefined")
    values = np.concatenate([statistic(w) for w in group_weights(index, labels.size, replicates, seed)])
    defined = values[~np.isnan(values)]
    if defined.size < replicates * (1 - _UNDEFINED_LIMIT):
        return no_interval(method, f"{replicates - defined.size} of {replicates} replicates leave the value undefined")
    if np.ptp(defined) <= 1e-12:
        return no_interval(method, "all replicates give the same value")
    acceleration = _acceleration(statistic, index, labels.size) if labels.size <= _JACKKNIFE_LIMIT else 0.0
    low, high = _bca(defined, estimate, acceleration, confidence)
    return Interval(low, high, method)


def group_weights(index: NDArray[np.intp], groups: int, replicates: int, seed: int) -> Iterator[Floats]:
    """How often each image is drawn, (rows, images) float64, in blocks of rows that fit into memory.

    Args:
        index: (images,) number of each image's group, 0 to `groups` - 1.
    """
    rng = np.random.default_rng(seed)
    block = max(1, _CELLS_AT_ONCE // max(index.size, 1))
    for start in range(0, replicates, block):
        rows = min(block, replicates - start)
        drawn = rng.integers(0, groups, size=(rows, groups)) + np.arange(rows)[:, None] * groups
        counts = np.bincount(drawn.ravel(), minlength=rows * groups).reshape(rows, groups)
        yield counts[:, index].astype(np.float64)


def _acceleration(statistic: Statistic, index: NDArray[np.intp], groups: int) -> float:
    """Skewness of the leave-one-group-out values over 6; 0 where they do not vary."""
    block = max(1, _CELLS_AT_ONCE // index.size)
    parts = [
        statistic((index[None, :] != np.arange(start, min(start + block, groups))[:, None]).astype(np.float64))
        for start in range(0, groups, block)
    ]
    values = np.concatenate(parts)
    values = values[~np.isnan(values)]
    deviations = values.mean() - values
    spread = float(np.sum(deviations**2)) ** 1.5
    return float(np.sum(deviations**3) / (6 * spread)) if spread > 0 else 0.0


def _bca(values: Floats, estimate: float, acceleration: float, confidence: float) -> tuple[float, float]:
    """The two quantiles of the replicates that bias correction and acceleration point at."""
    below = (np.sum(values < estimate) + 0.5 * np.sum(values == estimate)) / values.size
    correction = ndtri(np.clip(below, 0.5 / values.size, 1 - 0.5 / values.size))
    tails = np.array([(1 - confidence) / 2, (1 + confidence) / 2])
    shifted = correction + ndtri(tails)
    levels = ndtr(correction + shifted / np.maximum(1 - acceleration * shifted, 1e-6))
    low, high = np.quantile(values, levels)
    return float(low), float(high)


def wilson_interval(successes: float, n: float, confidence: float = 0.95) -> Interval:
    """Wilson's score interval of a share; `n` may be an effective number. No interval where `n` is 0."""
    if n <= 0:
        return no_interval("Wilson", "no image to count")
    z = float(ndtri((1 + confidence) / 2))
    p = successes / n
    middle = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    low = 0.0 if successes <= 0 else float(middle - half)
    high = 1.0 if successes >= n else float(middle + half)
    return Interval(max(low, 0.0), min(high, 1.0), "Wilson")


def share_interval(hits: ArrayLike, groups: ArrayLike, confidence: float = 0.95) -> Interval:
    """Wilson's interval of the mean of `hits` (0 or 1), with as many observations as the groups are worth.

    The variance between groups (ratio estimator, as in survey sampling: Rao and Scott 1992) over the binomial one is
    the design effect, never taken below 1; n is divided by it. Where all or none are hits no variance can be seen, and
    each group counts once.
    """
    values = np.asarray(hits, dtype=np.float64)
    if not values.size:
        return no_interval("Wilson by group", "no image to count")
    labels, index = np.unique(np.asarray(groups), return_inverse=True)
    n, m, p = values.size, labels.size, float(values.mean())
    effective = float(m)
    if 0 < p < 1 and m > 1:
        residual = np.bincount(index, weights=values - p)
        between = m / (m - 1) * float(np.sum(residual**2)) / n**2
        effective = n / max(1.0, between / (p * (1 - p) / n))
    found = wilson_interval(p * effective, effective, confidence)
    return Interval(found.low, found.high, "Wilson by group")


def newcombe_auc_interval(auc: float, positives: int, negatives: int, confidence: float = 0.95) -> Interval:
    """Newcombe's method 5 (2006): the AUCs that a score test would not refuse; does not collapse at 0 or 1.

    The variance is Hanley and McNeil's at the hypothetical AUC with both class sizes at their mean.
    """
    if np.isnan(auc) or not positives or not negatives:
        return no_interval("Newcombe", "the AUC is undefined")
    z = float(ndtri((1 + confidence) / 2))
    mean = (positives + negatives) / 2 - 1

    def excess(hypothesis: float) -> float:
        spread = 1 + mean * ((1 - hypothesis) / (2 - hypothesis) + hypothesis / (1 + hypothesis))
        variance = hypothesis * (1 - hypothesis) * spread / (positives * negatives)
        return (auc - hypothesis) ** 2 - z**2 * variance

    return Interval(_crossing(excess, auc, 0.0), _crossing(excess, auc, 1.0), "Newcombe")


def _crossing(excess: Callable[[float], float], inside: float, outside: float) -> float:
    """Where `excess` turns from negative (towards `inside`) to positive, by bisection; `inside` where it never does."""
    if inside == outside:
        return inside
    near, far = inside, outside
    for _ in range(100):
        middle = (near + far) / 2
        near, far = (near, middle) if excess(middle) > 0 else (middle, far)
    return (near + far) / 2
