"""Ellipses as formulas say them: the truth for masks drawn from contours, and pairs of pictures."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from tests.unit.datasets.lookalikes.base import Mask


@dataclass(frozen=True)
class Ellipse:
    """An upright ellipse; the centre of the picture's first pixel is at 0, 0."""

    x: float
    y: float
    x_radius: float
    y_radius: float

    def pixels(self, height: int, width: int) -> NDArray[np.bool_]:
        """The pixels whose centres lie in it."""
        rows, columns = np.mgrid[:height, :width]
        across, down = (columns - self.x) / self.x_radius, (rows - self.y) / self.y_radius
        return np.asarray(across**2 + down**2 <= 1, np.bool_)

    def points(self, count: int, *, first_pixel: float) -> NDArray[np.float64]:
        """Points on it, in coordinates that call the centre of the first pixel `first_pixel`."""
        angle = np.linspace(0, 2 * np.pi, count, endpoint=False)
        x, y = self.x + self.x_radius * np.cos(angle), self.y + self.y_radius * np.sin(angle)
        return np.column_stack([x, y]) + first_pixel

    def grown(self, px: float) -> Ellipse:
        """Both radii larger by `px`."""
        return replace(self, x_radius=self.x_radius + px, y_radius=self.y_radius + px)

    def edge_px(self) -> int:
        """About as many pixels as its line crosses: a contour may differ by a part of them."""
        return int(np.ceil(2 * np.pi * max(self.x_radius, self.y_radius)))


def canonical_of(disc: Ellipse, cup: Ellipse | None, height: int, width: int) -> Mask:
    """The canonical mask of the two."""
    mask = disc.pixels(height, width).astype(np.uint8)
    if cup is not None:
        mask[cup.pixels(height, width)] = 2
    return mask


def stereo_pair(name: str, disc: NDArray[np.bool_], half: str) -> NDArray[np.uint8]:
    """Two views of one eye side by side; in the `half` that is named the bright disc lies where `disc` says.

    In the other half it lies a good way to the side, as the other camera saw it.
    """
    rng = np.random.default_rng(len(name) + sum(map(ord, name)))
    height, width = disc.shape
    views = []
    for side in ("left", "right"):
        coarse = rng.integers(30, 70, (5, 5, 3), dtype=np.uint8)
        view = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
        seen = disc if side == half else np.roll(disc, width // 3, axis=1)
        view[seen] = np.minimum(view[seen].astype(np.int16) + 120, 255).astype(np.uint8)
        views.append(view)
    return np.hstack(views)


def sixteen_points_text(ellipse: Ellipse, *, header: list[str], two_a_line: bool, tail: str = "") -> bytes:
    """RIM-ONE's text: header, centre, sixteen whole points counted from 1."""
    points = np.rint(ellipse.points(16, first_pixel=1.0)).astype(int)
    numbers = [(round(ellipse.x) + 1, round(ellipse.y) + 1), *map(tuple, points)]
    lines = [f"{x} {y}" for x, y in numbers] if two_a_line else [str(value) for pair in numbers for value in pair]
    return "\r\n".join([*header, *lines, *([tail] if tail else [])]).encode()
