"""Masks in canonical values: 0 background, 1 disc (the rim), 2 cup; the cup lies in the disc by construction."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from glaucoma.datasets.image_guard import MOST_PIXELS, PILLOW_ERRORS
from glaucoma.errors import DatasetError
from glaucoma.schema import MaskValue, StructureState

Mask = NDArray[np.uint8]

_LEVELS = (0, 128, 255)
_TOLERANCE = 30
"""How far a grey value may lie from 0, 128 or 255: masks kept as JPEG wander by some twenty."""
_NEAREST = np.abs(np.arange(256)[:, None] - np.asarray(_LEVELS)).argmin(axis=1).astype(np.uint8)
"""Grey value -> the level it lies nearest to: 0 dark, 1 middle, 2 bright."""
_FEW = 4
"""A mask of so few values was not smeared by JPEG: a 1 beside a 255 in it is a class number, and no dark grey."""
_EXPECTED = "grey values 0/1/2 (background, disc, cup), 0/255 (disc only), or 0/128/255 in either polarity"


@dataclass(frozen=True)
class CanonicalMask:
    """A mask in canonical values, and whether its source can say anything of the cup.

    Args:
        values: (H, W) uint8 of `MaskValue`.
        cup_stated: False for a mask that marks one structure only: that no cup is in it then means nothing.
    """

    values: Mask
    cup_stated: bool = True

    def __post_init__(self) -> None:
        if self.values.ndim != 2 or self.values.dtype != np.uint8 or self.values.max(initial=0) > MaskValue.CUP:
            raise DatasetError(
                f"A mask of shape {self.values.shape} and type {self.values.dtype} with values up to "
                f"{self.values.max(initial=0)} is not canonical",
                expected="(height, width) uint8 with 0 background, 1 disc, 2 cup",
            )

    @property
    def disc_state(self) -> StructureState:
        return StructureState.PRESENT if self.values.max(initial=0) > 0 else StructureState.ABSENT

    @property
    def cup_state(self) -> StructureState:
        if self.values.max(initial=0) == MaskValue.CUP:
            return StructureState.PRESENT
        return StructureState.ABSENT if self.cup_stated else StructureState.NOT_VISIBLE


def read_grey(path: Path) -> Mask:
    """(H, W) uint8 grey values of a mask file; a palette's grey or, where it is coloured, its index numbers.

    Raises:
        DatasetError: No readable image, or colours that are no grey.
    """
    from PIL import Image

    try:
        with Image.open(path) as image:
            if image.width * image.height > MOST_PIXELS:
                raise ValueError(f"{image.width} x {image.height} pixels; at most {MOST_PIXELS // 10**6} megapixels")
            image.load()
            if image.mode == "P" and not _grey_palette(image):
                return np.asarray(image, dtype=np.uint8)
            if image.mode in ("1", "L", "P"):
                return np.asarray(image.convert("L"), dtype=np.uint8)
            if image.mode in ("I;16", "I;16B", "I"):
                return _from_16_bit(np.asarray(image), path)
            colour = np.asarray(image.convert("RGB"), dtype=np.int16)
    except (*PILLOW_ERRORS, Image.DecompressionBombError) as error:
        raise DatasetError(
            f"The mask {path.name} cannot be read ({str(error)[:120]})", expected="a readable image"
        ) from error
    if int(np.ptp(colour, axis=2).max(initial=0)) > _TOLERANCE:
        raise DatasetError(f"The mask {path.name} is coloured", expected=_EXPECTED)
    return np.asarray(colour[..., 0], dtype=np.uint8)


def canonical(grey: Mask, name: str) -> CanonicalMask:
    """Translates grey values by what they are; the rules, in this order:

    - only 0, 1 and 2: taken as they are;
    - near 0 and 255 only: one structure, the disc, which is the value that most of the outermost pixels have not;
    - near 0, 128 and 255: background is the one of 0 and 255 that most of the outermost pixels have, 128 the rim, the
      other end the cup.

    Args:
        grey: (H, W) uint8.
        name: For the message.

    Raises:
        DatasetError: Other values, or a border that is mostly rim.
    """
    present = _present(grey)
    if present.size == 0:
        raise DatasetError(f"The mask {name} has no pixels", expected=_EXPECTED)
    if present.max() <= MaskValue.CUP:
        return CanonicalMask(grey.astype(np.uint8))
    mixed = present.size <= _FEW and bool(np.isin(present, [MaskValue.DISC, MaskValue.CUP]).any())
    if mixed or not _near_levels(present):
        shown = ", ".join(str(value) for value in present[:8]) + (", .." if present.size > 8 else "")
        raise DatasetError(f"The mask {name} has the grey values {shown}", expected=_EXPECTED)
    nearest = _translated(grey, _NEAREST)
    border = np.concatenate([nearest[0], nearest[-1], nearest[:, 0], nearest[:, -1]])
    background = int(np.bincount(border, minlength=3).argmax())
    if background == 1:
        raise DatasetError(f"The mask {name} has mostly the middle grey at its border", expected=_EXPECTED)
    rim_marked = bool((nearest == 1).any())
    return three_level(nearest, background=background) if rim_marked else _disc_only(nearest != background)


def three_level(level: Mask, *, background: int) -> CanonicalMask:
    """A mask of levels 0 dark, 1 middle, 2 bright: middle is the rim, the end that is not `background` the cup."""
    values = np.zeros(256, np.uint8)
    values[:3] = (MaskValue.CUP, MaskValue.DISC, MaskValue.CUP)
    values[background] = MaskValue.BACKGROUND
    return CanonicalMask(_translated(level, values))


def inverted_three_level(grey: Mask, name: str) -> CanonicalMask:
    """A mask that is known to hold 0 for the cup, 128 for the rim and 255 for background (REFUGE's BMP files).

    Raises:
        DatasetError: A value that lies far from all three.
    """
    if not _near_levels(_present(grey)):
        raise DatasetError(f"The mask {name} has other grey values", expected="0 (cup), 128 (rim), 255 (background)")
    return three_level(_translated(grey, _NEAREST), background=2)


def one_structure(grey: Mask, name: str) -> NDArray[np.bool_]:
    """(H, W): the pixels of the one structure that a mask of two values marks, in either polarity.

    Two small numbers (0 and 1), or near 0 and 255; the structure is the one that most of the outermost pixels have not.

    Raises:
        DatasetError: More than two levels.
    """
    present = _present(grey)
    if present.size == 2 and present.max() <= MaskValue.CUP:
        border = np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]])
        return np.asarray(grey != np.bincount(border).argmax(), np.bool_)
    values = canonical(grey, name).values
    if _present(values).size > 2:
        raise DatasetError(f"The mask {name} marks more than one structure", expected="two values: background and one")
    return np.asarray(values > 0, np.bool_)


def vertical_cdr(values: Mask) -> float | None:
    """Height of the cup over the height of the disc, in rows; None where either has no pixel.

    Args:
        values: (H, W) canonical.
    """
    disc, cup = height_px(values > 0), height_px(values == MaskValue.CUP)
    return cup / disc if disc and cup else None


def height_px(structure: NDArray[np.bool_]) -> int:
    """Rows of (H, W) from the first with a pixel to the last, both counted; 0 where it is empty."""
    places = np.flatnonzero(structure.any(axis=1))
    return int(places[-1] - places[0]) + 1 if places.size else 0


def _present(grey: Mask) -> NDArray[np.int64]:
    """The values that occur, in order. (`np.bincount` first makes eight bytes of each.)"""
    if grey.size == 0:
        return np.zeros(0, np.int64)
    return np.flatnonzero(cv2.calcHist([grey], [0], None, [256], [0, 256]))


def _translated(values: Mask, table: NDArray[np.uint8]) -> Mask:
    """`table[values]` for a table of 256."""
    return np.asarray(cv2.LUT(values, table), np.uint8)


def _near_levels(present: NDArray[np.int64]) -> bool:
    """True where every grey value that is there lies near 0, 128 or 255."""
    return bool((np.abs(present[:, None] - np.asarray(_LEVELS)).min(axis=1) <= _TOLERANCE).all())


def from_parts(disc: NDArray[np.bool_], cup: NDArray[np.bool_] | None) -> CanonicalMask:
    """One mask from two: cup pixels outside the disc are added to the disc, so that the cup always lies in it.

    Args:
        disc: (H, W), the whole disc.
        cup: (H, W), or None where the source marks no cup.
    """
    if cup is not None and cup.shape != disc.shape:
        raise DatasetError(f"The disc's mask is {disc.shape} and the cup's {cup.shape}", expected="one size")
    values = np.where(disc, MaskValue.DISC, MaskValue.BACKGROUND).astype(np.uint8)
    if cup is not None:
        values[cup] = MaskValue.CUP
    return CanonicalMask(values, cup_stated=cup is not None)


def _disc_only(disc: NDArray[np.bool_]) -> CanonicalMask:
    return from_parts(disc, None)


def _grey_palette(image: object) -> bool:
    """True where every colour that the palette image uses is a grey."""
    palette = image.getpalette() or []  # type: ignore[attr-defined]
    colours = np.asarray(palette, dtype=np.int16).reshape(-1, 3)
    used = np.unique(np.asarray(image))
    used = used[used < len(colours)]
    return bool((np.ptp(colours[used], axis=1) == 0).all()) if used.size else True


def _from_16_bit(values: NDArray[np.int64], path: Path) -> Mask:
    """Small values are class numbers; large ones are grey values of 16 bits."""
    highest = int(values.max(initial=0))
    if highest > 255:
        return (values >> 8).astype(np.uint8)
    if int(values.min(initial=0)) < 0:
        raise DatasetError(f"The mask {path.name} has negative values", expected=_EXPECTED)
    return values.astype(np.uint8)
