"""The facts of each image of a dataset, from one reading of its photograph and one of its mask."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from glaucoma.datasets.imagefile import UnreadableImageError, ordered_map, read_mask_file, read_to_measure
from glaucoma.datasets.imageheader import read_header
from glaucoma.datasets.mask_facts import measure_mask
from glaucoma.datasets.photograph_facts import SIDE_PX, measure_photograph
from glaucoma.schema import Column


@dataclass(frozen=True)
class Facts:
    """One image's row of `checks.csv`: None where there is nothing to measure, with the reason in `problem`."""

    image_id: str
    readable: bool = False
    problem: str = ""
    sha256_matches: bool | None = None
    measured_width: int | None = None
    measured_height: int | None = None
    size_matches: bool | None = None
    short_side_px: int | None = None
    long_side_px: int | None = None
    file_kind: str | None = None
    stored_channels: int | None = None
    depth_bits: int | None = None
    channels: int | None = None
    brightness: float | None = None
    contrast: float | None = None
    grey_low: int | None = None
    grey_high: int | None = None
    sharpness: float | None = None
    entropy: float | None = None
    lit_share: float | None = None
    field_share: float | None = None
    redness: float | None = None
    yellowness: float | None = None
    evenness: float | None = None
    clipped_share: float | None = None
    mask_readable: bool | None = None
    mask_size_matches: bool | None = None
    mask_values_ok: bool | None = None
    cup_inside_disc: bool | None = None
    mask_states_ok: bool | None = None
    disc_px: int | None = None
    disc_parts: int | None = None
    vertical_cdr: float | None = None
    stated_vertical_cdr: float | None = None
    cdr_difference: float | None = None
    age_years: float | None = None
    iop_mmhg: float | None = None


def measure_dataset(
    dataset: Path, manifest: pd.DataFrame, *, workers: int | None = None
) -> Generator[Facts, None, None]:
    """The facts of every row of `manifest`, in its order; each file is read and decoded once."""
    rows = ({str(k): str(v) for k, v in row.items()} for row in manifest.to_dict("records"))
    return ordered_map(lambda row: measure_row(dataset, row), rows, workers=workers)


def measure_row(dataset: Path, row: dict[str, str]) -> Facts:
    """The facts of one manifest row; what cannot be read is said in `problem` and measured no further."""
    image_id, path = row[Column.IMAGE_ID], dataset / row[Column.IMAGE]
    stated = _stated(row)
    try:
        photograph = read_to_measure(path, SIDE_PX)
    except UnreadableImageError as error:
        return replace(Facts(image_id, problem=str(error)), **stated)
    height, width = photograph.size
    header = read_header(path)
    facts = Facts(
        image_id,
        readable=True,
        sha256_matches=photograph.sha256 == row[Column.SHA256],
        measured_width=width,
        measured_height=height,
        size_matches=(str(width), str(height)) == (row[Column.WIDTH], row[Column.HEIGHT]),
        short_side_px=min(height, width),
        long_side_px=max(height, width),
        file_kind=header.kind if header else None,
        stored_channels=header.channels if header else None,
        depth_bits=header.depth_bits if header else None,
    )
    facts = replace(facts, **stated, **measure_photograph(photograph.pixels))
    if not row[Column.MASK]:
        return facts
    try:
        mask = read_mask_file(dataset / row[Column.MASK]).pixels
    except UnreadableImageError as error:
        return replace(facts, mask_readable=False, problem=str(error))
    found: dict[str, Any] = measure_mask(mask, (height, width), row[Column.DISC_STATE], row[Column.CUP_STATE])
    difference = _difference(found.get("vertical_cdr"), facts.stated_vertical_cdr)
    return replace(facts, **found, cdr_difference=difference)


def _stated(row: dict[str, str]) -> dict[str, Any]:
    """The clinical numbers that the manifest holds for this image."""
    names = (Column.STATED_VERTICAL_CDR, Column.AGE_YEARS, Column.IOP_MMHG)
    return {name.value: float(row[name]) if row.get(name) else None for name in names}


def _difference(measured: float | None, stated: float | None) -> float | None:
    return None if measured is None or stated is None else abs(measured - stated)
