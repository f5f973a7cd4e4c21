"""The rows of a merged manifest: ids, origins, sites and patients of several datasets, made distinct."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

import pandas as pd

from glaucoma.datasets import layouts
from glaucoma.datasets.grouping import Publication
from glaucoma.datasets.identity import Fingerprint
from glaucoma.datasets.layouts.mapped import NAME as MAPPED
from glaucoma.provenance import StageRecord
from glaucoma.schema import Column

_GENERIC: Final = frozenset([MAPPED, *(one.name for one in (*layouts.LAYOUTS, *layouts.ON_REQUEST) if one.generic)])
"""Origins that name no collection: there the dataset's own name serves."""
_SAME_COLLECTION: Final = {
    "refuge1": "refuge",
    "refugebundled": "refuge",
    "eyepacsairogs": "airogs",
    "airogslight": "airogs",
    "drishti": "drishtigs1",
}
"""Collections that go by several names, in letters and digits alone."""


@dataclass(frozen=True)
class Part:
    """A dataset that goes into a merged one.

    Args:
        name: The dataset's name.
        rows: Its manifest.
    """

    name: str
    folder: Path
    record: StageRecord
    rows: pd.DataFrame


def merged_rows(parts: Sequence[Part]) -> pd.DataFrame:
    """All rows, each with its dataset's name before its id; `split` and `group` still the datasets' own.

    `origin` is the collection, or the dataset's name where a row comes from no known one; a site that does not begin
    with its origin gets it in front, an empty one is the origin; so does a patient, in letters and digits, so that the
    same patient of one collection is one patient through whichever dataset it came.
    """
    return pd.concat([_rows(part) for part in parts], ignore_index=True)


def published(rows: pd.DataFrame) -> list[Publication]:
    """Where each photograph was first published: one that another source gathered is found by its original name."""
    found = []
    for row in rows.to_dict("records"):
        original = str(row[Column.ORIGINAL_NAME])
        file = original or PurePosixPath(str(row[Column.SOURCE])).name
        found.append(Publication(collection(str(row[Column.ORIGIN])), file, by_another=bool(original)))
    return found


def fingerprints(rows: pd.DataFrame) -> list[Fingerprint]:
    """The hashes that the manifests keep; no file is opened."""
    columns = (
        Column.WIDTH,
        Column.HEIGHT,
        Column.SHA256,
        Column.PIXEL_SHA256,
        Column.PERCEPTUAL_HASH,
        Column.MIRRORED_HASH,
    )
    return [Fingerprint(*cells) for cells in zip(*(rows[column].tolist() for column in columns), strict=True)]


def collection(origin: str) -> str:
    """A collection's one name, in letters and digits: `REFUGE1` and `refuge_bundled` are `refuge`."""
    plain = "".join(letter for letter in origin.casefold() if letter.isalnum())
    return _SAME_COLLECTION.get(plain, plain)


def _rows(part: Part) -> pd.DataFrame:
    rows = part.rows.copy()
    rows[Column.ORIGIN] = [part.name if origin in _GENERIC or not origin else origin for origin in rows[Column.ORIGIN]]
    rows[Column.IMAGE_ID] = [f"{part.name}-{image_id}" for image_id in rows[Column.IMAGE_ID]]
    both = list(zip(rows[Column.ORIGIN], rows[Column.SITE], rows[Column.PATIENT_ID], strict=True))
    rows[Column.SITE] = [_site(origin, site) for origin, site, _ in both]
    rows[Column.PATIENT_ID] = [_patient(origin, patient) for origin, _, patient in both]
    return rows


def _site(origin: str, site: str) -> str:
    if not site:
        return origin
    return site if site.casefold().startswith(origin.casefold()) else f"{origin} {site}"


def _patient(origin: str, patient: str) -> str:
    if not patient:
        return ""
    for prefix in (origin, collection(origin)):
        if patient.casefold().startswith(f"{prefix.casefold()}-"):
            patient = patient[len(prefix) + 1 :]
            break
    return f"{collection(origin)}-{patient}"
