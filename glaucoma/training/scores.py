"""The scores by which training chooses its best epoch. What is reported of a model is computed by evaluation."""

from __future__ import annotations

from typing import Any

import numpy as np

Floats = np.ndarray[Any, np.dtype[np.float64]]


def area_under_roc(labels: Any, scores: Any) -> float:
    """Probability that a positive scores above a negative, ties one half; NaN where a class is missing.

    Args:
        labels: (n,) of 0 and 1.
        scores: (n,) finite.
    """
    positive = np.asarray(labels, dtype=bool)
    values = np.asarray(scores, dtype=np.float64)
    n_positive, n_negative = int(positive.sum()), int((~positive).sum())
    if n_positive == 0 or n_negative == 0:
        return float("nan")
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    return float((ranks[positive].sum() - n_positive * (n_positive + 1) / 2) / (n_positive * n_negative))


def dice_per_image(predicted: Any, truth: Any) -> Floats:
    """(N, C) Dice of two boolean arrays (N, C, H, W); NaN where both are empty."""
    shared = np.count_nonzero(predicted & truth, axis=(2, 3))
    total = np.count_nonzero(predicted, axis=(2, 3)) + np.count_nonzero(truth, axis=(2, 3))
    return dice_of_counts(shared, total)


def dice_of_counts(shared: Any, total: Any) -> Floats:
    """Dice from pixels shared and pixels of both together, arrays of one shape; NaN where both are empty."""
    with np.errstate(invalid="ignore"):
        result: Floats = 2.0 * shared / np.where(total > 0, total, np.nan)
    return result
