"""The steps of preparing one photograph, each a plain function of arrays.

The order is: crop to a square, resize, local contrast, black outside the field. CLAHE comes after the resize: at full
size it costs 2.4 times the whole chain and its tiles would depend on the camera's pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from glaucoma.preprocessing.field_of_view import FieldOfView
from glaucoma.preprocessing.settings import Clahe

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Geometry:
    """The square that was cut out, in pixels of the photograph, and the factor to the prepared picture.

    The square may reach beyond the photograph, so `x_px` and `y_px` may be negative: what lies outside is black. A
    point of the photograph lies at `(point - origin) * scale` in the prepared picture, where pixel i spans i to i + 1.
    """

    x_px: int
    y_px: int
    side_px: int
    scale: float

    def to_prepared(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Points (k, 2) as x, y of the photograph, in the prepared picture."""
        return np.asarray((points - np.array([self.x_px, self.y_px])) * self.scale, dtype=np.float64)


def square_around(field: FieldOfView, *, centre_crop_share: float, size_px: int) -> Geometry:
    """The square around the field's box, narrowed by `centre_crop_share` where the field is round (a whole retina).

    One square and one scale for both axes: a vertical cup-to-disc ratio is the same before and after.
    """
    left, top, right, bottom = field.box
    side = max(right - left, bottom - top)
    if field.is_round:
        side *= 1.0 - centre_crop_share
    whole = max(1, round(side))
    x = round((left + right) / 2 - whole / 2)
    y = round((top + bottom) / 2 - whole / 2)
    return Geometry(x, y, whole, size_px / whole)


def cut(picture: Pixels, geometry: Geometry) -> Pixels:
    """The square of a photograph (H, W, 3) or mask (H, W); 0 where it reaches beyond."""
    height, width = picture.shape[:2]
    x, y, side = geometry.x_px, geometry.y_px, geometry.side_px
    inside = picture[max(0, y) : max(0, min(height, y + side)), max(0, x) : max(0, min(width, x + side))]
    if inside.shape[:2] == (side, side):
        return inside
    result = np.zeros((side, side, *picture.shape[2:]), dtype=np.uint8)
    result[max(0, -y) : max(0, -y) + inside.shape[0], max(0, -x) : max(0, -x) + inside.shape[1]] = inside
    return result


def resize_photograph(square: Pixels, size_px: int) -> Pixels:
    """Area average when shrinking, cubic when enlarging."""
    how = cv2.INTER_AREA if square.shape[0] >= size_px else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(square, (size_px, size_px), interpolation=how), dtype=np.uint8)


def resize_mask(square: Pixels, size_px: int) -> Pixels:
    """Nearest pixel, by centres: `INTER_NEAREST` would shift the mask by up to half a pixel against the photograph."""
    return np.asarray(cv2.resize(square, (size_px, size_px), interpolation=cv2.INTER_NEAREST_EXACT), dtype=np.uint8)


def draw_field(field: FieldOfView, geometry: Geometry, size_px: int) -> Pixels:
    """The field in the prepared picture: 1 inside, 0 outside; (size, size) uint8."""
    shift = 4  # fixed-point bits: the outline is drawn to a sixteenth of a pixel
    points = np.rint((geometry.to_prepared(field.outline) - 0.5) * 2**shift).astype(np.int32)
    drawn = np.zeros((size_px, size_px), dtype=np.uint8)
    cv2.fillConvexPoly(drawn, points, 1, lineType=cv2.LINE_8, shift=shift)
    return drawn


def enhance(picture: Pixels, inside: Pixels, how: Clahe, *, clip_limit: float, tiles: int) -> Pixels:
    """Local contrast by CLAHE inside the field; black outside it.

    The surround is filled with the field's mean before and blackened after: left black, it would fill the edge tiles'
    histograms and put a bright ring around the retina.

    Args:
        picture: RGB (S, S, 3).
        inside: 1 in the field, 0 outside (S, S).
    """
    outside = inside == 0
    if how is Clahe.NONE:
        result = picture.copy()
    elif how is Clahe.GREEN:
        result = picture.copy()
        result[..., 1] = _clahe(picture[..., 1], outside, clip_limit, tiles)
    else:
        lab = cv2.cvtColor(picture, cv2.COLOR_RGB2LAB)
        lab[..., 0] = _clahe(np.asarray(lab[..., 0], dtype=np.uint8), outside, clip_limit, tiles)
        result = np.asarray(cv2.cvtColor(lab, cv2.COLOR_LAB2RGB), dtype=np.uint8)
    result[outside] = 0
    return result


def _clahe(channel: Pixels, outside: NDArray[np.bool_], clip_limit: float, tiles: int) -> Pixels:
    filled = np.ascontiguousarray(channel)
    if outside.any() and not outside.all():
        filled = filled.copy()
        filled[outside] = round(float(channel[~outside].mean()))
    # A CLAHE object keeps buffers, so each call makes its own: calls run in several threads.
    return np.asarray(cv2.createCLAHE(clipLimit=clip_limit, tileGridSize=(tiles, tiles)).apply(filled), dtype=np.uint8)
