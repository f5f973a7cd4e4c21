"""Tables as they lie on disk: CSV files and Excel's two forms, every sheet as rows of text, within bounds."""

from __future__ import annotations

import csv
import io
import re
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path, PurePosixPath

from glaucoma.datasets.tree import Tree
from glaucoma.errors import DatasetError

Rows = list[list[str]]

_MAX_TABLE_BYTES = 256 * 1024 * 1024
"""A table of a hundred thousand photographs has some ten; a workbook's parts are counted as they unpack."""
_MAX_CELLS = 20_000_000
_HEADER_ROWS = 6
"""Where a header may stand: some sheets begin with titles."""


@dataclass(frozen=True)
class Sheet:
    """One sheet, empty cells as empty text; `name` is empty for a CSV file."""

    path: PurePosixPath
    name: str
    rows: Rows


def sheets_of(tree: Tree, path: PurePosixPath) -> list[Sheet]:
    """Every sheet of a table file: CSV (comma, semicolon or tab; UTF-8, or Latin-1 where it is not), .xlsx or .xls.

    Cells are text, blanks stripped, whole numbers without a decimal point. A file is read once a tree.

    Raises:
        DatasetError: The file cannot be read as a table, or is larger than 256 MB unpacked.
    """
    return tree.once(("sheets", path), lambda: _read(tree.full(path), path))


def rows_of(tree: Tree, path: PurePosixPath) -> Rows:
    """The rows of a table's first sheet, as `sheets_of` gives them."""
    return sheets_of(tree, path)[0].rows


def readable_sheets(tree: Tree) -> list[Sheet]:
    """Every sheet of every table of the tree that can be read: one that cannot is no evidence of anything.

    A layout that needs the table reads it itself, and then says what is wrong with it.
    """
    return tree.once("readable sheets", lambda: [sheet for path in tree.tables for sheet in _if_readable(tree, path)])


def _if_readable(tree: Tree, path: PurePosixPath) -> list[Sheet]:
    try:
        return sheets_of(tree, path)
    except DatasetError:
        return []


def heading_key(cell: str) -> str:
    """A heading's letters and digits in one case: `Image Name` and `image_name` are the same."""
    return re.sub(r"[^a-z0-9]", "", cell.casefold())


def records(sheet: Sheet, required: Iterable[str]) -> list[dict[str, str]]:
    """The rows under the first header that has all `required` headings, each as heading -> cell; [] where none has.

    Headings go by `heading_key`. Where the row below the header fills in headings that are empty in it, it is a second
    header row. Of a heading that stands twice the first column counts.
    """
    wanted = set(required)
    for number, row in enumerate(sheet.rows[:_HEADER_ROWS]):
        keys = [heading_key(cell) for cell in row]
        if not wanted <= set(keys):
            continue
        below = sheet.rows[number + 1] if number + 1 < len(sheet.rows) else []
        second = _is_second_header(keys, below, wanted)
        if second:
            keys = [one or heading_key(two) for one, two in zip_longest(keys, below, fillvalue="")]
        return [_record(keys, cells) for cells in sheet.rows[number + 1 + second :] if any(cells)]
    return []


def number_in(text: str, low: float, high: float) -> float | None:
    """The number that a cell holds, a comma taken for its decimal point; None where it is none in these bounds."""
    try:
        value = float(text.strip().replace(",", "."))
    except ValueError:
        return None
    return value if low <= value <= high else None


def _is_second_header(keys: Sequence[str], below: Sequence[str], wanted: set[str]) -> bool:
    """The row below is empty under every heading that is wanted, and says something elsewhere."""
    under = [below[place] for place, key in enumerate(keys) if key in wanted and place < len(below)]
    return any(below) and not any(under)


def _record(keys: Sequence[str], cells: Sequence[str]) -> dict[str, str]:
    record: dict[str, str] = {}
    for key, cell in zip(keys, cells, strict=False):
        if key:
            record.setdefault(key, cell)
    return record


def _read(file: Path, path: PurePosixPath) -> list[Sheet]:
    try:
        _require_bounded(file.stat().st_size)
        if path.suffix.lower() == ".xlsx":
            return _xlsx(file, path)
        if path.suffix.lower() == ".xls":
            return _xls(file, path)
        text = _decoded(file.read_bytes())
        delimiter = _delimiter(text)
        _require_few_cells(text.count(delimiter) + text.count("\n"))
        rows = [[cell.strip() for cell in row] for row in csv.reader(io.StringIO(text), delimiter=delimiter)]
        return [Sheet(path, "", rows)]
    except (csv.Error, ValueError, KeyError, OSError) as error:
        raise DatasetError(
            f"The table {path} cannot be read ({error})",
            expected="a CSV file in UTF-8, or an .xlsx or .xls file",
            remedy="open it, save it as CSV, and pack the archive again",
        ) from error


def _require_bounded(size_bytes: int) -> None:
    if size_bytes > _MAX_TABLE_BYTES:
        raise ValueError(f"it holds {size_bytes} bytes, more than {_MAX_TABLE_BYTES}")


def _require_few_cells(cells: int) -> None:
    if cells > _MAX_CELLS:
        raise ValueError(f"it has more than {_MAX_CELLS} cells")


def _decoded(content: bytes) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("latin-1")


def _delimiter(text: str) -> str:
    head = text.split("\n", 1)[0]
    return max(",;\t", key=head.count)


def _xlsx(file: Path, path: PurePosixPath) -> list[Sheet]:
    import openpyxl

    try:
        with zipfile.ZipFile(file) as parts:
            _require_bounded(sum(part.file_size for part in parts.infolist()))
        book = openpyxl.load_workbook(file, read_only=True, data_only=True)
        try:
            for sheet in book.worksheets:
                sheet.reset_dimensions()  # what a sheet claims: openpyxl would fill up every row to it
            sheets = [(sheet.title, sheet.iter_rows(values_only=True)) for sheet in book.worksheets]
            return _sheets(path, sheets)
        finally:
            book.close()
    except Exception as error:  # zip, XML and openpyxl raise whatever a broken part leads to
        raise ValueError(str(error) or type(error).__name__) from error


def _xls(file: Path, path: PurePosixPath) -> list[Sheet]:
    import xlrd

    try:
        book = xlrd.open_workbook(file_contents=file.read_bytes(), logfile=io.StringIO())
        return _sheets(path, [(sheet.name, map(sheet.row_values, range(sheet.nrows))) for sheet in book.sheets()])
    except Exception as error:  # xlrd raises whatever a broken record leads to
        raise ValueError(str(error) or type(error).__name__) from error


def _sheets(path: PurePosixPath, found: Iterable[tuple[str, Iterable[Iterable[object]]]]) -> list[Sheet]:
    sheets = [Sheet(path, name, _bounded([_text(cell) for cell in row] for row in rows)) for name, rows in found]
    return sheets or [Sheet(path, "", [])]


def _bounded(rows: Iterable[list[str]]) -> Rows:
    """All rows, blank ends of rows cut; cells count before that, for each of them takes time."""
    kept: Rows = []
    cells = 0
    for row in rows:
        cells += len(row) + 1
        _require_few_cells(cells)
        while row and not row[-1]:
            row.pop()
        kept.append(row)
    return kept


def _text(cell: object) -> str:
    if cell is None:
        return ""
    if isinstance(cell, float) and cell.is_integer() and abs(cell) < 1e15:
        return str(int(cell))
    return str(cell).strip()
