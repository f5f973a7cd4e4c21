from __future__ import annotations

import io
import struct
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image

from glaucoma.datasets.image_guard import MOST_PIXELS, refused_undecoded

PICTURE = np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)


def encoded(kind: str) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(PICTURE).save(buffer, kind)
    return buffer.getvalue()


def png_of(width: int, height: int) -> bytes:
    """A PNG whose header is right and states any size."""
    head = b"IHDR" + struct.pack(">2L5B", width, height, 8, 2, 0, 0, 0)
    rest = encoded("PNG")[33:]
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">L", 13) + head + struct.pack(">L", zlib.crc32(head)) + rest


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "TIFF", "GIF", "WEBP"])
def test_a_photograph_is_let_through(kind: str) -> None:
    assert refused_undecoded(encoded(kind)) == ""


@pytest.mark.parametrize("quality", [[cv2.IMWRITE_JPEG_PROGRESSIVE, 1], [cv2.IMWRITE_JPEG_QUALITY, 10]])
def test_a_jpeg_that_states_too_many_pixels_is_refused(quality: list[int]) -> None:
    content = bytearray(cv2.imencode(".jpg", PICTURE, quality)[1].tobytes())
    at = max(content.find(b"\xff\xc0"), content.find(b"\xff\xc2"))
    content[at + 5 : at + 9] = struct.pack(">2H", 60_000, 50_000)
    assert "50000 x 60000 pixels; at most 134 megapixels" in refused_undecoded(bytes(content))


def test_a_png_that_states_too_many_pixels_is_refused() -> None:
    assert "states a picture of 40000 x 40000" in refused_undecoded(png_of(40_000, 40_000))
    assert refused_undecoded(png_of(1 << 14, MOST_PIXELS >> 14)) == ""


@pytest.mark.parametrize("kind", ["BMP", "GIF", "TIFF"])
def test_other_kinds_that_state_too_many_pixels_are_refused(kind: str) -> None:
    content = encoded(kind)
    for form in ("<", ">"):
        for width in ("H", "L"):
            old = struct.pack(form + width, 32)
            new = struct.pack(form + width, 65_000 if width == "H" else 100_000)
            content = content.replace(old + struct.pack(form + width, 24), new * 2)
    if kind == "TIFF":
        content = content.replace(struct.pack("<2HLL", 256, 4, 1, 32), struct.pack("<2HLL", 256, 4, 1, 100_000))
        content = content.replace(struct.pack("<2HLL", 256, 3, 1, 32), struct.pack("<2HLL", 256, 4, 1, 100_000))
        content = content.replace(struct.pack("<2HLL", 257, 3, 1, 24), struct.pack("<2HLL", 257, 4, 1, 100_000))
        content = content.replace(struct.pack("<2HLL", 257, 4, 1, 24), struct.pack("<2HLL", 257, 4, 1, 100_000))
    assert "pixels" in refused_undecoded(content)


@pytest.mark.parametrize("chunk", [b"IDAT", b"IEND"])
def test_a_png_whose_chunk_ends_behind_the_file_is_refused(chunk: bytes) -> None:
    content = bytearray(encoded("PNG"))
    at = content.find(chunk)
    content[at - 4 : at] = struct.pack(">L", 2_000_000_000)
    assert "a chunk of the PNG file ends behind its" in refused_undecoded(bytes(content))


@pytest.mark.parametrize(
    "content", [b"", b"text", b"\xff\xd8", b"\x89PNG\r\n\x1a\n", b"BM" + bytes(60), encoded("JPEG")[:20]]
)
def test_what_cannot_be_followed_is_left_to_the_decoder(content: bytes) -> None:
    assert refused_undecoded(content) == ""


def test_a_kind_whose_size_nobody_looks_at_is_refused() -> None:
    for ending in (".hdr", ".pfm", ".pam"):
        picture = PICTURE.astype(np.float32) if ending != ".pam" else PICTURE
        content = cv2.imencode(ending, picture)[1].tobytes()
        assert cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR_RGB) is not None
        assert "of a kind that is not read" in refused_undecoded(content)
