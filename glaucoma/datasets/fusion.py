"""Several readers' marks of one structure made into one mask."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from glaucoma.errors import DatasetError

Marked = NDArray[np.bool_]


def majority(masks: Sequence[Marked]) -> Marked:
    """The pixels that at least half of the readers marked.

    With an odd number of readers that is more than half of them. With an even number a pixel that exactly half of them
    marked belongs to the structure: two readers give their union, so that no reader's mark is lost where the other one
    marked nothing. Where a middle line between two readers is wanted, use `between`.

    Args:
        masks: (H, W) each, one a reader, all of one size.

    Raises:
        DatasetError: No mask at all, or masks of several sizes.
    """
    _require_one_size(masks)
    votes = np.zeros(masks[0].shape, np.uint16)
    for mask in masks:
        votes += mask
    return np.asarray(2 * votes >= len(masks), np.bool_)


def between(masks: Sequence[Marked]) -> Marked:
    """The region whose boundary runs midway between the readers': its mean signed distance to them is not positive.

    For two readers it lies between their intersection and their union, and for two concentric circles it is the circle
    of the mean radius. A reader who marked nothing has no boundary and is left out; with none left nothing is marked.

    Args:
        masks: (H, W) each, one a reader, all of one size.

    Raises:
        DatasetError: No mask at all, or masks of several sizes.

    Source: shape-based averaging, T. Rohlfing and C. R. Maurer, IEEE Trans Image Process 16:153 (2007).
    """
    _require_one_size(masks)
    marked = [mask for mask in masks if mask.any()]
    if not marked:
        return np.zeros(masks[0].shape, np.bool_)
    if len(marked) == 1:
        return marked[0].copy()
    rows, columns = _window(marked)
    distance = sum(_signed_distance_px(mask[rows, columns]) for mask in marked)
    fused = np.zeros(masks[0].shape, np.bool_)
    fused[rows, columns] = np.asarray(distance) <= 0
    return fused


def _window(masks: Sequence[Marked]) -> tuple[slice, slice]:
    """The rows and columns that any reader marked, and one pixel around them where there is one."""
    union = np.logical_or.reduce(masks)
    bounds = []
    for axis in (1, 0):
        places = np.flatnonzero(union.any(axis=axis))
        bounds.append(slice(max(0, int(places[0]) - 1), int(places[-1]) + 2))
    return bounds[0], bounds[1]


def _signed_distance_px(mask: Marked) -> NDArray[np.float32]:
    """Distance to the mask's boundary, which runs half a pixel outside its outermost pixels; negative inside."""
    import cv2

    padded = np.pad(mask, 1).astype(np.uint8)
    outside = cv2.distanceTransform(1 - padded, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    # The frame of zeros stands for the background beyond the window, which always holds some.
    inside = cv2.distanceTransform(padded, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    signed = np.where(padded > 0, 0.5 - inside, outside - 0.5)
    return np.asarray(signed[1:-1, 1:-1], np.float32)


def _require_one_size(masks: Sequence[Marked]) -> None:
    if not masks:
        raise DatasetError("No reader's mask was given", expected="one or more")
    sizes = sorted({mask.shape for mask in masks})
    if len(sizes) > 1:
        raise DatasetError(f"The readers' masks have the sizes {sizes}", expected="one size (height, width)")
