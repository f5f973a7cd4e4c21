"""Preprocessing against a bare OpenCV loop: both read, crop, resize, equalise and write PNG, on one thread."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2

from benchmarks.harness import Candidate, Comparison, Skipped
from benchmarks.place import NAME, Place
from glaucoma.preprocessing.preprocess import preprocess
from glaucoma.preprocessing.settings import PreprocessSettings
from glaucoma.workspace import Workspace

_SIZE_PX = 512
_SURROUND = 15


def benchmark(place: Place) -> Iterator[Comparison | Skipped]:
    """Ours also checks hashes, draws the field, keeps the geometry, and writes the packed arrays for training."""
    dataset, rows = place.dataset.folder, place.rows
    settings = PreprocessSettings(image_size_px=_SIZE_PX)
    targets: dict[str, Path] = {}

    def make_empty(name: str) -> None:
        targets[name] = place.empty(f"preparing-{name}")

    def ours() -> None:
        output = preprocess(dataset, NAME, Workspace(targets["arc"]), settings, workers=1)
        assert output.record.counts["images"] == len(rows)

    def bare() -> None:
        for row in rows:
            _bare_one(dataset, row, targets["bare"])

    yield Comparison(
        "preprocess",
        Candidate("preprocess, 1 thread", ours, lambda: make_empty("arc")),
        (Candidate("bare OpenCV loop", bare, lambda: make_empty("bare")),),
        f"{len(rows)} photographs with masks to {_SIZE_PX} px",
        rounds=5,
    )


def _bare_one(dataset: Path, row: dict[str, Any], target: Path) -> None:
    """What one would write in an afternoon: a threshold for the field, no checks, no records, no packed arrays."""
    photograph = cv2.imread(str(dataset / row["image"]))
    mask = cv2.imread(str(dataset / row["mask"]), cv2.IMREAD_UNCHANGED)
    assert photograph is not None
    assert mask is not None
    thin = photograph[::4, ::4, 1]
    x, y, width, height = (4 * side for side in cv2.boundingRect((thin > _SURROUND).astype("uint8")))
    half = round(0.9 * max(width, height) / 2)
    middle_x, middle_y = x + width // 2, y + height // 2
    rows = slice(max(0, middle_y - half), middle_y + half)
    columns = slice(max(0, middle_x - half), middle_x + half)
    small = cv2.resize(photograph[rows, columns], (_SIZE_PX, _SIZE_PX), interpolation=cv2.INTER_AREA)
    small[..., 1] = cv2.createCLAHE(clipLimit=2.0, tileGridSize=(8, 8)).apply(small[..., 1].copy())
    small_mask = cv2.resize(mask[rows, columns], (_SIZE_PX, _SIZE_PX), interpolation=cv2.INTER_NEAREST)
    cv2.imwrite(str(target / f"{row['image_id']}.png"), small)
    cv2.imwrite(str(target / f"{row['image_id']}-mask.png"), small_mask)
