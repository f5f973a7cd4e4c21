"""PAPILA (Kovalyk et al. 2022): both eyes of 244 patients, two readers' contours, clinical data."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import PurePosixPath

from glaucoma.datasets.contours import CENTRE_AT_0, rasterise, read_points
from glaucoma.datasets.fusion import Marked, between
from glaucoma.datasets.layouts.base import Published, SourceImage, SourceMask
from glaucoma.datasets.layouts.lookup import size_of
from glaucoma.datasets.layouts.sheets import Rows, heading_key, sheets_of
from glaucoma.datasets.layouts.stated import number_of, unused
from glaucoma.datasets.masks import CanonicalMask, from_parts
from glaucoma.datasets.tree import Tree
from glaucoma.errors import DatasetError
from glaucoma.schema import Column, Eye, Label

PUBLISHED = Published(488, {Label.NORMAL: 333, Label.GLAUCOMA: 87, Label.SUSPECT: 68})

_NAME = re.compile(r"^RET(?P<patient>\d{3})(?P<eye>OD|OS)$", re.IGNORECASE)
_CONTOUR = re.compile(r"^(?P<stem>RET\d{3}(?:OD|OS))_(?P<structure>cup|disc)_exp(?P<reader>\d)$", re.IGNORECASE)
"""Eleven files stand twice, with ` 2` behind the name: they do not match and are not read."""
_TABLE = re.compile(r"^patient_data_(?P<eye>od|os)$", re.IGNORECASE)
_PATIENT = re.compile(r"^#?(?P<number>\d{1,4})$")
_DIAGNOSES = {"0": Label.NORMAL, "1": Label.GLAUCOMA, "2": Label.SUSPECT}
_PRESSURES = ("pneumatic", "perkins")
_SHARE = 0.9
"""A stray picture or two make it no other dataset; they are set aside by name."""


class Papila:
    """`FundusImages/RET002OD.jpg`, `ExpertsSegmentations/Contours/RET002OD_disc_exp1.txt`, `patient_data_od.xlsx`.

    The two readers' masks are fused to the one whose boundary runs midway between theirs. The pressure is the mean of
    the pneumatic and the Perkins tonometer's where both were used, else the one that was.
    """

    name = "papila"
    generic = False
    looks_like = "RET002OD.jpg and RET002OS.jpg, contours RET002OD_disc_exp1.txt, patient_data_od.xlsx and _os.xlsx"
    published = PUBLISHED

    def recognise(self, tree: Tree) -> str | None:
        """Nine in ten images are called RET, three digits and an eye; contours or clinical tables are there."""
        photographs = [path for path in tree.images if _NAME.match(path.stem)]
        contours = sum(_CONTOUR.match(path.stem) is not None for path in tree.files)
        tables = sum(_TABLE.match(path.stem) is not None for path in tree.tables)
        if not photographs or len(photographs) < _SHARE * len(tree.images) or not (contours or tables):
            return None
        return (
            f"{len(photographs)} photographs are called RET<patient><eye>, with {contours} contours and {tables} tables"
        )

    def read(self, tree: Tree) -> list[SourceImage]:
        """Diagnosis 0 normal, 1 glaucoma, 2 suspect, and age and pressure, from the two workbooks."""
        clinical = _clinical(tree)
        contours: dict[str, dict[str, list[PurePosixPath]]] = {}
        for path in tree.files:
            match = _CONTOUR.match(path.stem)
            if match and path.suffix.lower() == ".txt":
                structures = contours.setdefault(match["stem"].casefold(), {})
                structures.setdefault(match["structure"].casefold(), []).append(path)
        photographs = (path for path in tree.images if _NAME.match(path.stem))
        return [_image(tree, path, clinical, contours.get(path.stem.casefold(), {})) for path in photographs]


def _image(
    tree: Tree,
    path: PurePosixPath,
    clinical: Mapping[tuple[int, Eye], Mapping[str, str]],
    contours: Mapping[str, list[PurePosixPath]],
) -> SourceImage:
    match = _NAME.match(path.stem)
    assert match is not None  # noqa: S101 - only such names come here
    eye = Eye(match["eye"].upper())
    row = clinical.get((int(match["patient"]), eye), {})
    stated, age = row.get("diagnosis", ""), row.get("age", "")
    pressures = [row.get(name, "") for name in _PRESSURES]
    measured = [value for cell in pressures if (value := number_of(Column.IOP_MMHG, cell))]  # 0 is no pressure
    return SourceImage(
        path,
        label=_DIAGNOSES.get(stated, Label.UNKNOWN),
        source_label=stated,
        patient_id=f"RET{match['patient']}",
        eye=eye,
        site="PAPILA",
        mask=_mask(tree, path, contours) if "disc" in contours else None,
        age_years=number_of(Column.AGE_YEARS, age),
        iop_mmhg=sum(measured) / len(measured) if measured else None,
        unused_numbers=unused(Column.AGE_YEARS, age) + unused(Column.IOP_MMHG, *pressures),
    )


def _clinical(tree: Tree) -> dict[tuple[int, Eye], dict[str, str]]:
    """Patient's number and eye -> heading -> cell, from both workbooks."""
    found: dict[tuple[int, Eye], dict[str, str]] = {}
    for path in tree.tables:
        if match := _TABLE.match(path.stem):
            eye = Eye(match["eye"].upper())
            for number, row in _patients(path, sheets_of(tree, path)[0].rows).items():
                found.setdefault((number, eye), row)
    return found


def _patients(path: PurePosixPath, rows: Rows) -> dict[int, dict[str, str]]:
    """Patient's number -> heading -> cell. A column's heading is the lowest that stands above the first patient.

    Raises:
        DatasetError: No row begins with a patient's number, no column is the diagnosis, or a patient stands twice.
    """
    first = next((place for place, row in enumerate(rows) if row and _PATIENT.match(row[0])), None)
    if first is None:
        raise DatasetError(
            f"{path} names no patient", expected="rows that begin with #002 and so on, below the headings"
        )
    headings: dict[int, str] = {}
    for row in rows[:first]:
        headings |= {place: heading_key(cell) for place, cell in enumerate(row) if cell}
    if "diagnosis" not in headings.values():
        raise DatasetError(f"{path} has no column Diagnosis", expected="one: 0 healthy, 1 glaucoma, 2 suspect")
    patients: dict[int, dict[str, str]] = {}
    for row in rows[first:]:
        match = _PATIENT.match(row[0]) if row else None
        if match:
            cells = {heading: row[place] for place, heading in headings.items() if place < len(row)}
            if patients.setdefault(int(match["number"]), cells) != cells:
                raise DatasetError(f"{path} has two rows for the patient {row[0]}", expected="one row a patient")
    return patients


def _mask(tree: Tree, photograph: PurePosixPath, contours: Mapping[str, list[PurePosixPath]]) -> SourceMask:
    def fused(structure: str) -> Marked:
        stored = size_of(tree, photograph)
        shape = (stored.height, stored.width)
        return between(
            [rasterise(read_points(tree.full(path)), shape, origin=CENTRE_AT_0) for path in contours[structure]]
        )

    def read() -> CanonicalMask:
        return from_parts(fused("disc"), fused("cup") if "cup" in contours else None)

    return SourceMask(tuple(path for paths in contours.values() for path in paths), read)
