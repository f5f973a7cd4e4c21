from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from glaucoma.datasets.imagefile import StoredSize, read_photograph, stored_size
from glaucoma.datasets.masks import CanonicalMask
from glaucoma.datasets.placement import cut_half, placed, turned
from glaucoma.errors import DatasetError
from glaucoma.schema import SourcePart

WHOLE, LEFT, RIGHT = SourcePart.WHOLE, SourcePart.LEFT, SourcePart.RIGHT


def mask(height: int, width: int) -> CanonicalMask:
    values = (np.arange(height * width) % 3).astype(np.uint8).reshape(height, width)
    return CanonicalMask(values)


def photograph(path: Path, orientation: int, height: int = 24, width: int = 40) -> Path:
    """Grey values that grow along both sides, so that each of the eight turns looks different."""
    grey = np.add.outer(np.arange(height) * 6, np.arange(width) * 2).astype(np.uint8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    buffer = io.BytesIO()
    options = {"quality": 98} if path.suffix == ".jpg" else {}
    Image.fromarray(np.repeat(grey[..., None], 3, axis=2)).save(
        buffer, "JPEG" if path.suffix == ".jpg" else path.suffix[1:].upper(), exif=exif, **options
    )
    path.write_bytes(buffer.getvalue())
    return path


@pytest.mark.parametrize("ending", [".jpg", ".png", ".tiff"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_mask_is_turned_as_the_reader_turns_the_photograph(orientation: int, ending: str, tmp_path: Path) -> None:
    path = photograph(tmp_path / f"p{ending}", orientation)
    upright = photograph(tmp_path / f"u{ending}", 1)
    shown = read_photograph(path).pixels
    stored = stored_size(path)
    assert (stored.height, stored.width, stored.orientation) == (24, 40, orientation)
    assert stored.shown == shown.shape[:2]
    expected = turned(read_photograph(upright).pixels, orientation)
    assert np.abs(expected.astype(int) - shown.astype(int)).max() <= 3


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
def test_a_mask_of_the_stored_size_is_turned_and_one_of_the_shown_size_is_not(orientation: int) -> None:
    stored = StoredSize(24, 40, orientation)
    np.testing.assert_array_equal(placed(mask(24, 40), stored, WHOLE).values, turned(mask(24, 40).values, orientation))
    np.testing.assert_array_equal(placed(mask(40, 24), stored, WHOLE).values, mask(40, 24).values)


@pytest.mark.parametrize("stored", [StoredSize(24, 40, 3), StoredSize(24, 40, 2), StoredSize(30, 30, 6)])
def test_where_both_sizes_are_one_nothing_is_guessed(stored: StoredSize) -> None:
    with pytest.raises(DatasetError, match=f"orientation {stored.orientation} turns it, and nothing tells"):
        placed(mask(stored.height, stored.width), stored, WHOLE)


def test_a_mask_on_its_side_is_not_turned_without_exif() -> None:
    with pytest.raises(DatasetError, match="lies on its side, and nothing tells which way"):
        placed(mask(40, 24), StoredSize(24, 40, 1), WHOLE)
    with pytest.raises(DatasetError, match=r"it has 41 x 24 pixels, its photograph 40 x 24\.$"):
        placed(mask(24, 41), StoredSize(24, 40, 1), WHOLE)


@pytest.mark.parametrize("width", [40, 41])
def test_a_mask_of_the_whole_width_is_cut_with_the_pair_and_one_of_half_is_the_half_s(width: int) -> None:
    stored, whole, half = StoredSize(24, width, 1), mask(24, width), mask(24, 20)
    np.testing.assert_array_equal(placed(whole, stored, LEFT).values, whole.values[:, :20])
    np.testing.assert_array_equal(placed(whole, stored, RIGHT).values, whole.values[:, -20:])
    np.testing.assert_array_equal(placed(half, stored, RIGHT).values, half.values)
    with pytest.raises(DatasetError, match="it has 19 x 24 pixels, its photograph 20 x 24"):
        placed(mask(24, 19), stored, LEFT)


def test_a_picture_of_one_column_has_no_halves() -> None:
    with pytest.raises(DatasetError, match="no halves"):
        cut_half(np.zeros((4, 1)), LEFT)
