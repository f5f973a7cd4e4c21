from __future__ import annotations

import io

import cv2
import numpy as np
import pytest
from PIL import Image

from glaucoma.datasets.png import mask_png, photograph_png


def test_a_photograph_comes_back_from_its_png_as_it_was() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (37, 53, 3), dtype=np.uint8)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(photograph_png(picture)))), picture)


@pytest.mark.parametrize("shape", [(1, 1), (37, 53), (600, 700)])
def test_a_mask_comes_back_from_its_png_as_8_bit_grey(shape: tuple[int, int]) -> None:
    mask = cv2.circle(np.zeros(shape, np.uint8), (shape[1] // 2, shape[0] // 3), min(shape) // 5, 1, -1)
    cv2.circle(mask, (shape[1] // 2, shape[0] // 3), min(shape) // 9, 2, -1)
    image = Image.open(io.BytesIO(mask_png(mask)))
    assert image.mode == "L"
    assert np.array_equal(np.asarray(image), mask)


def test_a_large_mask_is_written_without_filters() -> None:
    """A decoder undoes filters byte by byte; rows without one are copied whole."""
    import zlib

    content = mask_png(cv2.circle(np.zeros((600, 700), np.uint8), (300, 300), 90, 2, -1))
    start = content.index(b"IDAT")
    length = int.from_bytes(content[start - 4 : start], "big")
    rows = np.frombuffer(zlib.decompress(content[start + 4 : start + 4 + length]), np.uint8).reshape(600, 701)
    assert not rows[:, 0].any()
