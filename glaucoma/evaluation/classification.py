"""Metrics of a two-class classifier, in plain numpy; label 1 is glaucoma, a higher score means more likely glaucoma.

Every function takes `labels` (n,) of 0 and 1 and `scores` or `probabilities` (n,) float without NaN. Undefined is NaN.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Confusion:
    """Counts at one threshold, and the shares that follow from them; a share without a denominator is NaN."""

    true_positive: int
    false_positive: int
    true_negative: int
    false_negative: int

    @property
    def sensitivity(self) -> float:
        return share(self.true_positive, self.true_positive + self.false_negative)

    @property
    def specificity(self) -> float:
        return share(self.true_negative, self.true_negative + self.false_positive)

    @property
    def accuracy(self) -> float:
        return share(self.true_positive + self.true_negative, self.total)

    @property
    def precision(self) -> float:
        return share(self.true_positive, self.true_positive + self.false_positive)

    @property
    def negative_predictive_value(self) -> float:
        return share(self.true_negative, self.true_negative + self.false_negative)

    @property
    def f1(self) -> float:
        return share(2 * self.true_positive, 2 * self.true_positive + self.false_positive + self.false_negative)

    @property
    def total(self) -> int:
        return self.true_positive + self.false_positive + self.true_negative + self.false_negative


@dataclass(frozen=True)
class Roc:
    """A curve from (0, 0) to (1, 1), one point per distinct score; the first threshold is infinite: nobody positive."""

    thresholds: Floats
    false_positive_rate: Floats
    sensitivity: Floats


@dataclass(frozen=True)
class Calibration:
    """How far probabilities can be taken at their word; slope 1 and intercept 0 are right."""

    expected_error: float
    brier_error: float
    slope: float
    intercept: float
    bins: list[tuple[float, float, int]]
    """Per bin: mean probability, share of glaucoma, images."""


def share(part: int, whole: int) -> float:
    """`part / whole`; NaN where `whole` is 0."""
    return part / whole if whole else float("nan")


def checked(labels: ArrayLike, scores: ArrayLike) -> tuple[NDArray[np.bool_], Floats]:
    """Both as flat arrays: labels as booleans, scores as float64. Raises: ValueError where they do not fit together."""
    truth, values = np.asarray(labels).ravel(), np.asarray(scores, dtype=np.float64).ravel()
    if truth.shape != values.shape:
        raise ValueError(f"{truth.size} labels for {values.size} scores")
    if not np.isin(truth, (0, 1)).all():
        raise ValueError(f"labels must be 0 or 1, found {np.unique(truth)[:5].tolist()}")
    if np.isnan(values).any():
        raise ValueError(f"{int(np.isnan(values).sum())} scores are NaN")
    return truth.astype(bool), values


def auc_score(labels: ArrayLike, scores: ArrayLike) -> float:
    """Area under the ROC curve: the chance that a glaucoma image scores above a normal one, ties counting half.

    NaN where a class is missing. By mid-ranks (Mann-Whitney), exact with ties, O(n log n).
    """
    truth, values = checked(labels, scores)
    positives = int(truth.sum())
    negatives = truth.size - positives
    if not positives or not negatives:
        return float("nan")
    ranks = mid_ranks(values)
    return float((ranks[truth].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def mid_ranks(values: Floats) -> Floats:
    """Ranks from 1; equal values share the mean of their ranks."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    middle: Floats = last - (counts - 1) / 2
    return middle[inverse]


def roc_curve(labels: ArrayLike, scores: ArrayLike) -> Roc:
    """The ROC curve, thresholds falling; a rate whose class is missing is NaN all along."""
    truth, values = checked(labels, scores)
    order = np.argsort(-values, kind="stable")
    ordered, hits = values[order], truth[order]
    ends = np.append(np.flatnonzero(np.diff(ordered)), ordered.size - 1) if ordered.size else np.zeros(0, dtype=int)
    true_positive = np.concatenate([[0], np.cumsum(hits)[ends]])
    false_positive = np.concatenate([[0], np.cumsum(~hits)[ends]])
    with np.errstate(invalid="ignore"):
        return Roc(
            thresholds=np.concatenate([[np.inf], ordered[ends]]),
            false_positive_rate=false_positive / np.float64(false_positive[-1]),
            sensitivity=true_positive / np.float64(true_positive[-1]),
        )


def confusion(labels: ArrayLike, scores: ArrayLike, threshold: float) -> Confusion:
    """Counts when an image counts as glaucoma from `threshold` upwards."""
    truth, values = checked(labels, scores)
    called = values >= threshold
    return Confusion(
        true_positive=int((called & truth).sum()),
        false_positive=int((called & ~truth).sum()),
        true_negative=int((~called & ~truth).sum()),
        false_negative=int((~called & truth).sum()),
    )


def average_precision_score(labels: ArrayLike, scores: ArrayLike) -> float:
    """Area under the precision-recall curve as a sum of steps, without interpolation; NaN without a glaucoma image."""
    truth, values = checked(labels, scores)
    if not truth.any():
        return float("nan")
    order = np.argsort(-values, kind="stable")
    ordered, hits = values[order], truth[order]
    ends = np.append(np.flatnonzero(np.diff(ordered)), ordered.size - 1)
    found = np.cumsum(hits)[ends]
    precision, recall = found / (ends + 1), found / found[-1]
    return float(np.sum(np.diff(np.concatenate([[0.0], recall])) * precision))


def sensitivity_at_specificity(labels: ArrayLike, scores: ArrayLike, specificity: float) -> float:
    """The best sensitivity among thresholds that reach `specificity`; NaN where a class is missing."""
    curve = roc_curve(labels, scores)
    if np.isnan(curve.false_positive_rate[-1]) or np.isnan(curve.sensitivity[-1]):
        return float("nan")
    return float(curve.sensitivity[1 - curve.false_positive_rate >= specificity - 1e-12].max())


def calibration(labels: ArrayLike, probabilities: ArrayLike, bins: int = 15) -> Calibration:
    """Expected calibration error over equal-mass bins, Brier score, and slope and intercept of a logistic refit.

    Slope and intercept are NaN where a class is missing, the logits are all alike, or they separate the classes.
    """
    truth, values = checked(labels, probabilities)
    if not values.size:
        nan = float("nan")
        return Calibration(nan, nan, nan, nan, [])
    order = np.argsort(values, kind="stable")
    parts = [part for part in np.array_split(order, min(bins, values.size)) if part.size]
    table = [(float(values[p].mean()), float(truth[p].mean()), int(p.size)) for p in parts]
    error = sum(n * abs(mean - rate) for mean, rate, n in table) / values.size
    clipped = np.clip(values, 1e-7, 1 - 1e-7)
    slope, intercept = _logistic_fit(truth, np.log(clipped / (1 - clipped)))
    return Calibration(float(error), float(np.mean((values - truth) ** 2)), slope, intercept, table)


def _logistic_fit(truth: NDArray[np.bool_], logits: Floats) -> tuple[float, float]:
    """Slope and intercept of labels on logits by Newton's method; (NaN, NaN) where no finite maximum exists."""
    nothing = (float("nan"), float("nan"))
    positive, negative = logits[truth], logits[~truth]
    if not positive.size or not negative.size or np.ptp(logits) == 0:
        return nothing
    if positive.min() >= negative.max() or negative.min() >= positive.max():
        return nothing
    design = np.column_stack([logits, np.ones_like(logits)])
    weights = np.zeros(2)
    for _ in range(100):
        fitted = 1 / (1 + np.exp(-np.clip(design @ weights, -500, 500)))
        gradient = design.T @ (truth - fitted)
        hessian = (design * (fitted * (1 - fitted))[:, None]).T @ design
        step = np.linalg.lstsq(hessian, gradient, rcond=None)[0]
        size = float(np.abs(step).max())
        weights = weights + step * min(1.0, 5.0 / size if size else 1.0)
        if size < 1e-10:
            return float(weights[0]), float(weights[1])
    return nothing
