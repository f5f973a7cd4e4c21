"""A page with pairs of photographs side by side, for a person to judge: one file, no network, nothing to install."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from jinja2 import Environment, StrictUndefined

from glaucoma.datasets.imagefile import ordered_map
from glaucoma.datasets.suspects_template import TEMPLATE
from glaucoma.provenance import write_bytes

_THUMBNAIL_PX = 280
_JPEG_QUALITY = 82
_REDUCED = ((8, cv2.IMREAD_REDUCED_COLOR_8), (4, cv2.IMREAD_REDUCED_COLOR_4), (2, cv2.IMREAD_REDUCED_COLOR_2))
"""A JPEG is decoded at a fraction of its size in a fraction of the time."""


@dataclass(frozen=True)
class Shown:
    """A pair on the page.

    Args:
        status: suspected or linked.
        said: What is said of the first and of the second photograph: what -> words.
        notes: What is odd.
    """

    status: str
    first: str
    second: str
    distance_bits: int
    mirrored: bool
    said: tuple[dict[str, str], dict[str, str]]
    notes: tuple[str, ...]


def write_page(
    path: Path, name: str, pairs: Sequence[Shown], totals: Mapping[str, int], pictures: Mapping[str, Path]
) -> None:
    """Writes the page of `pairs` to `path`; the same photographs give the same bytes.

    Args:
        name: The dataset's name, for the flow that takes the judgements.
        totals: Pairs of each status in all; the page says of how many it shows some.
        pictures: The photographs' files by image_id.
    """
    wanted = sorted({one for pair in pairs for one in (pair.first, pair.second)})
    thumbnails = dict(zip(wanted, ordered_map(thumbnail, [pictures[one] for one in wanted]), strict=True))
    sections = [(status, totals[status], [pair for pair in pairs if pair.status == status]) for status in totals]
    page = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True).from_string(
        TEMPLATE
    )
    text = page.render(name=name, sections=sections, thumbnails=thumbnails)
    write_bytes(path, text.encode())


def thumbnail(path: Path) -> str:
    """The photograph at `path`, 280 px at its longer side, as a data URL; empty where it cannot be decoded."""
    content = np.fromfile(path, np.uint8)
    pixels = _decoded(content)
    if pixels is None:
        return ""
    height, width = pixels.shape[:2]
    scale = min(1.0, _THUMBNAIL_PX / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    done, jpeg = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg.tobytes()).decode()}" if done else ""


def _decoded(
    content: np.ndarray[tuple[int], np.dtype[np.uint8]],
) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]] | None:
    """BGR, at the smallest of the sizes the decoder offers that is no smaller than a thumbnail."""
    for _, flag in _REDUCED:
        pixels = cv2.imdecode(content, flag)
        if pixels is None:
            return None
        if max(pixels.shape[:2]) >= _THUMBNAIL_PX:
            return np.asarray(pixels, np.uint8)
    pixels = cv2.imdecode(content, cv2.IMREAD_COLOR)
    return None if pixels is None else np.asarray(pixels, np.uint8)
