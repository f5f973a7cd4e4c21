"""Images to attack with: small sound ones of the formats that datasets come in, damaged."""

from __future__ import annotations

import io
import random
from functools import cache

import cv2
import numpy as np
from PIL import Image

from tests.fuzz.mutations import mutated


def image_input(rng: random.Random) -> tuple[str, bytes]:
    """A file name that suits the undamaged image, and the damaged bytes."""
    name, content = rng.choice(_images())
    return name, mutated(content, [other for _, other in _images()], rng)


@cache
def _images() -> tuple[tuple[str, bytes], ...]:
    drawn = np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)
    colour = cv2.GaussianBlur(drawn, (0, 0), 2)
    grey = np.where(colour[..., 0] > 128, 255, 0).astype(np.uint8)
    made: list[tuple[str, bytes]] = []

    def add(name: str, picture: Image.Image, **options: object) -> None:
        buffer = io.BytesIO()
        picture.save(buffer, **options)  # type: ignore[arg-type]
        made.append((name, buffer.getvalue()))

    exif = Image.Exif()
    exif[0x0112] = 6
    rgb, levels = Image.fromarray(colour), Image.fromarray(grey)
    add("a.jpg", rgb, format="JPEG", exif=exif)
    add("b.jpg", rgb, format="JPEG", progressive=True)
    add("c.jpg", levels, format="JPEG")
    add("d.jpg", rgb.convert("CMYK"), format="JPEG")
    add("a.png", rgb, format="PNG")
    add("b.png", levels, format="PNG")
    add("c.png", rgb.quantize(8), format="PNG")
    add("d.png", Image.fromarray(grey.astype(np.uint16) * 257), format="PNG")
    add("e.png", levels.convert("1"), format="PNG")
    add("f.png", rgb.convert("RGBA"), format="PNG")
    add("a.bmp", rgb, format="BMP")
    add("b.bmp", levels, format="BMP")
    add("c.bmp", rgb.quantize(8), format="BMP")
    for number, compression in enumerate(("raw", "tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg")):
        add(f"{number}.tif", rgb, format="TIFF", compression=compression)
    add("g.tif", Image.fromarray(grey.astype(np.uint16) * 257), format="TIFF")
    add("a.gif", rgb.quantize(8), format="GIF")
    add("b.gif", levels, format="GIF")
    return tuple(made)
