"""GRAPE (Huang et al. 2023): glaucoma patients over years, one to seven visits an eye, with ages and pressures."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from glaucoma.datasets.layouts.base import Published, SourceImage
from glaucoma.datasets.layouts.sheets import number_in, readable_sheets, records
from glaucoma.datasets.layouts.stated import number_of, says_nothing, unused
from glaucoma.datasets.layouts.words import eye_of
from glaucoma.datasets.tree import Tree, stem_key
from glaucoma.schema import Column, Label

_NAME = re.compile(r"^(?P<subject>\d+)_(?P<eye>OD|OS)_(?P<visit>\d+)$", re.IGNORECASE)
_HEADINGS = ("subjectnumber", "laterality", "iop")
_CROPS = re.compile(r"(^|[^a-z])roi([^a-z]|$)", re.IGNORECASE)
_SHARE = 0.9
"""A stray picture or two make it no other dataset; they are set aside by name."""


@dataclass(frozen=True)
class _Visit:
    """What the workbook says of one photograph."""

    age_years: float | None
    iop_mmhg: float | None
    camera: str
    category: str
    unused_numbers: tuple[tuple[Column, str], ...]


class Grape:
    """`CFPs/1_OD_1.jpg` (subject, eye, visit) and `VF and clinical information.xlsx` with two header rows.

    Every eye has glaucoma, so alone it makes a dataset of one class. A subject's photographs stay together. The labelme
    files give outlines in the coordinates of the crops in `ROI images/`, whose place in the photograph is not stated:
    the whole photographs are taken, without masks.
    """

    name = "grape"
    generic = False
    looks_like = "photographs 1_OD_1.jpg and a workbook with Subject Number, Laterality and IOP"
    published = Published(631, {Label.GLAUCOMA: 631})

    def recognise(self, tree: Tree) -> str | None:
        """Nine in ten images are called subject, eye and visit, and a sheet has the columns."""
        named = [path for path in tree.images if _NAME.match(path.stem)]
        if not named or len(named) < _SHARE * len(tree.images):
            return None
        if not any(records(sheet, _HEADINGS) for sheet in readable_sheets(tree)):
            return None
        photographs = _photographs(tree)
        subjects = len({path.stem.split("_")[0] for path in photographs})
        return f"{len(photographs)} photographs of {subjects} subjects are called <subject>_<eye>_<visit>"

    def read(self, tree: Tree) -> list[SourceImage]:
        """The photographs; age at the visit, pressure and camera as the workbook has them."""
        visits = _visits(tree)
        return [_image(path, visits.get(stem_key(path))) for path in _photographs(tree)]

    def left_out(self, tree: Tree) -> Mapping[PurePosixPath, str]:
        """The crops, where the whole photographs are there."""
        taken = set(_photographs(tree))
        crops = (path for path in tree.images if _NAME.match(path.stem) and path not in taken)
        return dict.fromkeys(crops, "a crop of a photograph that is taken")


def _image(path: PurePosixPath, visit: _Visit | None) -> SourceImage:
    subject, eye, _ = path.stem.split("_")
    return SourceImage(
        path,
        label=Label.GLAUCOMA,
        source_label=visit.category if visit else "",
        patient_id=subject,
        eye=eye_of(eye),
        site=visit.camera if visit else "",
        age_years=visit.age_years if visit else None,
        iop_mmhg=visit.iop_mmhg if visit else None,
        unused_numbers=visit.unused_numbers if visit else (),
    )


def _photographs(tree: Tree) -> list[PurePosixPath]:
    """The whole photographs, or the crops where only those are there."""
    named = [path for path in tree.images if _NAME.match(path.stem)]
    return [path for path in named if not any(_CROPS.search(part) for part in path.parent.parts)] or named


def _visits(tree: Tree) -> dict[str, _Visit]:
    """Photograph's name -> its visit. The follow-up sheet counts years from the baseline, where the age stands."""
    rows = [row for sheet in readable_sheets(tree) for row in records(sheet, _HEADINGS)]
    ages = {_subject(row): cell for row in rows if not says_nothing(cell := row.get("age", ""))}
    kinds = {_eye_key(row): row["categoryofglaucoma"] for row in rows if row.get("categoryofglaucoma")}
    visits = {}
    for row in rows:
        if name := _photograph(row):
            stated_age, pressure = ages.get(_subject(row), ""), row.get("iop", "")
            age, years = number_of(Column.AGE_YEARS, stated_age), number_in(row.get("intervalyears", ""), 0, 130)
            visits[name] = _Visit(
                age_years=None if age is None else round(age + (years or 0.0), 2),
                iop_mmhg=number_of(Column.IOP_MMHG, pressure),
                camera=row.get("camera", ""),
                category=kinds.get(_eye_key(row), ""),
                unused_numbers=unused(Column.AGE_YEARS, stated_age) + unused(Column.IOP_MMHG, pressure),
            )
    return visits


def _subject(row: Mapping[str, str]) -> str:
    return row.get("subjectnumber", "").removesuffix(".0")


def _eye_key(row: Mapping[str, str]) -> tuple[str, str]:
    return _subject(row), row.get("laterality", "").upper()


def _photograph(row: Mapping[str, str]) -> str:
    """The photograph that a row is about; a visit without one has a slash there."""
    cell = stem_key(row.get("correspondingcfp", ""))
    return cell if _NAME.match(cell) else ""
