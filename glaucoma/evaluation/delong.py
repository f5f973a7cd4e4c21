"""DeLong's variance and test of AUCs, for images that are independent; a cross-check of the bootstrap where they are.

DeLong, DeLong and Clarke-Pearson, Biometrics 44:837 (1988); by mid-ranks as in Sun and Xu, IEEE SPL 21:1389 (2014).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtr, ndtri

from glaucoma.evaluation.classification import Floats, checked, mid_ranks


@dataclass(frozen=True)
class AucComparison:
    """Two AUCs of the same images, by DeLong: difference first less second, its interval, Z and two-sided p."""

    difference: float
    low: float
    high: float
    z: float
    p: float


def delong_variance(labels: ArrayLike, scores: ArrayLike) -> tuple[float, float]:
    """AUC and its variance.

    (NaN, NaN) where a class is missing; the variance is NaN where a class has one image.
    """
    auc, covariance = _delong(labels, [scores])
    return float(auc[0]), float(covariance[0, 0])


def delong_comparison(
    labels: ArrayLike, first: ArrayLike, second: ArrayLike, confidence: float = 0.95
) -> AucComparison:
    """DeLong's test of two scores on the same, independent images; NaN where the variance is 0 or undefined."""
    auc, covariance = _delong(labels, [first, second])
    difference = float(auc[0] - auc[1])
    variance = float(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    if not variance > 0:
        nan = float("nan")
        return AucComparison(difference, nan, nan, nan, nan)
    error = float(np.sqrt(variance))
    half = float(ndtri((1 + confidence) / 2)) * error
    z = difference / error
    return AucComparison(difference, difference - half, difference + half, z, float(2 * ndtr(-abs(z))))


def _delong(labels: ArrayLike, scores: list[ArrayLike]) -> tuple[Floats, Floats]:
    """AUCs (k,) and their covariance (k, k)."""
    truth = checked(labels, scores[0])[0]
    m, n = int(truth.sum()), int((~truth).sum())
    if not m or not n:
        return np.full(len(scores), np.nan), np.full((len(scores),) * 2, np.nan)
    over_negatives, over_positives = np.empty((len(scores), m)), np.empty((len(scores), n))
    for row, given in enumerate(scores):
        values = checked(labels, given)[1]
        together = mid_ranks(values)
        over_negatives[row] = (together[truth] - mid_ranks(values[truth])) / n
        over_positives[row] = 1 - (together[~truth] - mid_ranks(values[~truth])) / m
    if m < 2 or n < 2:
        return over_negatives.mean(axis=1), np.full((len(scores),) * 2, np.nan)
    covariance = np.atleast_2d(np.cov(over_negatives)) / m + np.atleast_2d(np.cov(over_positives)) / n
    return over_negatives.mean(axis=1), covariance
