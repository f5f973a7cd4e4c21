"""What is measured on one photograph: light, colour, sharpness, and how much of it is retina."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from glaucoma.datasets.field_of_view import NoFieldError, find_field
from glaucoma.datasets.imagefile import Pixels

SIDE_PX = 512
"""Photographs are measured with their longer side at this, so that cameras can be compared."""
LIT_ABOVE = 20
"""A pixel whose brightest channel is above this, of 255, is lit; the camera's surround is below."""
CLIPPED_FROM = 250
"""A pixel with a channel at or above this has lost what was brighter."""
_GREY_TOLERANCE = 2
_EDGE_PX = 3
"""Sharpness is not measured nearer than this to the dark: the edge of the field would count as detail."""
_CELLS = 16
"""Illumination is compared between so many cells along the longer side."""
_FEWEST_CELLS = 12
_FIELD_STEP = 4
"""The field of view is looked for on every fourth pixel of the working copy: exact to a hundredth of its side."""
_LEVELS = np.arange(256, dtype=np.float64)


class Measured(StrEnum):
    """A column of `checks.csv` that holds a number measured on the photograph."""

    BRIGHTNESS = "brightness"
    """Mean grey of the lit pixels in the field of view, 0 to 255; "lit" means these in all that follows."""
    CONTRAST = "contrast"
    """Standard deviation of the lit pixels' grey."""
    SHARPNESS = "sharpness"
    """Variance of the Laplacian of the grey picture at 256 px, over lit pixels away from the dark."""
    ENTROPY = "entropy"
    """Shannon entropy of the lit pixels' grey, bits."""
    LIT_SHARE = "lit_share"
    """Share of the photograph that is not near-black, in the field of view or not."""
    REDNESS = "redness"
    """Mean a of CIE LAB over the lit pixels, 128 = neutral."""
    YELLOWNESS = "yellowness"
    """Mean b of CIE LAB over the lit pixels, 128 = neutral."""
    EVENNESS = "evenness"
    """Illumination: the darkest tenth of the field's cells against the middle one, 0 to 1."""
    CLIPPED_SHARE = "clipped_share"
    """Share of the lit pixels with a channel at its upper end."""
    FIELD_SHARE = "field_share"
    """Share of the photograph that the field of view takes: 1 for a crop around the disc."""
    LONG_SIDE_PX = "long_side_px"


def measure_photograph(photograph: Pixels) -> dict[str, Any]:
    """Light, colour and sharpness of an RGB photograph, (H, W, 3) uint8; what cannot be measured is left out.

    Measured once, on a copy whose longer side is 512 px; colour and field on every fourth pixel of that copy in each
    direction.
    """
    small = at_working_size(photograph)
    red, green, blue = cv2.split(small)
    brightest = cv2.max(cv2.max(red, green), blue)
    darkest = cv2.min(cv2.min(red, green), blue)
    _, bright = cv2.threshold(brightest, LIT_ABOVE, 1, cv2.THRESH_BINARY)
    share, field = _field(small)
    lit = cv2.bitwise_and(bright, field)
    grey = np.asarray(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY), dtype=np.uint8)
    lit_pixels = cv2.countNonZero(lit)
    facts: dict[str, Any] = {
        "channels": 1 if cv2.minMaxLoc(cv2.subtract(brightest, darkest))[1] <= _GREY_TOLERANCE else 3,
        Measured.LIT_SHARE: cv2.countNonZero(bright) / bright.size,
        Measured.FIELD_SHARE: share,
    }
    if lit_pixels:
        histogram = np.asarray(cv2.calcHist([grey], [0], lit, [256], [0, 256]), dtype=np.float64).ravel()
        redness, yellowness = _colour(small[::4, ::4], lit[::4, ::4])
        _, clipped = cv2.threshold(brightest, CLIPPED_FROM - 1, 1, cv2.THRESH_BINARY)
        facts |= _of_histogram(histogram)
        facts |= {
            Measured.REDNESS: redness,
            Measured.YELLOWNESS: yellowness,
            Measured.CLIPPED_SHARE: cv2.countNonZero(cv2.bitwise_and(clipped, lit)) / lit_pixels,
            Measured.SHARPNESS: _sharpness(grey, lit),
            Measured.EVENNESS: _evenness(grey, field),
        }
    return {str(name): value for name, value in facts.items()}


def at_working_size(photograph: Pixels) -> Pixels:
    """The photograph, (H, W) or (H, W, 3), with its longer side at 512 px.

    Halved by averaging 2 x 2 pixels for as long as that leaves 512 or more, then interpolated the last bit. Averaging
    straight to the target costs six times as much and gives the same numbers within a few per cent; so does a first
    halving by the JPEG decoder (`read_to_measure`).
    """
    height, width = photograph.shape[:2]
    factor = SIDE_PX / max(height, width)
    target = (max(1, round(width * factor)), max(1, round(height * factor)))
    while max(photograph.shape[:2]) >= 2 * SIDE_PX and min(photograph.shape[:2]) >= 2:
        half_height, half_width = photograph.shape[0] // 2, photograph.shape[1] // 2
        even = photograph[: 2 * half_height, : 2 * half_width]
        photograph = np.asarray(cv2.resize(even, (half_width, half_height), interpolation=cv2.INTER_AREA), np.uint8)
    return np.asarray(cv2.resize(photograph, target, interpolation=cv2.INTER_LINEAR), dtype=np.uint8)


def _field(small: Pixels) -> tuple[float | None, Pixels]:
    """The field's share of the picture, and the field as 1 and 0; None, and all of it, where no field can be found.

    Without it a surround that is not quite black would count as lit in an overexposed photograph.
    """
    whole = np.ones(small.shape[:2], np.uint8)
    try:
        found = find_field(small[::_FIELD_STEP, ::_FIELD_STEP])
    except NoFieldError:
        return None, whole
    if not found.has_border:
        return found.share, whole
    drawn = np.zeros_like(whole)
    cv2.fillConvexPoly(drawn, np.rint(found.outline * _FIELD_STEP).astype(np.int32), 1)
    return found.share, drawn


def _of_histogram(histogram: NDArray[np.float64]) -> dict[str, float | int | None]:
    """Mean, spread, entropy and range of the grey levels that a histogram (256,) counts; it counts some."""
    share = histogram / histogram.sum()
    mean = float(_LEVELS @ share)
    filled = share[share > 0]
    cumulative = np.cumsum(share)
    return {
        Measured.BRIGHTNESS: mean,
        Measured.CONTRAST: float(np.sqrt(((_LEVELS - mean) ** 2) @ share)),
        Measured.ENTROPY: max(0.0, float(-(filled * np.log2(filled)).sum())),
        "grey_low": int(np.searchsorted(cumulative, 0.01)),
        "grey_high": int(np.searchsorted(cumulative, 0.99)),
    }


def _colour(picture: Pixels, lit: Pixels) -> tuple[float | None, float | None]:
    """Mean a and b of CIE LAB; None where nothing is lit."""
    lit = np.ascontiguousarray(lit)
    if not cv2.countNonZero(lit):
        return None, None
    mean = cv2.mean(cv2.cvtColor(np.ascontiguousarray(picture), cv2.COLOR_RGB2LAB), mask=lit)
    return float(mean[1]), float(mean[2])


def _sharpness(grey: Pixels, lit: Pixels) -> float | None:
    """None where nothing lit lies away from the dark.

    At half the working size and with fractions of grey levels: at 512 px the rounding to whole levels alone has a
    variance of 1.7, and hides how much blurred a blurred photograph is.
    """
    size = (max(1, grey.shape[1] // 2), max(1, grey.shape[0] // 2))
    half = cv2.resize(grey.astype(np.float32), size, interpolation=cv2.INTER_AREA)
    inner = cv2.resize(lit, size, interpolation=cv2.INTER_NEAREST)
    inner = cv2.erode(inner, np.ones((2 * _EDGE_PX + 1, 2 * _EDGE_PX + 1), np.uint8))
    if not cv2.countNonZero(inner):
        return None
    return float(cv2.meanStdDev(cv2.Laplacian(half, cv2.CV_32F), mask=inner)[1].item() ** 2)


def _evenness(grey: Pixels, field: Pixels) -> float | None:
    """None with fewer than 12 cells that lie wholly in the field.

    The darkest tenth is held against the middle, not the brightest: a bright disc is no unevenness.
    """
    height, width = grey.shape
    cell = max(height, width) / _CELLS
    size = (max(1, round(width / cell)), max(1, round(height / cell)))
    means = cv2.resize(grey, size, interpolation=cv2.INTER_AREA)
    whole = cv2.resize(field * np.uint8(255), size, interpolation=cv2.INTER_AREA) >= 254
    cells = np.sort(means[whole])
    if cells.size < _FEWEST_CELLS:
        return None
    return float(cells[cells.size // 10]) / max(1.0, float(cells[cells.size // 2]))
