"""Which half of a side-by-side stereo photograph a mask belongs to."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from glaucoma.datasets.fusion import Marked
from glaucoma.datasets.placement import cut_half, half_width
from glaucoma.schema import SourcePart

_CLEAR = 0.1
"""The better half's contrast exceeds the other's by this share of both together, or nothing is said."""
_RING = 0.15
"""Width of the two rings along the disc's edge, one inside and one outside, in the disc's radii: thin ones feel a shift
of a few pixels that the whole disc would not."""
_LARGE_PX = 400


@dataclass(frozen=True)
class Overlay:
    """How much brighter each half is just inside the disc's edge than just outside, as a share of both together.

    Args:
        left: From -1 to 1; NaN where the photograph cannot be read or the disc is empty.
    """

    left: float
    right: float

    @property
    def part(self) -> SourcePart | None:
        """The half under which the disc lies; None where the two are too alike to tell."""
        difference, total = self.left - self.right, abs(self.left) + abs(self.right)
        if not np.isfinite(total) or abs(difference) < _CLEAR * total or total == 0:
            return None
        return SourcePart.LEFT if difference > 0 else SourcePart.RIGHT


def half_of_mask(mark: Marked) -> SourcePart | None:
    """The half of a mask of the whole width in which most of what it marks lies; None where it marks nothing."""
    left, right = cut_half(mark, SourcePart.LEFT).sum(), cut_half(mark, SourcePart.RIGHT).sum()
    if left == right:
        return None
    return SourcePart.LEFT if left > right else SourcePart.RIGHT


def overlay_on_halves(photograph: Path, disc: Marked) -> Overlay:
    """Lays a disc of half the width on both halves of a photograph, decoded at a quarter of its size where it is large.

    Measured on six photographs of whole retinas in which the disc was marked, cut to pairs of this dataset's size, with
    the second view shifted sideways: at 40 pixels 40 of 48 pairs were told and none wrongly, from 80 pixels on all.

    Args:
        disc: (H, W // 2) for a photograph of (H, W).
    """
    large = min(disc.shape) > _LARGE_PX
    grey = cv2.imread(str(photograph), cv2.IMREAD_REDUCED_GRAYSCALE_4 if large else cv2.IMREAD_GRAYSCALE)
    if grey is None or grey.shape[1] < 2 or not disc.any():
        return Overlay(float("nan"), float("nan"))
    size = (half_width(grey.shape[1]), grey.shape[0])
    small = cv2.resize(disc.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST)
    width = max(1, round(_RING * np.sqrt(small.sum() / np.pi)))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * width + 1, 2 * width + 1))
    inside = (small > 0) & (cv2.erode(small, kernel) == 0)
    outside = (small == 0) & (cv2.dilate(small, kernel) > 0)
    halves = (cut_half(grey, part) for part in (SourcePart.LEFT, SourcePart.RIGHT))
    return Overlay(*(_contrast(half, inside, outside) for half in halves))


def _contrast(grey: NDArray[np.uint8], inside: NDArray[np.bool_], outside: NDArray[np.bool_]) -> float:
    if not inside.any() or not outside.any():
        return float("nan")
    bright, dark = float(grey[inside].mean()), float(grey[outside].mean())
    return (bright - dark) / (bright + dark) if bright + dark > 0 else 0.0
