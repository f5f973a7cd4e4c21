"""What a look-alike tree promises, and the small pictures and tables that such trees are made of."""

from __future__ import annotations

import csv
import io
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from glaucoma.schema import Eye, Label, Split

Mask = NDArray[np.uint8]
Cell = str | int | float | None


@dataclass(frozen=True)
class ExpectedImage:
    """One photograph as its adapter must describe it.

    Args:
        mask: (H, W) canonical values that must come out, or None where there is no mask.
        mask_off_px: How many pixels of the mask may differ (0: bit for bit), for masks drawn from contours.
        others: Further attributes of `SourceImage` and their values, by name (`site`, `source_label`, ..).
    """

    label: Label
    split: Split | None = None
    patient_id: str = ""
    eye: Eye = Eye.UNKNOWN
    mask: Mask | None = None
    mask_off_px: int = 0
    others: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Expected:
    """What reading the tree must give.

    Args:
        layout: Name of the one adapter that may recognise it.
        images: Path inside the tree (POSIX) -> what is said of it. Exactly these photographs, in any order.
        outside: Image files that are neither photographs nor masks of the layout: they are set aside by name.
    """

    layout: str
    images: Mapping[str, ExpectedImage]
    outside: frozenset[str] = frozenset()


def write(root: Path, path: str, content: bytes) -> str:
    """Writes a file and its folders; gives `path` back."""
    target = root / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(content)
    return path


def photograph(name: str, width: int = 48, height: int = 40) -> NDArray[np.uint8]:
    """(height, width, 3) uint8 picture of broad blobs that follow from `name`: no two names look alike."""
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    coarse = rng.integers(20, 255, (8, 10, 3), dtype=np.uint8)
    return np.asarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC), np.uint8)


def write_photograph(root: Path, path: str, width: int = 48, height: int = 40) -> str:
    """Writes the picture that follows from the file's path."""
    return write(root, path, encoded(photograph(path, width, height), Path(path).suffix))


def encoded(pixels: NDArray[Any], ending: str) -> bytes:
    """The bytes of an image file; an ending in capitals will do."""
    done, content = cv2.imencode(ending.lower(), pixels)
    assert done
    return bytes(content)


def nerve_head(
    name: str, width: int = 48, height: int = 40, *, cup: bool = True, disc: bool = True, margin: int = 2
) -> Mask:
    """(height, width) canonical mask: an ellipse for the disc, one for the cup, their place following from `name`."""
    rng = np.random.default_rng(zlib.crc32(f"mask {name}".encode()))
    radius = min(width, height) // 4
    x = int(rng.integers(radius + margin, width - radius - margin))
    y = int(rng.integers(radius + margin, height - radius - margin))
    mask = np.zeros((height, width), np.uint8)
    if disc:
        cv2.ellipse(mask, (x, y), (radius - 1, radius), 0, 0, 360, 1, -1)
    if cup:
        cv2.ellipse(mask, (x, y), (radius // 2 - 1, radius // 2), 0, 0, 360, 2, -1)
    return mask


def table(rows: Sequence[Sequence[Cell]], delimiter: str = ",") -> bytes:
    """A CSV file."""
    text = io.StringIO(newline="")
    csv.writer(text, delimiter=delimiter, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()


def workbook(rows: Sequence[Sequence[Cell]]) -> bytes:
    """An .xlsx file of one sheet."""
    import openpyxl

    book, buffer = openpyxl.Workbook(), io.BytesIO()
    for row in rows:
        book.active.append(list(row))
    book.save(buffer)
    return buffer.getvalue()
