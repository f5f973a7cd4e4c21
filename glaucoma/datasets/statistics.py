"""What is measured on each photograph and its mask, in one reading of both files."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from glaucoma.datasets.imagefile import Pixels, UnreadableImageError, ordered_map, read_mask_file, read_photograph
from glaucoma.schema import Column, MaskValue, StructureState

SIDE_PX = 512
"""Photographs are measured with their longer side at this, so that cameras can be compared."""
LIT_ABOVE = 20
"""A pixel whose brightest channel is above this, of 255, is lit; the camera's surround is below."""
_GREY_TOLERANCE = 2
_MAX_OPEN_CUP_SHARE = 0.5


class Measured(StrEnum):
    """A column of `checks.csv` that holds a number measured on the photograph."""

    BRIGHTNESS = "brightness"
    """Mean grey of the lit pixels, 0 to 255."""
    CONTRAST = "contrast"
    """Standard deviation of the lit pixels' grey."""
    SHARPNESS = "sharpness"
    """Variance of the Laplacian of the grey picture at 512 px."""
    ENTROPY = "entropy"
    """Shannon entropy of the lit pixels' grey, bits."""
    LIT_SHARE = "lit_share"
    """Share of the photograph that is not near-black."""
    REDNESS = "redness"
    """Mean a of CIE LAB over the lit pixels, 128 = neutral."""
    LONG_SIDE_PX = "long_side_px"


@dataclass(frozen=True)
class Facts:
    """One image's row of `checks.csv`: None where there is nothing to measure, with the reason in `problem`."""

    image_id: str
    readable: bool = False
    problem: str = ""
    sha256_matches: bool | None = None
    measured_width: int | None = None
    measured_height: int | None = None
    size_matches: bool | None = None
    short_side_px: int | None = None
    long_side_px: int | None = None
    channels: int | None = None
    brightness: float | None = None
    contrast: float | None = None
    sharpness: float | None = None
    entropy: float | None = None
    lit_share: float | None = None
    redness: float | None = None
    mask_readable: bool | None = None
    mask_size_matches: bool | None = None
    mask_values_ok: bool | None = None
    cup_inside_disc: bool | None = None
    mask_states_ok: bool | None = None
    disc_parts: int | None = None
    vertical_cdr: float | None = None


def measure_dataset(
    dataset: Path, manifest: pd.DataFrame, *, workers: int | None = None
) -> Generator[Facts, None, None]:
    """The facts of every row of `manifest`, in its order."""
    rows = [{str(k): str(v) for k, v in row.items()} for row in manifest.to_dict("records")]
    return ordered_map(lambda row: measure_row(dataset, row), rows, workers=workers)


def measure_row(dataset: Path, row: dict[str, str]) -> Facts:
    """The facts of one manifest row; what cannot be read is said in `problem` and measured no further."""
    image_id = row[Column.IMAGE_ID]
    try:
        photograph = read_photograph(dataset / row[Column.IMAGE])
    except UnreadableImageError as error:
        return Facts(image_id, problem=str(error))
    height, width = photograph.pixels.shape[:2]
    facts = Facts(
        image_id,
        readable=True,
        sha256_matches=photograph.sha256 == row[Column.SHA256],
        measured_width=width,
        measured_height=height,
        size_matches=(str(width), str(height)) == (row[Column.WIDTH], row[Column.HEIGHT]),
        short_side_px=min(height, width),
        long_side_px=max(height, width),
    )
    measured = asdict(facts) | measure_photograph(photograph.pixels)
    if row[Column.MASK]:
        try:
            mask = read_mask_file(dataset / row[Column.MASK]).pixels
        except UnreadableImageError as error:
            return Facts(**measured | {"mask_readable": False, "problem": str(error)})
        measured |= measure_mask(mask, (height, width), row[Column.DISC_STATE], row[Column.CUP_STATE])
    return Facts(**measured)


def measure_photograph(photograph: Pixels) -> dict[str, float | int | None]:
    """Colour and sharpness of an RGB photograph (H, W, 3); None for what a photograph without a lit pixel has not."""
    small = _at_working_size(photograph)
    brightest = np.maximum(np.maximum(small[..., 0], small[..., 1]), small[..., 2])
    darkest = np.minimum(np.minimum(small[..., 0], small[..., 1]), small[..., 2])
    lit = np.asarray(brightest > LIT_ABOVE, dtype=np.uint8)
    grey = np.asarray(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY), dtype=np.uint8)
    lit_pixels = cv2.countNonZero(lit)
    facts: dict[str, float | int | None] = {
        "channels": 1 if int((brightest - darkest).max()) <= _GREY_TOLERANCE else 3,
        Measured.SHARPNESS: float(cv2.meanStdDev(cv2.Laplacian(grey, cv2.CV_64F))[1].item() ** 2),
        Measured.LIT_SHARE: lit_pixels / lit.size,
    }
    if lit_pixels:
        mean, deviation = cv2.meanStdDev(grey, mask=lit)
        lab = cv2.cvtColor(small, cv2.COLOR_RGB2LAB)
        histogram = cv2.calcHist([grey], [0], lit, [256], [0, 256]).ravel()
        facts |= {
            Measured.BRIGHTNESS: float(mean.item()),
            Measured.CONTRAST: float(deviation.item()),
            Measured.ENTROPY: _entropy(np.asarray(histogram, dtype=np.float64)),
            Measured.REDNESS: float(cv2.mean(lab, mask=lit)[1]),
        }
    return {str(name): value for name, value in facts.items()}


def measure_mask(mask: Pixels, photograph_shape: tuple[int, int], disc: str, cup: str) -> dict[str, bool | int | float]:
    """What a canonical mask (H, W) uint8 shows, against the photograph's shape and the manifest's disc and cup states.

    The cup counts as inside the disc where some rim is there and at most half of the cup's outline borders on the
    background: a rim may vanish on one side in advanced glaucoma, not all around.
    """
    histogram = cv2.calcHist([mask], [0], None, [256], [0, 256]).ravel()
    cup_pixels, rim_pixels = int(histogram[MaskValue.CUP]), int(histogram[MaskValue.DISC])
    facts: dict[str, bool | int | float] = {
        "mask_readable": True,
        "mask_size_matches": mask.shape == photograph_shape,
        "mask_values_ok": not bool(histogram[len(MaskValue) :].any()),
        "mask_states_ok": _state_fits(disc, cup_pixels + rim_pixels) and _state_fits(cup, cup_pixels),
    }
    whole_disc = np.asarray(mask > 0, dtype=np.uint8)
    facts["disc_parts"] = int(cv2.connectedComponents(whole_disc, connectivity=8)[0]) - 1
    if cup_pixels:
        facts["cup_inside_disc"] = rim_pixels > 0 and _open_share(mask, whole_disc) <= _MAX_OPEN_CUP_SHARE
        facts["vertical_cdr"] = _height(mask == MaskValue.CUP) / _height(whole_disc > 0)
    return facts


def _at_working_size(photograph: Pixels) -> Pixels:
    height, width = photograph.shape[:2]
    factor = SIDE_PX / max(height, width)
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    how = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(photograph, size, interpolation=how), dtype=np.uint8)


def _entropy(histogram: NDArray[np.float64]) -> float:
    share = histogram[histogram > 0] / histogram.sum()
    return float(-(share * np.log2(share)).sum())


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


def _height(region: NDArray[np.bool_]) -> int:
    rows = np.flatnonzero(region.any(axis=1))
    return int(rows[-1] - rows[0] + 1)
