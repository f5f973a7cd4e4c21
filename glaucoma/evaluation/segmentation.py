"""Metrics of one structure in one image: masks are (H, W), true where the structure is. Undefined is NaN.

The rules where a mask is empty: both empty, the image says nothing and every metric is NaN. Only the prediction empty
(missed) or only the truth empty (spurious): overlap 0, distance the image's diagonal. A mean that left such images out
would reward a model for finding nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import cv2
import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]


class Outcome(StrEnum):
    """What became of one structure in one image."""

    FOUND = "found"
    MISSED = "missed"
    """The reader marked it, the model did not."""
    SPURIOUS = "spurious"
    """The model marked it, the reader did not."""
    ABSENT = "absent"
    """Neither did."""


@dataclass(frozen=True)
class StructureScores:
    """One structure in one image; distances in pixels of the masks' grid."""

    outcome: Outcome
    dice_score: float
    iou_score: float
    hd95_px: float
    """The larger of the two directed distances between the outlines, each at its 95th percentile."""
    assd_px: float
    """Mean distance between the outlines, both directions together."""


def outcome(predicted: Mask, truth: Mask) -> Outcome:
    """Which of the four cases the pair is."""
    if truth.any():
        return Outcome.FOUND if predicted.any() else Outcome.MISSED
    return Outcome.SPURIOUS if predicted.any() else Outcome.ABSENT


def dice_score(predicted: Mask, truth: Mask) -> float:
    """Twice the overlap over the sum of both areas, 0 to 1; NaN where both are empty."""
    both, total = _areas(predicted, truth)
    return 2 * both / total if total else float("nan")


def iou_score(predicted: Mask, truth: Mask) -> float:
    """The overlap over the union, 0 to 1; NaN where both are empty."""
    both, total = _areas(predicted, truth)
    return both / (total - both) if total else float("nan")


def _areas(predicted: Mask, truth: Mask) -> tuple[int, int]:
    """Pixels of the overlap, and of both masks together."""
    if predicted.shape != truth.shape:
        raise ValueError(f"a prediction of {predicted.shape} for a mask of {truth.shape}")
    both = int(np.count_nonzero(predicted & truth))
    return both, int(np.count_nonzero(predicted)) + int(np.count_nonzero(truth))


def surface_distances(predicted: Mask, truth: Mask) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Distance of each outline pixel to the other outline, px: from the prediction, and from the truth.

    An outline is the pixels of a mask with a background pixel among their four neighbours; the image's edge counts as
    background. Exact Euclidean distances, computed inside the box that holds both.

    Raises:
        ValueError: A mask is empty.
    """
    if not predicted.any() or not truth.any():
        raise ValueError("an empty mask has no outline")
    rows, columns = _box(predicted | truth)
    outlines = [_outline(mask[rows, columns]) for mask in (predicted, truth)]
    to_predicted, to_truth = (cv2.distanceTransform(1 - o, cv2.DIST_L2, cv2.DIST_MASK_PRECISE) for o in outlines)
    return to_truth[outlines[0] > 0], to_predicted[outlines[1] > 0]


def hd95_px(predicted: Mask, truth: Mask) -> float:
    """95th percentile Hausdorff distance, px; the image's diagonal where one mask is empty, NaN where both are."""
    return score_structure(predicted, truth).hd95_px


def assd_px(predicted: Mask, truth: Mask) -> float:
    """Average symmetric surface distance, px; the image's diagonal where one mask is empty, NaN where both are."""
    return score_structure(predicted, truth).assd_px


def score_structure(predicted: Mask, truth: Mask) -> StructureScores:
    """All scores of one structure in one image."""
    found = outcome(predicted, truth)
    dice, iou = dice_score(predicted, truth), iou_score(predicted, truth)
    if found is Outcome.FOUND:
        there, back = surface_distances(predicted, truth)
        hd95 = max(float(np.percentile(there, 95)), float(np.percentile(back, 95)))
        assd = float(np.concatenate([there, back]).mean(dtype=np.float64))
    else:
        hd95 = assd = float("nan") if found is Outcome.ABSENT else float(np.hypot(*truth.shape))
    return StructureScores(found, dice, iou, hd95, assd)


def equivalent_diameter_px(mask: Mask) -> float:
    """Diameter of the circle of the same area, px; 0 where the mask is empty. The unit "disc diameter" is this."""
    return float(2 * np.sqrt(np.count_nonzero(mask) / np.pi))


def _box(mask: Mask) -> tuple[slice, slice]:
    """The rows and columns that hold all of a mask that is not empty."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)


def _outline(mask: Mask) -> NDArray[np.uint8]:
    """1 on the mask's outermost pixels, else 0."""
    padded = np.pad(mask.astype(np.uint8), 1)
    inner = cv2.erode(padded, cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3)))
    return np.ascontiguousarray((padded - inner)[1:-1, 1:-1])
