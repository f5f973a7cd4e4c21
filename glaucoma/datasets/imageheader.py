"""What an image file says of itself in its first bytes: kind, size, channels, bits. Nothing is decoded."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8\xff"
_START = 32
_PNG_CHANNELS = {0: 1, 2: 3, 3: 3, 4: 2, 6: 4}
"""PNG's colour type -> channels once a palette is looked up."""
_NO_FRAME = (0xC4, 0xC8, 0xCC)
"""JPEG markers between 0xC0 and 0xCF that start no frame: tables, and one that is reserved."""
_MODE_BITS = {"1": 1, "I;16": 16, "I;16B": 16, "I;16L": 16, "I": 32, "F": 32}
_PILLOW_ERRORS = (OSError, EOFError, ValueError, SyntaxError, TypeError, LookupError, struct.error, Warning)
"""What Pillow raises on hostile headers; a warning is an error where the process says so."""
KINDS = ("jpeg", "png", "bmp", "tiff", "gif", "webp")
ENDINGS = {
    ".jpg": "jpeg",
    ".jpeg": "jpeg",
    ".jpe": "jpeg",
    ".png": "png",
    ".bmp": "bmp",
    ".dib": "bmp",
    ".tif": "tiff",
    ".tiff": "tiff",
    ".gif": "gif",
    ".webp": "webp",
}
"""A name's ending, in lower case, and the kind of image that it promises."""


@dataclass(frozen=True)
class ImageHeader:
    """What a file's header says.

    Attributes:
        kind: One of `KINDS`.
        width: Pixels as stored, before any turn that EXIF asks for; None where the header cannot be followed.
        channels: As stored: 1 grey, 3 colour, 4 with transparency; a palette counts as colour.
        depth_bits: Of one channel.
    """

    kind: str
    width: int | None = None
    height: int | None = None
    channels: int | None = None
    depth_bits: int | None = None


def image_kind(start: bytes) -> str:
    """The kind of image that a file's first 32 bytes announce, or empty."""
    if start.startswith(_JPEG):
        return "jpeg"
    if start.startswith(_PNG):
        return "png"
    if start[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return "tiff"
    if start[:6] in (b"GIF87a", b"GIF89a"):
        return "gif"
    if start[:4] == b"RIFF" and start[8:12] == b"WEBP":
        return "webp"
    # BMP's two letters alone are found in texts too; the header's size that follows is a small number.
    if start[:2] == b"BM" and len(start) >= 18 and int.from_bytes(start[14:18], "little") in (12, 40, 52, 56, 108, 124):
        return "bmp"
    return ""


def read_header(path: Path) -> ImageHeader | None:
    """The header of the image at `path`; None where its first bytes are no image's.

    Raises:
        OSError: The file cannot be opened or read.
    """
    with path.open("rb") as file:
        start = file.read(_START)
        kind = image_kind(start)
        if kind == "png":
            return _png(start)
        if kind == "jpeg":
            return _jpeg(file)
    return _by_pillow(path, kind) if kind else None


def _png(start: bytes) -> ImageHeader:
    if len(start) < 26 or start[12:16] != b"IHDR":
        return ImageHeader("png")
    width, height = int.from_bytes(start[16:20], "big"), int.from_bytes(start[20:24], "big")
    return ImageHeader("png", width, height, _PNG_CHANNELS.get(start[25]), start[24])


def _jpeg(file: BinaryIO) -> ImageHeader:
    """Follows the segments to the frame's; a thumbnail inside a segment is stepped over with it."""
    file.seek(2)
    while len(marker := file.read(2)) == 2 and marker[0] == 0xFF:
        code = marker[1]
        if code == 0xFF:  # a fill byte: the marker begins one byte later
            file.seek(-1, 1)
            continue
        length = int.from_bytes(file.read(2), "big")
        if code in (0xD9, 0xDA) or length < 2:
            break
        if 0xC0 <= code <= 0xCF and code not in _NO_FRAME:
            frame = file.read(6)
            if len(frame) < 6:
                break
            height, width = int.from_bytes(frame[1:3], "big"), int.from_bytes(frame[3:5], "big")
            return ImageHeader("jpeg", width, height, frame[5], frame[0])
        file.seek(length - 2, 1)
    return ImageHeader("jpeg")


def _by_pillow(path: Path, kind: str) -> ImageHeader:
    from PIL import Image

    try:
        with Image.open(path) as image:
            bits = _MODE_BITS.get(image.mode, 8)
            channels = 3 if image.mode == "P" else len(image.getbands())
            return ImageHeader(kind, image.width, image.height, channels, bits)
    except (*_PILLOW_ERRORS, Image.DecompressionBombError):
        return ImageHeader(kind)
