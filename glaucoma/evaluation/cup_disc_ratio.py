"""The vertical cup-to-disc ratio (vCDR): the one number of a segmentation that a clinician uses.

Height of the cup over height of the disc, both in rows of the image. Every crop and scale of this project acts on rows
alike, so the ratio is the same in the photograph and in the prepared image.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from glaucoma.datasets.masks import height_px
from glaucoma.evaluation.segmentation import Mask

CLOSE = 0.1
"""Two ratios no further apart than this agree for practical purposes."""


@dataclass(frozen=True)
class Agreement:
    """How predicted ratios stand to the readers'; all but `close_share` over the images where both are defined."""

    mae_error: float
    bias: float
    """Mean of predicted less true: above 0 the model sees larger cups than the readers."""
    limit_low: float
    limit_high: float
    """Bland-Altman limits: bias -/+ 1.96 standard deviations of the differences; NaN below two images."""
    close_share: float
    """Within 0.1, over all images whose true ratio is defined: a disc that was not found counts as not close."""
    n: int
    n_expected: int
    """Images whose true ratio is defined."""


def vertical_cdr(disc: Mask, cup: Mask) -> float:
    """Height of the cup inside the disc over the height of the disc, 0 to 1.

    NaN without a disc. 0 where a disc is there and no cup in it; whether that is a finding or a missing annotation the
    caller must know.

    Args:
        disc: (H, W), the whole disc, cup included.
        cup: (H, W); what lies outside the disc is not counted.
    """
    height = height_px(disc)
    return height_px(cup & disc) / height if height else float("nan")


def predicted_structures(probability: NDArray[np.float32], threshold: float = 0.5) -> tuple[Mask, Mask]:
    """Disc and cup that a segmenter's probabilities (2, H, W) stand for: the largest piece of each, cup inside disc.

    A retina has one disc in view: a second, smaller piece is an error that would stretch the height of the first. A
    pixel that is called cup is part of the whole disc, whatever the disc's own probability.
    """
    cup = probability[1] >= threshold
    disc = largest_piece((probability[0] >= threshold) | cup)
    return disc, largest_piece(cup & disc)


def largest_piece(mask: Mask) -> Mask:
    """The largest part of `mask` that hangs together (8 neighbours); of equal ones the upper; empty stays empty."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    if count <= 2:
        return mask.astype(bool)
    piece: Mask = labels == 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA]))
    return piece


def agreement(predicted: ArrayLike, truth: ArrayLike) -> Agreement:
    """How `predicted` ratios (n,) agree with the true ones (n,); NaN marks an undefined ratio in either."""
    guess, real = np.asarray(predicted, dtype=np.float64), np.asarray(truth, dtype=np.float64)
    expected = ~np.isnan(real)
    both = expected & ~np.isnan(guess)
    difference = guess[both] - real[both]
    n, n_expected, nan = int(both.sum()), int(expected.sum()), float("nan")
    spread = 1.96 * float(difference.std(ddof=1)) if n > 1 else nan
    bias = float(difference.mean()) if n else nan
    return Agreement(
        mae_error=float(np.abs(difference).mean()) if n else nan,
        bias=bias,
        limit_low=bias - spread,
        limit_high=bias + spread,
        close_share=float((np.abs(difference) <= CLOSE + 1e-12).sum() / n_expected) if n_expected else nan,
        n=n,
        n_expected=n_expected,
    )
