"""The facts of each prepared image: its picture and mask against their rows in the packed arrays."""

from __future__ import annotations

import contextlib
from collections.abc import Generator
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from glaucoma.datasets.imagefile import UnreadableImageError, ordered_map, read_mask_file, read_photograph
from glaucoma.datasets.imageheader import read_header
from glaucoma.preprocessing.writer import FIELDS_NAME, IMAGES_NAME, MASKS_NAME
from glaucoma.progress import Progress
from glaucoma.schema import MaskValue


@dataclass(frozen=True)
class PreparedFacts:
    """One prepared image's row of `checks.csv`: None where there is nothing to say, or the picture was not compared."""

    image_id: str
    picture_readable: bool = False
    picture_size_ok: bool | None = None
    picture_as_packed: bool | None = None
    mask_readable: bool | None = None
    mask_as_packed: bool | None = None
    mask_values_ok: bool | None = None
    field_values_ok: bool | None = None
    field_share: float | None = None
    disc_px: int | None = None
    problem: str = ""


@dataclass(frozen=True)
class Packed:
    """The packed arrays, opened without reading them; None where the file does not fit the manifest."""

    images: NDArray[np.uint8] | None
    masks: NDArray[np.uint8] | None
    fields: NDArray[np.uint8] | None


def open_packed(prepared: Path, rows: int, size: int) -> Packed:
    """The arrays of a prepared dataset of so many rows, of pictures of that size; nothing is read yet."""
    return Packed(
        *(
            _array(prepared / file, shape)
            for file, shape in (
                (IMAGES_NAME, (rows, size, size, 3)),
                (MASKS_NAME, (rows, size, size)),
                (FIELDS_NAME, (rows, size, size)),
            )
        )
    )


def _array(path: Path, shape: tuple[int, ...]) -> NDArray[np.uint8] | None:
    try:
        found = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError):
        return None
    return found if found.dtype == np.uint8 and found.shape == shape else None


def measure_prepared(
    prepared: Path,
    manifest: pd.DataFrame,
    packed: Packed,
    size: int,
    max_compared: int,
    report: Progress,
    workers: int | None,
) -> list[PreparedFacts]:
    """The facts of every row of `manifest`, in its order.

    Args:
        size: Side of the prepared pictures, in pixels.
        max_compared: So many pictures are decoded and compared with their packed rows, evenly spread.
    """
    total = len(manifest)
    chosen = set(np.unique(np.linspace(0, total - 1, min(total, max_compared)).round().astype(int)).tolist())
    jobs = [
        (place, str(row.image_id), prepared / str(row.image), prepared / str(row.mask) if row.mask else None)
        for place, row in enumerate(manifest.itertuples())
    ]
    facts: list[PreparedFacts] = []
    measuring: Generator[PreparedFacts, None, None] = ordered_map(
        lambda job: _measure_one(*job, packed, size, job[0] in chosen), jobs, workers=workers
    )
    with contextlib.closing(measuring):
        for one in measuring:
            facts.append(one)
            report(len(facts) / total, f"checked {len(facts)} of {total} prepared images")
    return facts


def _measure_one(
    place: int, image_id: str, picture: Path, mask: Path | None, packed: Packed, size: int, compare: bool
) -> PreparedFacts:
    facts = PreparedFacts(image_id)
    if packed.fields is not None:
        field = packed.fields[place]
        facts = replace(
            facts, field_values_ok=int(field.max()) <= 1, field_share=float(np.count_nonzero(field) / field.size)
        )
    if packed.masks is not None and mask is not None:
        row = packed.masks[place]
        facts = replace(facts, mask_values_ok=int(row.max()) <= max(MaskValue), disc_px=cv2.countNonZero(np.array(row)))
    try:
        if not compare:
            header = read_header(picture)
            fits = header is not None and (header.width, header.height) == (size, size)
            return replace(facts, picture_readable=header is not None, picture_size_ok=fits)
        pixels = read_photograph(picture).pixels
        facts = replace(facts, picture_readable=True, picture_size_ok=pixels.shape[:2] == (size, size))
        if packed.images is not None:
            facts = replace(facts, picture_as_packed=np.array_equal(pixels, packed.images[place]))
        if mask is not None:
            values = read_mask_file(mask).pixels
            same = None if packed.masks is None else np.array_equal(values, packed.masks[place])
            facts = replace(facts, mask_readable=True, mask_as_packed=same)
    except (UnreadableImageError, OSError) as error:
        return replace(facts, problem=str(error), mask_readable=False if facts.picture_readable else None)
    return facts
