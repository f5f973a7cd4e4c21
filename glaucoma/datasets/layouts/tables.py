"""Label files: CSV and Excel tables whose columns go by many names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Final

from glaucoma.datasets.layouts.sheets import heading_key, rows_of
from glaucoma.datasets.tree import Tree, is_image
from glaucoma.errors import DatasetError
from glaucoma.schema import Column

_NAMES: dict[Column, tuple[str, ...]] = {
    Column.IMAGE: (
        "image", "images", "imageid", "imagename", "imagefile", "imagepath", "imgname", "imgid", "img", "filename",
        "file", "filepath", "path", "name", "challengeid", "photo", "fundus",
    ),
    Column.LABEL: (
        "label", "labels", "class", "diagnosis", "glaucoma", "glaucomalabel", "labelglaucoma1", "binarylabels",
        "binarylabel", "glaucomarisk", "category", "types", "target", "finaldecision",
    ),
    Column.PATIENT_ID: ("patientid", "patient", "patients", "subject", "subjectid", "pid", "case", "caseid"),
    Column.EYE: ("eye", "laterality", "side"),
    Column.SITE: ("site", "hospital", "centre", "center", "camera", "device", "clinic"),
    Column.SPLIT: ("split", "subset", "partition"),
    Column.STATED_VERTICAL_CDR: ("verticalcdr", "vcdr", "expcdr", "verticalcuptodiscratio"),
    Column.AGE_YEARS: ("ageyears", "age"),
    Column.IOP_MMHG: ("iopmmhg", "iop"),
    Column.STATED_QUALITY: ("quality", "qualityscore", "imagequality"),
}  # fmt: skip
IDENTIFYING: Final = (Column.LABEL, Column.PATIENT_ID, Column.EYE, Column.SITE, Column.SPLIT)
"""What tables must agree on; of a measured value the first one counts."""
_HEADER_ROWS = 5
"""Where a header may stand: some sheets begin with a title."""


@dataclass(frozen=True)
class LabelTable:
    """A table that names images: for each image what its row says, by our own column names.

    Args:
        path: Inside the archive.
        columns: Our column -> the table's heading.
        rows: The image as the table writes it -> our column -> the cell's text.
    """

    path: PurePosixPath
    columns: Mapping[Column, str]
    rows: Mapping[str, Mapping[Column, str]]
    _index: dict[str, str] = field(default_factory=dict, compare=False, repr=False)

    def __post_init__(self) -> None:
        self._index.update({_image_key(name): name for name in self.rows})

    def name_for(self, image: PurePosixPath) -> str | None:
        """The table's name for `image`: its path or an end of it, with or without the ending, in any letter case."""
        parts = image.parts
        for start in range(len(parts)):
            if (name := self._index.get(_image_key("/".join(parts[start:])))) is not None:
                return name
        return None


def read_tables(tree: Tree) -> list[LabelTable]:
    """Every table of the tree that has a column of images and another that is known; the first sheet of a workbook."""
    return tree.once("label tables", lambda: _read_tables(tree))


def _read_tables(tree: Tree) -> list[LabelTable]:
    found = (label_table(path, rows_of(tree, path)) for path in tree.tables)
    return [table for table in found if table is not None]


def label_table(path: PurePosixPath, rows: list[list[str]]) -> LabelTable | None:
    """The table in `rows`, whose header is looked for in the first five; None where there is none that names images.

    Raises:
        DatasetError: Two rows name the same image and do not say the same of it.
    """
    for number, header in enumerate(rows[:_HEADER_ROWS]):
        at = columns_in(header)
        if Column.IMAGE in at and len(at) > 1:
            headings = {column: header[place] for column, place in at.items()}
            return LabelTable(path, headings, _by_image(path, rows[number + 1 :], at))
    return None


def columns_in(header: Iterable[str]) -> dict[Column, int]:
    """Which of our columns stands where; the first heading that fits is taken."""
    keys = [heading_key(cell) for cell in header]
    found: dict[Column, int] = {}
    for column, names in _NAMES.items():
        places = [keys.index(name) for name in names if name in keys]
        if places:
            found[column] = places[0]
    return found


def _by_image(path: PurePosixPath, rows: list[list[str]], at: Mapping[Column, int]) -> dict[str, dict[Column, str]]:
    by_image: dict[str, dict[Column, str]] = {}
    for row in rows:
        cells = {column: row[place] if place < len(row) else "" for column, place in at.items()}
        name = cells.pop(Column.IMAGE)
        if not name:
            continue
        earlier = by_image.setdefault(name, cells)
        if any(earlier.get(column) != cells.get(column) for column in IDENTIFYING):
            raise DatasetError(
                f"{path} names the image {name!r} twice and says {earlier} and {cells} of it",
                expected="one row an image",
                remedy="correct the table and pack the archive again",
            )
    return by_image


def _image_key(name: str) -> str:
    path = PurePosixPath(name.replace("\\", "/").strip("'\" "))
    return str(path.with_suffix("") if is_image(path) else path).casefold()
