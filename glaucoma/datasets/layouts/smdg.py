"""SMDG-19 (Kiefer 2023): some twenty public collections in one form, 512 x 512, with one table of metadata."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import PurePosixPath

from glaucoma.datasets.layouts.base import SourceImage, SourceMask
from glaucoma.datasets.layouts.sheets import readable_sheets, records
from glaucoma.datasets.layouts.stated import stated_numbers
from glaucoma.datasets.layouts.two_files import disc_and_cup
from glaucoma.datasets.layouts.words import eye_of, patient_and_eye
from glaucoma.datasets.tree import Tree, stem_key
from glaucoma.schema import Column, Eye, Label

_HEADINGS = ("names", "types", "fundus", "fundusodseg", "fundusocseg")
_PHOTOGRAPHS, _DISCS, _CUPS = "full-fundus", "optic-disc", "optic-cup"
_LABELS = {"0": Label.NORMAL, "1": Label.GLAUCOMA, "-1": Label.SUSPECT}
_COLLECTION = re.compile(r"^(?P<site>.+?)-\d+$")
_PART = re.compile(r"-(?:train|val|valid|validation|test)(?:-(?:online|offline))?$", re.IGNORECASE)
_MISSING = frozenset(["", "not visible", "not_visible", "nan", "none"])
_PATIENT_IN_NAME = {"PAPILA": re.compile(r"^(?P<patient>RET\d+)O[DS]$", re.IGNORECASE)}
"""Where a collection's own file names hold the patient in a way of their own."""


class Smdg:
    """`full-fundus/full-fundus/BEH-1.png`, `optic-disc/`, `optic-cup/` likewise, and `metadata - standardized.csv`.

    The origin is the collection that a name begins with (BEH, G1020, ORIGA, ..), the site its part (REFUGE1-TRAIN).
    `original_name` is kept: it tells the same photograph in that collection's own archive. Patients of two collections
    with one number are two patients.
    """

    name = "smdg"
    generic = False
    looks_like = "full-fundus/, optic-disc/ and optic-cup/ with a table of names, types, fundus, fundus_od_seg, .."

    def recognise(self, tree: Tree) -> str | None:
        """A table has the columns, and names at least half of the photographs in full-fundus."""
        rows, photographs = _rows(tree), _by_stem(tree, _PHOTOGRAPHS)
        named = sum(stem in rows for stem in photographs)
        if not photographs or 2 * named < len(photographs):
            return None
        collections = {_collection(row["names"])[0] for stem, row in rows.items() if stem in photographs}
        return f"the table names {named} of {len(photographs)} photographs, of {len(collections)} collections"

    def read(self, tree: Tree) -> list[SourceImage]:
        """The photographs that the table names, and for each row without its file an entry that will be set aside."""
        photographs, discs, cups = (_by_stem(tree, folder) for folder in (_PHOTOGRAPHS, _DISCS, _CUPS))
        images = []
        for stem, row in _rows(tree).items():
            path = photographs.get(stem)
            if path is None:
                images.append(SourceImage(PurePosixPath(row["fundus"].lstrip("/"))))
            else:
                mask = _mask(tree, discs.get(_named(row, "fundusodseg")), cups.get(_named(row, "fundusocseg")))
                images.append(_image(path, row, mask))
        return images


def _image(path: PurePosixPath, row: Mapping[str, str], mask: SourceMask | None) -> SourceImage:
    origin, site = _collection(row["names"])
    original = row.get("originalname", "")
    patient, eye, from_name = _patient(origin, row, original)
    stated_eye = eye_of(row.get("eye", ""))
    return SourceImage(
        path,
        label=_LABELS.get(row["types"].removesuffix(".0"), Label.UNKNOWN),
        source_label=row["types"],
        patient_id=f"{origin}-{patient}" if patient else "",
        eye=eye if stated_eye is Eye.UNKNOWN else stated_eye,
        site=site,
        mask=mask,
        patient_from_name=from_name,
        origin=origin,
        original_name=original,
        **stated_numbers({Column.AGE_YEARS: row.get("age", ""), Column.IOP_MMHG: row.get("iop", "")}),
    )


def _patient(origin: str, row: Mapping[str, str], original: str) -> tuple[str, Eye, bool]:
    """Patient and eye: as the table states the patient, else as the collection's own file name tells it."""
    stem = stem_key(original).upper()
    from_name, eye = patient_and_eye(stem)
    if (own := _PATIENT_IN_NAME.get(origin)) and (match := own.match(stem)):
        from_name, eye = match["patient"].upper(), eye_of(stem[-2:])
    stated = row.get("patientid", "")
    if stated.casefold() not in _MISSING:
        return stated, eye, False
    return from_name, eye, bool(from_name)


def _mask(tree: Tree, disc: PurePosixPath | None, cup: PurePosixPath | None) -> SourceMask | None:
    """No mask without a disc: a cup alone does not say where the rim ends."""
    return None if disc is None else disc_and_cup(tree, disc, cup)


def _named(row: Mapping[str, str], column: str) -> str:
    """The stem of the file that a cell names; empty for `Not Visible` and for nothing."""
    cell = row.get(column, "").strip()
    return "" if cell.casefold() in _MISSING else stem_key(cell)


def _collection(name: str) -> tuple[str, str]:
    """`REFUGE1-TRAIN-12` is of the collection REFUGE1 and of its part REFUGE1-TRAIN."""
    match = _COLLECTION.match(name)
    site = match["site"] if match else name
    return _PART.sub("", site), site


def _by_stem(tree: Tree, folder: str) -> dict[str, PurePosixPath]:
    return {stem_key(path): path for path in tree.images if folder in (part.casefold() for part in path.parent.parts)}


def _rows(tree: Tree) -> dict[str, dict[str, str]]:
    """Stem of the photograph -> the table's row; rows without a photograph are other pictures' and left out."""
    return tree.once("smdg rows", lambda: _read_rows(tree))


def _read_rows(tree: Tree) -> dict[str, dict[str, str]]:
    rows: dict[str, dict[str, str]] = {}
    for sheet in readable_sheets(tree):
        for row in records(sheet, _HEADINGS):
            full = {"names": "", "types": "", "fundus": "", **row}
            if full["fundus"].casefold() not in _MISSING:
                rows.setdefault(stem_key(full["fundus"]), full)
    return rows
