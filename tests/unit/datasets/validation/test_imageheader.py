from __future__ import annotations

import io
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from glaucoma.datasets.imageheader import ImageHeader, image_kind, read_header


@pytest.mark.parametrize(
    ("mode", "ending", "kind", "channels", "bits"),
    [
        ("RGB", "jpg", "jpeg", 3, 8),
        ("L", "jpg", "jpeg", 1, 8),
        ("RGB", "png", "png", 3, 8),
        ("RGBA", "png", "png", 4, 8),
        ("P", "png", "png", 3, 1),
        ("1", "png", "png", 1, 1),
        ("I;16", "png", "png", 1, 16),
        ("RGB", "bmp", "bmp", 3, 8),
        ("L", "tif", "tiff", 1, 8),
        ("I;16", "tif", "tiff", 1, 16),
        ("P", "gif", "gif", 3, 8),
        ("RGB", "webp", "webp", 3, 8),
    ],
)
def test_kind_size_channels_and_bits_are_read_without_decoding(
    tmp_path: Path, mode: str, ending: str, kind: str, channels: int, bits: int
) -> None:
    path = tmp_path / f"a.{ending}"
    Image.new(mode, (37, 23)).save(path)
    assert read_header(path) == ImageHeader(kind, 37, 23, channels, bits)


def test_a_thumbnail_inside_the_file_is_not_taken_for_the_photograph(tmp_path: Path) -> None:
    thumbnail = io.BytesIO()
    Image.new("RGB", (8, 8)).save(thumbnail, "JPEG")
    exif = Image.Exif()
    exif[0x010E] = "x" * 200
    path = tmp_path / "a.jpg"
    Image.new("RGB", (64, 48)).save(path, exif=exif.tobytes() + thumbnail.getvalue())
    found = read_header(path)
    assert found is not None
    assert (found.width, found.height) == (64, 48)


def test_a_progressive_jpeg_is_read_too(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    cv2.imwrite(str(path), np.zeros((30, 50, 3), np.uint8), [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])
    assert read_header(path) == ImageHeader("jpeg", 50, 30, 3, 8)


def test_what_is_no_image_has_no_header(tmp_path: Path) -> None:
    for content in (b"", b"BM is how this text begins", b"name,label\n", b"PK\x03\x04"):
        (tmp_path / "a.jpg").write_bytes(content)
        assert read_header(tmp_path / "a.jpg") is None


@settings(deadline=None)
@given(st.binary(max_size=200), st.sampled_from([b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"II*\0", b"GIF89a", b""]))
def test_no_bytes_make_it_fail(tmp_path_factory: pytest.TempPathFactory, rest: bytes, start: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "hostile"
    path.write_bytes(start + rest)
    found = read_header(path)
    assert (found is None) == (image_kind((start + rest)[:32]) == "")
