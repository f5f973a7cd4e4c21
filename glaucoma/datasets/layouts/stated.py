"""Numbers that sources state of a photograph: within bounds they are taken, otherwise kept as words to be counted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from glaucoma.datasets.layouts.sheets import number_in
from glaucoma.schema import Column

BOUNDS: Final[Mapping[Column, tuple[float, float]]] = {
    Column.STATED_VERTICAL_CDR: (0, 1),
    Column.AGE_YEARS: (0, 130),
    Column.IOP_MMHG: (0, 100),
}
"""What can be true of anybody; what is merely odd is left to validation."""
_NOTHING = frozenset(
    ["", "-", "--", "/", ".", "?", "na", "n/a", "nan", "nd", "none", "null", "unknown", "missing", "not available",
     "not known", "not measured", "not stated", "not visible", "not_visible"]
)  # fmt: skip


def says_nothing(word: str) -> bool:
    """True for an empty cell and for the words by which a table says that a value is missing."""
    return word.strip().casefold() in _NOTHING


def number_of(column: Column, cell: str) -> float | None:
    """The number in `cell` where it is one within the column's bounds, else None."""
    return number_in(cell, *BOUNDS[column])


def unused(column: Column, *cells: str) -> tuple[tuple[Column, str], ...]:
    """The cells that say something and give no number within the column's bounds."""
    return tuple((column, cell) for cell in cells if not says_nothing(cell) and number_of(column, cell) is None)


def stated_numbers(cells: Mapping[Column, str]) -> dict[str, Any]:
    """For `SourceImage`: each column's number, and in `unused_numbers` the cells that could not be taken.

    Args:
        cells: Column -> text; columns that hold no number are passed over.
    """
    there = {column: cells[column] for column in BOUNDS if column in cells}
    lost = tuple(one for column, cell in there.items() for one in unused(column, cell))
    return {column.value: number_of(column, cell) for column, cell in there.items()} | {"unused_numbers": lost}
