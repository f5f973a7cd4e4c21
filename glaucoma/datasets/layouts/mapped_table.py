"""The table that a mapping names: found by its pattern, its columns by the headings that the mapping gives."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final

from glaucoma.datasets.layouts.mapping import HOW_TO, TableMapping
from glaucoma.datasets.layouts.patterns import Pattern
from glaucoma.datasets.layouts.sheets import Sheet, heading_key, records, sheets_of
from glaucoma.datasets.layouts.tables import LabelTable
from glaucoma.datasets.layouts.words import eye_of
from glaucoma.datasets.tree import Tree
from glaucoma.errors import LayoutError
from glaucoma.schema import Column, Eye

_COLUMNS: Final = {
    "image": Column.IMAGE,
    "patient": Column.PATIENT_ID,
    "eye": Column.EYE,
    "label": Column.LABEL,
    "site": Column.SITE,
    "split": Column.SPLIT,
    "stated_vertical_cdr": Column.STATED_VERTICAL_CDR,
    "age_years": Column.AGE_YEARS,
    "iop_mmhg": Column.IOP_MMHG,
    "stated_quality": Column.STATED_QUALITY,
}
_SHOWN = 12

_Row = dict[Column, str]


@dataclass(frozen=True)
class MappedTable:
    """Rows by photograph where the table names photographs, else by patient, and by eye where it names eyes."""

    by_image: LabelTable | None
    by_patient: Mapping[tuple[str, Eye], _Row]

    @classmethod
    def read(cls, tree: Tree, mapping: TableMapping) -> MappedTable:
        """The table of `mapping`.

        Raises:
            LayoutError: No table or several match, the sheet or a heading is not there, or two rows contradict.
        """
        sheet = _sheet(tree, mapping)
        rows = _rows(sheet, mapping)
        if mapping.columns.image:
            return cls(_by_image(sheet, rows), {})
        return cls(None, _by_patient(sheet, rows))

    def row_of(self, path: PurePosixPath, patient: str, eye: str) -> _Row:
        """What the table says of a photograph; nothing where it does not name it."""
        if self.by_image is not None:
            name = self.by_image.name_for(path)
            return {} if name is None else dict(self.by_image.rows[name])
        key = patient.casefold()
        return dict(self.by_patient.get((key, eye_of(eye))) or self.by_patient.get((key, Eye.UNKNOWN)) or {})

    def without_photograph(self, paths: Sequence[PurePosixPath]) -> list[str]:
        """The names of photographs that the table has and the archive has not."""
        if self.by_image is None:
            return []
        there = {self.by_image.name_for(path) for path in paths}
        return [name for name in self.by_image.rows if name not in there]


def _sheet(tree: Tree, mapping: TableMapping) -> Sheet:
    pattern = Pattern.of(mapping.file, ())
    found = [path for path in tree.tables if pattern.match(path) is not None]
    if len(found) != 1:
        seen = ", ".join(str(path) for path in (found or tree.tables)[:_SHOWN]) or "none"
        raise LayoutError(
            f"{len(found)} tables match the mapping's table.file {mapping.file!r}; the tables are: {seen}",
            expected="one",
            remedy=f"give as much of its path as tells it from the others ({HOW_TO})",
        )
    sheets = sheets_of(tree, found[0])
    if not mapping.sheet:
        return sheets[0]
    for sheet in sheets:
        if sheet.name.casefold() == mapping.sheet.casefold():
            return sheet
    raise LayoutError(
        f"The table {found[0]} has no sheet {mapping.sheet!r}",
        expected=f"one of {', '.join(sheet.name for sheet in sheets)}",
    )


def _rows(sheet: Sheet, mapping: TableMapping) -> list[_Row]:
    headings = {
        _COLUMNS[name]: heading_key(str(heading)) for name, heading in mapping.columns.model_dump().items() if heading
    }
    found = records(sheet, headings.values())
    if not found:
        seen = [cell for row in sheet.rows[:6] for cell in row if cell]
        wanted = [heading for heading in mapping.columns.model_dump().values() if heading]
        missing = [word for word in wanted if heading_key(str(word)) not in {heading_key(cell) for cell in seen}]
        near = difflib.get_close_matches(str(missing[0]), seen, n=1, cutoff=0.4) if missing else []
        raise LayoutError(
            f"The table {sheet.path} has no header row with {', '.join(repr(word) for word in missing or wanted)}"
            + (f"; did you mean {near[0]!r}?" if near else ""),
            expected=f"headings in its first rows, where it has: {', '.join(seen[:_SHOWN])}",
            remedy=f"correct table.columns in the mapping ({HOW_TO})",
        )
    return [{column: row.get(heading, "") for column, heading in headings.items()} for row in found]


def _by_image(sheet: Sheet, rows: Sequence[_Row]) -> LabelTable:
    named: dict[str, _Row] = {}
    for row in rows:
        name = row.pop(Column.IMAGE)
        if name:
            _require_same(sheet, name, named.setdefault(name, row), row)
    return LabelTable(sheet.path, {}, named)


def _by_patient(sheet: Sheet, rows: Sequence[_Row]) -> dict[tuple[str, Eye], _Row]:
    named: dict[tuple[str, Eye], _Row] = {}
    for row in rows:
        patient = row[Column.PATIENT_ID]
        if patient:
            key = (patient.casefold(), eye_of(row.get(Column.EYE, "")))
            _require_same(sheet, patient, named.setdefault(key, row), row)
    return named


def _require_same(sheet: Sheet, name: str, first: _Row, second: _Row) -> None:
    if first != second:
        raise LayoutError(
            f"{sheet.path} names {name!r} twice and says {first} and {second} of it",
            expected="one row each",
            remedy="correct the table and pack the archive again",
        )
