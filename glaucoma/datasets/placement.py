"""Laying a mask on its photograph: turned as EXIF turns that, cut to a stereo half, or refused with the reason."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from glaucoma.datasets.imagefile import StoredSize
from glaucoma.datasets.masks import CanonicalMask
from glaucoma.errors import DatasetError
from glaucoma.schema import SourcePart

_Picture = TypeVar("_Picture", bound=NDArray[Any])

AS_STORED = 1
"""The EXIF orientation that turns nothing."""


def placed(mask: CanonicalMask, photograph: StoredSize, part: SourcePart) -> CanonicalMask:
    """`mask` in the pixels of the photograph as people see it, or of the half of it that `part` names.

    A mask of the turned photograph's size is taken as it lies; one of the size that the photograph has in its file, and
    that differs, is turned in the same way. Where EXIF turns a photograph and both sizes are equal (it stands on its
    head, is mirrored, or is square), nothing tells on which of the two the mask was drawn. For a half, a mask of the
    whole width is cut with the photograph, and one of half the width belongs to the half.

    Raises:
        DatasetError: The mask fits in none of these ways, or in two that give different masks.
    """
    size = mask.values.shape
    whole, stored = photograph.shown, (photograph.height, photograph.width)
    if photograph.orientation != AS_STORED and whole == stored and size == whole:
        raise DatasetError(
            "it has the size of its photograph both as it is stored and as EXIF's orientation "
            f"{photograph.orientation} turns it, and nothing tells on which of the two it was drawn",
            remedy="turn the photograph's pixels and take the orientation out of its file",
        )
    if size == whole:
        return half_of(mask, part)
    if size == stored:
        return half_of(replace(mask, values=turned(mask.values, photograph.orientation)), part)
    wanted = (whole[0], half_width(whole[1])) if part is not SourcePart.WHOLE else whole
    if size == wanted:
        return mask
    found = f"it has {size[1]} x {size[0]} pixels, its photograph {wanted[1]} x {wanted[0]}"
    if size == wanted[::-1]:
        raise DatasetError(f"{found}: one of the two lies on its side, and nothing tells which way it was turned")
    raise DatasetError(found)


def half_of(mask: CanonicalMask, part: SourcePart) -> CanonicalMask:
    """The half of the mask that `part` names, or the mask."""
    return mask if part is SourcePart.WHOLE else replace(mask, values=cut_half(mask.values, part))


def half_width(width: int) -> int:
    """Width of each half of a side-by-side pair; where the width is odd the middle column belongs to neither."""
    return width // 2


def cut_half(picture: _Picture, part: SourcePart) -> _Picture:
    """The left or the right half of an (H, W) or (H, W, C) picture, in memory of its own.

    Raises:
        DatasetError: The picture is narrower than two pixels.
    """
    width = half_width(picture.shape[1])
    if width < 1:
        raise DatasetError(f"A picture {picture.shape[1]} pixels wide has no halves", expected="a stereo pair")
    half = picture[:, :width] if part is SourcePart.LEFT else picture[:, picture.shape[1] - width :]
    return np.ascontiguousarray(half)  # type: ignore[return-value]


def turned(picture: _Picture, orientation: int) -> _Picture:
    """A picture as it lies in its file, turned as an EXIF orientation from 1 to 8 says.

    Source: EXIF 2.32, tag 0x0112: where row 0 and column 0 of the stored picture are to be seen.
    """
    turns = {
        1: picture,
        2: np.fliplr(picture),
        3: np.rot90(picture, 2),
        4: np.flipud(picture),
        5: np.swapaxes(picture, 0, 1),
        6: np.rot90(picture, -1),
        7: np.swapaxes(np.rot90(picture, 2), 0, 1),
        8: np.rot90(picture, 1),
    }
    return np.ascontiguousarray(turns[orientation])  # type: ignore[return-value]
