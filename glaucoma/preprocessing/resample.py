"""From a square of the photograph to the prepared size, for the photograph, its mask and its field of view."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from glaucoma.datasets.field_of_view import FieldOfView
from glaucoma.preprocessing.geometry import Geometry
from glaucoma.preprocessing.settings import Interpolation

Pixels = NDArray[np.uint8]

_METHODS = {
    Interpolation.AREA: cv2.INTER_AREA,
    Interpolation.LINEAR: cv2.INTER_LINEAR,
    Interpolation.CUBIC: cv2.INTER_CUBIC,
    Interpolation.LANCZOS: cv2.INTER_LANCZOS4,
}


def resize_photograph(square: Pixels, size_px: int, how: Interpolation = Interpolation.AREA) -> Pixels:
    """`square` (N, N, 3) with `size_px` on a side; an area average cannot enlarge, so cubic takes its place there.

    An area average of a square of an even side of at least twice the size is taken in two steps, of which the first,
    over 2 x 2 pixels, costs a tenth of what it saves. The mean of the means is the mean: what differs is the rounding
    in between, and where an edge between two pixels of the picture falls into such a four.
    """
    side = square.shape[0]
    if how is Interpolation.AREA and side % 2 == 0 and side >= 2 * size_px:
        square = np.asarray(cv2.resize(square, (side // 2, side // 2), interpolation=cv2.INTER_AREA), dtype=np.uint8)
    enlarging = square.shape[0] < size_px
    method = cv2.INTER_CUBIC if enlarging and how is Interpolation.AREA else _METHODS[how]
    return np.asarray(cv2.resize(square, (size_px, size_px), interpolation=method), dtype=np.uint8)


def resize_mask(square: Pixels, size_px: int) -> Pixels:
    """Nearest pixel, by centres: `INTER_NEAREST` would shift the mask by up to half a pixel against the photograph."""
    return np.asarray(cv2.resize(square, (size_px, size_px), interpolation=cv2.INTER_NEAREST_EXACT), dtype=np.uint8)


def draw_field(field: FieldOfView, geometry: Geometry, size_px: int) -> Pixels:
    """The field in a picture of that geometry: 1 inside, 0 outside; (size, size) uint8."""
    shift = 4  # fixed-point bits: the outline is drawn to a sixteenth of a pixel
    points = np.rint((geometry.to_prepared(field.outline) - 0.5) * 2**shift).astype(np.int32)
    drawn = np.zeros((size_px, size_px), dtype=np.uint8)
    cv2.fillConvexPoly(drawn, points, 1, lineType=cv2.LINE_8, shift=shift)
    return drawn
