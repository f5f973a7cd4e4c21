"""Four cameras: what a site's photographs have in common, and nothing that depends on the eye."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum


class Frame(StrEnum):
    """How the round field of view sits in the picture."""

    WHOLE = "whole"
    """The whole circle on black."""
    CUT = "cut"
    """The circle is wider than the picture is high: its top and bottom are cut off."""
    FILLED = "filled"
    """No black at all: a crop around the disc."""


@dataclass(frozen=True)
class Camera:
    """A camera and the habits of those who use it.

    `relative_height` is the height of its pictures over that of the first camera's; `gain_rgb` its colour cast;
    `vignetting` the share of light lost at the field's edge; `blur_deg` the standard deviation of its point spread,
    `noise` that of its sensor noise (of full scale 1); `tab` whether a small square stands on the field's edge.
    """

    name: str
    relative_height: float
    aspect: float
    field_deg: float
    frame: Frame
    gain_rgb: tuple[float, float, float]
    exposure: float
    vignetting: float
    blur_deg: float
    noise: float
    tab: bool
    jpeg_quality: int

    def size_px(self, photo_height_px: int) -> tuple[int, int]:
        """Width and height of its pictures where the first camera's are `photo_height_px` high; even numbers."""
        height = 2 * round(photo_height_px * self.relative_height / 2)
        return 2 * round(height * self.aspect / 2), height


CAMERAS: tuple[Camera, ...] = (
    Camera("site-1", 1.0, 2124 / 2056, 45, Frame.WHOLE, (1.00, 1.00, 0.80), 1.00, 0.24, 0.035, 0.010, False, 92),
    Camera("site-2", 1634 / 2056, 1.0, 45, Frame.WHOLE, (1.04, 1.00, 1.22), 1.03, 0.20, 0.045, 0.012, True, 88),
    Camera("site-3", 0.9, 4288 / 2848, 50, Frame.CUT, (0.98, 1.04, 0.54), 0.98, 0.22, 0.065, 0.009, True, 90),
    Camera("site-4", 0.7, 4 / 3, 40, Frame.WHOLE, (0.80, 0.72, 0.80), 0.92, 0.38, 0.090, 0.018, False, 80),
)
"""In the order of sites. The first two have REFUGE's shapes: 2124 x 2056 and 1634 x 1634 pixels."""


def disc_crop(camera: Camera, field_deg: float, relative_height: float) -> Camera:
    """`camera`, its pictures cropped to a square of `field_deg` around the disc, as ACRIMA has them."""
    return replace(camera, frame=Frame.FILLED, aspect=1.0, field_deg=field_deg, relative_height=relative_height)
