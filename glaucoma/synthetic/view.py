"""From degrees on the retina to pixels of one photograph."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from glaucoma.schema import Eye
from glaucoma.synthetic.anatomy import Anatomy
from glaucoma.synthetic.cameras import Camera, Frame
from glaucoma.synthetic.texture import FloatArray


@dataclass(frozen=True)
class View:
    """What the camera sees: pixel (column, row) = centre + (degrees - gaze) * px_per_deg, mirrored for left eyes."""

    width_px: int
    height_px: int
    px_per_deg: float
    gaze_deg: tuple[float, float]
    radius_px: float
    """Of the field of view; infinite where it fills the picture."""
    mirror: int
    """1 for a right eye, -1 for a left one."""

    @property
    def shape(self) -> tuple[int, int]:
        return self.height_px, self.width_px

    @property
    def centre_px(self) -> tuple[float, float]:
        return (self.width_px - 1) / 2, (self.height_px - 1) / 2

    def to_px(self, points_deg: FloatArray) -> FloatArray:
        """Points (n, 2) in degrees as (n, 2) columns and rows, pixel centres at whole numbers."""
        scale = np.array([self.mirror, 1], np.float32) * self.px_per_deg
        return (points_deg - np.array(self.gaze_deg, np.float32)) * scale + np.array(self.centre_px, np.float32)

    def point_to_px(self, point_deg: tuple[float, float]) -> tuple[float, float]:
        """Column and row of one point."""
        column, row = self.to_px(np.array([point_deg], np.float32))[0].tolist()
        return column, row

    def grid_deg(self, shape: tuple[int, int] | None = None) -> tuple[FloatArray, FloatArray]:
        """x as (1, w) and y as (h, 1) in degrees, for the whole picture at its own or at another `shape`."""
        height, width = shape or self.shape
        columns = (np.arange(width, dtype=np.float32) + 0.5) * (self.width_px / width) - 0.5
        rows = (np.arange(height, dtype=np.float32) + 0.5) * (self.height_px / height) - 0.5
        x = (columns - self.centre_px[0]) * (self.mirror / self.px_per_deg) + self.gaze_deg[0]
        y = (rows - self.centre_px[1]) / self.px_per_deg + self.gaze_deg[1]
        return x[None, :], y[:, None]

    def window(self, centre_deg: tuple[float, float], reach_deg: float) -> tuple[slice, slice]:
        """Rows and columns of the square of half-side `reach_deg` around a point, cut to the picture."""
        column, row = self.point_to_px(centre_deg)
        reach = reach_deg * self.px_per_deg
        top, left = max(0, int(row - reach)), max(0, int(column - reach))
        bottom, right = min(self.height_px, int(row + reach) + 2), min(self.width_px, int(column + reach) + 2)
        return slice(top, max(top, bottom)), slice(left, max(left, right))

    def at_most(self, height_px: int) -> tuple[int, int]:
        """Shape (H, W) of the same picture, no higher than `height_px`: for layers without fine detail."""
        height = min(self.height_px, height_px)
        return height, max(1, round(self.width_px * height / self.height_px))


def aim(rng: np.random.Generator, camera: Camera, anatomy: Anatomy, photo_height_px: int) -> View:
    """Points the camera between fovea and disc, or at the disc for a crop, never twice quite alike."""
    width, height = camera.size_px(photo_height_px)
    disc = np.asarray(anatomy.disc_centre_deg)
    if camera.frame is Frame.FILLED:
        radius, gaze = float("inf"), disc + rng.normal(0, 0.05 * camera.field_deg, 2)
        px_per_deg = height / camera.field_deg
    else:
        fill = 0.985 if camera.frame is Frame.WHOLE else 1.17
        radius = fill * height / 2
        px_per_deg = 2 * radius / camera.field_deg
        gaze = disc * rng.uniform(0.12, 0.55) + rng.normal(0, 1.1, 2)
    mirror = -1 if anatomy.eye is Eye.OS else 1
    return View(width, height, px_per_deg, (float(gaze[0]), float(gaze[1])), radius, mirror)
