"""What is measured on one canonical mask: its values, its parts, its cup in its disc, its vertical ratio."""

from __future__ import annotations

import cv2
import numpy as np

from glaucoma.datasets.imagefile import Pixels
from glaucoma.datasets.masks import height_px
from glaucoma.schema import MaskValue, StructureState

_MAX_OPEN_CUP_SHARE = 0.5


def measure_mask(mask: Pixels, photograph_shape: tuple[int, int], disc: str, cup: str) -> dict[str, bool | int | float]:
    """What a canonical mask (H, W) uint8 shows, against the photograph's shape and the manifest's disc and cup states.

    The cup counts as inside the disc where some rim is there and at most half of the cup's outline borders on the
    background: a rim may vanish on one side in advanced glaucoma, not all around. `vertical_cdr`, the cup's height over
    the disc's, is there where a cup is.
    """
    box = _marked(mask)
    histogram = np.bincount(box.ravel(), minlength=256)
    cup_pixels, rim_pixels = int(histogram[MaskValue.CUP]), int(histogram[MaskValue.DISC])
    whole_disc = np.asarray(box > 0, dtype=np.uint8)
    facts: dict[str, bool | int | float] = {
        "mask_readable": True,
        "mask_size_matches": mask.shape == photograph_shape,
        "mask_values_ok": not bool(histogram[len(MaskValue) :].any()),
        "mask_states_ok": _state_fits(disc, cup_pixels + rim_pixels) and _state_fits(cup, cup_pixels),
        "disc_px": cup_pixels + rim_pixels,
        "disc_parts": int(cv2.connectedComponents(whole_disc, connectivity=8)[0]) - 1 if box.size else 0,
    }
    if cup_pixels:
        facts["cup_inside_disc"] = rim_pixels > 0 and _open_share(box, whole_disc) <= _MAX_OPEN_CUP_SHARE
        facts["vertical_cdr"] = height_px(box == MaskValue.CUP) / height_px(whole_disc > 0)
    return facts


def _marked(mask: Pixels) -> Pixels:
    """The part of `mask` that holds all its marks, with one pixel around where the mask has one; empty without marks.

    A disc fills a hundredth of a photograph, so looking at it alone saves nearly all the work.
    """
    rows = np.flatnonzero(mask.max(axis=1, initial=0))
    if not rows.size:
        return mask[:0, :0]
    columns = np.flatnonzero(mask[rows[0] : rows[-1] + 1].max(axis=0))
    top, left = max(0, int(rows[0]) - 1), max(0, int(columns[0]) - 1)
    return np.ascontiguousarray(mask[top : rows[-1] + 2, left : columns[-1] + 2])


def _state_fits(state: str, pixels: int) -> bool:
    """`not_visible` makes no statement, so it fits anything without pixels."""
    return (state == StructureState.PRESENT) == (pixels > 0)


def _open_share(mask: Pixels, whole_disc: Pixels) -> float:
    """Share of the cup's outline pixels that touch the background."""
    cup = np.asarray(mask == MaskValue.CUP, dtype=np.uint8)
    cross = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    outline = cup - np.asarray(cv2.erode(cup, cross), dtype=np.uint8)
    near_background = 1 - np.asarray(cv2.erode(whole_disc, cross), dtype=np.uint8)
    return cv2.countNonZero(outline & near_background) / max(1, cv2.countNonZero(outline))
