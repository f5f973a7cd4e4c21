"""What an image file asks of a decoder, looked at before one is let near it.

A few hundred bytes can state a picture of a thousand million pixels, or a chunk of two gigabytes; a decoder takes the
memory first and finds out afterwards.
"""

from __future__ import annotations

import io
import struct

MOST_PIXELS = 1 << 27
"""134 megapixels, several times what any fundus camera gives."""
_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8"
_OTHER_KINDS = (b"#?RADIANCE", b"#?RGBE", b"PF", b"Pf", b"P7", b"\x76\x2f\x31\x01", b"\xff\x0a", b"\0\0\0\x0cJXL ")
"""Radiance, PFM, PAM, OpenEXR, JPEG XL: OpenCV decodes them whatever the file is called, at any size they state."""
_START_OF_SCAN = 0xDA
_BARE_MARKERS = (0x01, *range(0xD0, 0xD9))
_NO_FRAMES = (0xC4, 0xC8, 0xCC)
_UNTOLD = 1 << 16
"""A side that is over the limit, for a picture that Pillow refuses without saying how large it is."""
PILLOW_ERRORS = (OSError, EOFError, ValueError, SyntaxError, TypeError, LookupError, struct.error, Warning)
"""What Pillow raises on hostile files; a warning is an error where the process says so."""


def refused_undecoded(content: bytes) -> str:
    """Why the bytes of an image file should not be decoded, as the end of a sentence; empty where they may be.

    Where the head cannot be followed nothing is said: that is the decoder's to judge.
    """
    if content.startswith(_OTHER_KINDS) or content[4:8] == b"ftyp":
        return "is an image of a kind that is not read; expected JPEG, PNG, BMP, TIFF, WebP, PPM or JPEG 2000"
    if content.startswith(_PNG):
        if not _chunks_fit(content):
            return f"was cut short or is damaged: a chunk of the PNG file ends behind its {len(content)} bytes"
        size = struct.unpack_from(">2L", content, 16) if len(content) >= 24 else (0, 0)
    elif content.startswith(_JPEG):
        size = jpeg_size(content)
    else:
        size = _size_by_pillow(content)
    width, height = size
    if width * height > MOST_PIXELS:
        return f"states a picture of {width} x {height} pixels; at most {MOST_PIXELS // 10**6} megapixels are read"
    return ""


def _chunks_fit(content: bytes) -> bool:
    """True where every chunk up to the end chunk lies in the file; without an end chunk, up to where the file ends."""
    at = len(_PNG)
    while at + 8 <= len(content):
        length = int.from_bytes(content[at : at + 4], "big")
        if at + 8 + length > len(content):
            return False
        if content[at + 4 : at + 8] == b"IEND":
            return True
        at += length + 12
    return True


def jpeg_size(content: bytes) -> tuple[int, int]:
    """Width and height of the largest picture that a frame header before the first scan states, or (0, 0)."""
    at, largest = len(_JPEG), (0, 0)
    while at + 9 <= len(content) and content[at] == 0xFF:
        marker = content[at + 1]
        if marker == 0xFF:
            at += 1
        elif marker in _BARE_MARKERS:
            at += 2
        elif marker == _START_OF_SCAN:
            break
        else:
            if 0xC0 <= marker <= 0xCF and marker not in _NO_FRAMES:
                height, width = struct.unpack_from(">2H", content, at + 5)
                largest = max(largest, (width, height), key=lambda size: size[0] * size[1])
            at += 2 + int.from_bytes(content[at + 2 : at + 4], "big")
    return largest


def _size_by_pillow(content: bytes) -> tuple[int, int]:
    from PIL import Image

    try:
        with Image.open(io.BytesIO(content)) as image:
            return image.size
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        return (_UNTOLD, _UNTOLD)
    except PILLOW_ERRORS:
        return (0, 0)
