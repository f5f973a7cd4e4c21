"""Which square of a photograph a prepared picture shows, and the way there and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from glaucoma.datasets.field_of_view import FieldOfView
from glaucoma.schema import GeometryColumn

Pixels = NDArray[np.uint8]
Points = NDArray[np.float64]
_Picture = TypeVar("_Picture", NDArray[np.uint8], NDArray[np.float32])


@dataclass(frozen=True)
class Geometry:
    """A square in pixels of the photograph, and the factor from them to the pixels of a picture of that square.

    The square may reach beyond the photograph, so `x_px` and `y_px` may be negative: what lies outside is black. A
    point of the photograph lies at `(point - origin) * scale` in the picture, where pixel i spans i to i + 1.
    """

    x_px: int
    y_px: int
    side_px: int
    scale: float = 1.0

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Geometry:
        """The geometry that a row of a prepared dataset's manifest states."""
        x, y, side = (
            round(float(row[column]))
            for column in (GeometryColumn.CROP_X_PX, GeometryColumn.CROP_Y_PX, GeometryColumn.CROP_WIDTH_PX)
        )
        return cls(x, y, side, float(row[GeometryColumn.SCALE_X]))

    def columns(self) -> dict[str, float]:
        """The same as cells of a prepared dataset's manifest."""
        return {
            GeometryColumn.CROP_X_PX: float(self.x_px),
            GeometryColumn.CROP_Y_PX: float(self.y_px),
            GeometryColumn.CROP_WIDTH_PX: float(self.side_px),
            GeometryColumn.CROP_HEIGHT_PX: float(self.side_px),
            GeometryColumn.SCALE_X: self.scale,
            GeometryColumn.SCALE_Y: self.scale,
        }

    def scaled_to(self, size_px: int) -> Geometry:
        """The same square, shown `size_px` on a side."""
        return replace(self, scale=size_px / self.side_px)

    def to_prepared(self, points: Points) -> Points:
        """Points (k, 2) as x, y of the photograph, in the picture."""
        return np.asarray((points - np.array([self.x_px, self.y_px])) * self.scale, dtype=np.float64)

    def to_original(self, points: Points) -> Points:
        """Points (k, 2) as x, y of the picture, in the photograph."""
        return np.asarray(points / self.scale + np.array([self.x_px, self.y_px]), dtype=np.float64)


def whole_square(height: int, width: int) -> Geometry:
    """The square around the whole photograph."""
    return _square((0.0, 0.0, float(width), float(height)), 1.0)


def square_around(field: FieldOfView) -> Geometry:
    """The square around the field's box: its longer side, the same middle.

    One square and one scale for both axes: a vertical cup-to-disc ratio is the same before and after.
    """
    return _square(field.box, 1.0)


def narrowed(square: Geometry, share: float) -> Geometry:
    """The square less `share` of its side, half at each edge; the side is even, so that it can be halved exactly."""
    x, y, side = square.x_px, square.y_px, square.side_px
    return _square((x, y, x + side, y + side), 1.0 - share, multiple=2)


def square_around_disc(box: tuple[int, int, int, int], side_disc_diameters: float) -> Geometry:
    """The square about the middle of the disc's box (left, top, width, height), that many of its longer sides wide.

    Its side is even, likewise.
    """
    left, top, width, height = box
    return _square((left, top, left + width, top + height), side_disc_diameters, multiple=2)


def _square(box: tuple[float, float, float, float], factor: float, *, multiple: int = 1) -> Geometry:
    left, top, right, bottom = box
    side = multiple * max(1, round(max(right - left, bottom - top) * factor / multiple))
    return Geometry(round((left + right - side) / 2), round((top + bottom - side) / 2), side)


def cut(picture: Pixels, square: Geometry) -> Pixels:
    """The square of a photograph (H, W, 3) or mask (H, W); 0 where it reaches beyond. A view where it does not."""
    height, width = picture.shape[:2]
    x, y, side = square.x_px, square.y_px, square.side_px
    inside = picture[max(0, y) : max(0, min(height, y + side)), max(0, x) : max(0, min(width, x + side))]
    if inside.shape[:2] == (side, side):
        return inside
    result = np.zeros((side, side, *picture.shape[2:]), dtype=np.uint8)
    result[max(0, -y) : max(0, -y) + inside.shape[0], max(0, -x) : max(0, -x) + inside.shape[1]] = inside
    return result


def to_original(prepared: _Picture, geometry: Geometry, shape: tuple[int, int], *, nearest: bool) -> _Picture:
    """A mask or map on the prepared picture's pixels, drawn back on those of the photograph; 0 beyond the square.

    Args:
        prepared: (S, S) or (S, S, C), uint8 or float32.
        shape: Height and width of the photograph.
        nearest: For masks: the nearest pixel, so that no value is invented. Else bilinear, for probabilities.
    """
    side, (height, width) = geometry.side_px, shape
    shrinking = side < prepared.shape[0]
    smooth = cv2.INTER_AREA if shrinking else cv2.INTER_LINEAR
    full = cv2.resize(prepared, (side, side), interpolation=cv2.INTER_NEAREST_EXACT if nearest else smooth)
    result = np.zeros((height, width, *prepared.shape[2:]), dtype=prepared.dtype)
    x, y = geometry.x_px, geometry.y_px
    top, left, bottom, right = max(0, y), max(0, x), min(height, y + side), min(width, x + side)
    if top < bottom and left < right:
        result[top:bottom, left:right] = full[top - y : bottom - y, left - x : right - x]
    return result
