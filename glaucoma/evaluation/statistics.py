"""Metrics as functions of weights, so that all replicates of a bootstrap are computed at once.

A statistic takes weights (replicates, images), how often each image was drawn, and gives (replicates,).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from glaucoma.evaluation.classification import Floats, checked
from glaucoma.evaluation.intervals import Statistic


def weighted_mean(values: ArrayLike) -> Statistic:
    """The mean of `values` (images,) as a statistic; images whose value is NaN have no weight."""
    numbers = np.asarray(values, dtype=np.float64)
    known = ~np.isnan(numbers)
    filled = np.where(known, numbers, 0.0)

    def statistic(weights: Floats) -> Floats:
        total = weights @ known.astype(np.float64)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(total > 0, (weights @ filled) / total, np.nan)

    return statistic


def weighted_ratio(numerator: ArrayLike, denominator: ArrayLike) -> Statistic:
    """Sum of `numerator` over sum of `denominator` (images,), both weighted; NaN where the latter is 0."""
    top, bottom = np.asarray(numerator, dtype=np.float64), np.asarray(denominator, dtype=np.float64)

    def statistic(weights: Floats) -> Floats:
        total = weights @ bottom
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(total > 0, (weights @ top) / total, np.nan)

    return statistic


def weighted_auc(labels: ArrayLike, scores: ArrayLike) -> Statistic:
    """The AUC as a statistic of weights, ties counting half; NaN in a replicate without one of the classes."""
    sums = _tie_sums(labels, scores)

    def statistic(weights: Floats) -> Floats:
        positive, negative = sums(weights)
        below = np.cumsum(negative, axis=1) - negative
        pairs = positive.sum(axis=1) * negative.sum(axis=1)
        wins = np.einsum("ij,ij->i", positive, below + 0.5 * negative)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(pairs > 0, wins / pairs, np.nan)

    return statistic


def weighted_average_precision(labels: ArrayLike, scores: ArrayLike) -> Statistic:
    """Average precision as a statistic of weights; NaN in a replicate without a glaucoma image."""
    sums = _tie_sums(labels, scores)

    def statistic(weights: Floats) -> Floats:
        positive, negative = sums(weights)
        found = np.cumsum(positive[:, ::-1], axis=1)
        called = found + np.cumsum(negative[:, ::-1], axis=1)
        with np.errstate(invalid="ignore", divide="ignore"):
            precision = np.where(called > 0, found / called, 0.0)
            total = found[:, -1]
            return np.where(total > 0, np.einsum("ij,ij->i", positive[:, ::-1], precision) / total, np.nan)

    return statistic


def weighted_sensitivity_at(labels: ArrayLike, scores: ArrayLike, specificity: float) -> Statistic:
    """The best sensitivity among thresholds that reach `specificity`, as a statistic of weights."""
    sums = _tie_sums(labels, scores)

    def statistic(weights: Floats) -> Floats:
        positive, negative = sums(weights)
        found, wrong = np.cumsum(positive[:, ::-1], axis=1), np.cumsum(negative[:, ::-1], axis=1)
        allowed = wrong <= (1 - specificity + 1e-12) * wrong[:, -1:]
        best = np.where(allowed, found, 0.0).max(axis=1)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where((found[:, -1] > 0) & (wrong[:, -1] > 0), best / found[:, -1], np.nan)

    return statistic


def _tie_sums(labels: ArrayLike, scores: ArrayLike) -> Callable[[Floats], tuple[Floats, Floats]]:
    """From weights (rows, images) to the weight of glaucoma and of normal at each distinct score, scores rising."""
    truth, values = checked(labels, scores)
    if not values.size:
        raise ValueError("no image to resample")
    order = np.argsort(values, kind="stable")
    hits = truth[order]
    starts = np.flatnonzero(np.concatenate([[True], np.diff(values[order]) != 0]))

    def sums(weights: Floats) -> tuple[Floats, Floats]:
        ordered = weights[:, order]
        positive: Floats = np.add.reduceat(np.where(hits, ordered, 0.0), starts, axis=1)
        negative: Floats = np.add.reduceat(np.where(hits, 0.0, ordered), starts, axis=1)
        return positive, negative

    return sums
