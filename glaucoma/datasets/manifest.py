"""`manifest.csv`: one row per image, read and written in one place, checked both times."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from glaucoma.errors import DatasetError, NotFoundError
from glaucoma.provenance import write_bytes
from glaucoma.schema import Column, Eye, GeometryColumn, Label, SourcePart, Split, StructureState

if TYPE_CHECKING:
    import pandas as pd  # a second; many a flow reads no table

MANIFEST_NAME = "manifest.csv"
IMAGE_ID_PATTERN = r"^[a-z0-9_-]+$"
_SHOWN = 10

_COLUMNS = tuple(column.value for column in Column)
_GEOMETRY = tuple(column.value for column in GeometryColumn)
_WHOLE_NUMBERS = (Column.WIDTH.value, Column.HEIGHT.value)
_FILLED = (Column.IMAGE_ID, Column.IMAGE, Column.LABEL, Column.SPLIT, Column.GROUP, Column.SHA256)
_HEX = {Column.SHA256: 64, Column.PIXEL_SHA256: 64, Column.PERCEPTUAL_HASH: 64, Column.MIRRORED_HASH: 64}
_OPTIONAL = (
    Column.ORIGIN,
    Column.ORIGINAL_NAME,
    Column.MIRRORED_HASH,
    Column.SOURCE_PART,
    Column.FOLD,
    Column.STATED_VERTICAL_CDR,
    Column.AGE_YEARS,
    Column.IOP_MMHG,
    Column.STATED_QUALITY,
)
"""Columns that a table may lack, which then say nothing of any image."""
_RANGES = {
    Column.FOLD: (0.0, 1e6),
    Column.STATED_VERTICAL_CDR: (0.0, 1.0),
    Column.AGE_YEARS: (0.0, 130.0),
    Column.IOP_MMHG: (0.0, 100.0),
}
"""Columns of text that hold a number in these bounds, or nothing."""
_WORDS: dict[Column, tuple[str, ...]] = {
    Column.LABEL: tuple(Label),
    Column.SPLIT: tuple(Split),
    Column.EYE: tuple(Eye),
    Column.SOURCE_PART: tuple(SourcePart),
    Column.DISC_STATE: tuple(StructureState),
    Column.CUP_STATE: tuple(StructureState),
}


def read_manifest(path: Path) -> pd.DataFrame:
    """The checked table of the manifest at `path`.

    Text columns hold str, "" where the file has nothing; `width` and `height` int64; the geometry columns, which only a
    prepared dataset has, float64. Rows stand in the order of the file, which is that of `image_id`.

    Args:
        path: The file, or the dataset's folder that holds it as `manifest.csv`.

    Raises:
        NotFoundError: No such file.
        DatasetError: Columns are missing or unknown, a value is none of its column's words, an id stands twice, or a
            number is none. The message lists every problem found.
    """
    import pandas as pd

    path = path / MANIFEST_NAME if path.is_dir() else path
    if not path.is_file():
        raise NotFoundError(
            f"No manifest at {path}",
            expected=f"a dataset's folder with a {MANIFEST_NAME}",
            remedy="normalize the archive first, or check the path",
        )
    try:
        frame = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8", skip_blank_lines=False)
    except (ValueError, pd.errors.ParserError) as error:
        raise DatasetError(f"{path} is not a readable CSV table ({error})", remedy=_MAKE_AGAIN) from error
    return _checked(frame, str(path))


def write_manifest(path: Path, frame: pd.DataFrame) -> None:
    """Writes `frame` to `path`, whole or not at all, after the same checks as `read_manifest` makes.

    The same rows give the same bytes whatever their order: rows are sorted by `image_id`, columns stand in the order of
    `Column` and then `GeometryColumn`, lines end in a line feed, floats are written so that they read back the same.

    Args:
        path: The file, or the folder that is to hold it as `manifest.csv`.
    """
    path = path / MANIFEST_NAME if path.is_dir() else path
    checked = _checked(frame, f"The table for {path}")
    text = io.StringIO()
    checked.to_csv(text, index=False, lineterminator="\n", quoting=csv.QUOTE_MINIMAL)
    write_bytes(path, text.getvalue().encode("utf-8"))


def manifest_columns(*, prepared: bool = False) -> list[str]:
    """The columns in their order; a prepared dataset's manifest has the geometry columns too."""
    return [*_COLUMNS, *_GEOMETRY] if prepared else list(_COLUMNS)


_MAKE_AGAIN = "run the stage that made it again; a manifest is not edited by hand"


def _checked(frame: pd.DataFrame, what: str) -> pd.DataFrame:
    """`frame` with the right types and order; `DatasetError` with every problem otherwise."""
    import pandas as pd

    prepared = any(name in frame.columns for name in _GEOMETRY)
    expected = manifest_columns(prepared=prepared)
    missing = [name for name in expected if name not in frame.columns and name not in _OPTIONAL]
    unknown = [str(name) for name in frame.columns if name not in expected]
    if missing or unknown:
        parts = [f"lacks the columns {', '.join(missing)}"] if missing else []
        parts += [f"has the unknown columns {', '.join(unknown)}"] if unknown else []
        raise DatasetError(f"{what} {' and '.join(parts)}", expected=", ".join(expected), remedy=_MAKE_AGAIN)
    table = frame.reindex(columns=expected)
    problems = _numbers(table, _WHOLE_NUMBERS, whole=True)
    problems += _numbers(table, _GEOMETRY if prepared else (), whole=False)
    for name in expected:
        if name not in _WHOLE_NUMBERS and name not in _GEOMETRY:
            table[name] = pd.Series([_text(value) for value in table[name]], index=table.index, dtype="str")
    problems += _wrong_values(table)
    if problems:
        raise DatasetError(f"{what} has wrong values: {'; '.join(problems)}", remedy=_MAKE_AGAIN)
    return table.sort_values(Column.IMAGE_ID.value, kind="stable").reset_index(drop=True)


def _text(value: object) -> str:
    """Empty for what is missing; enum members as their value."""
    if value is None or (isinstance(value, float) and value != value):
        return ""
    return str(value)


def _numbers(table: pd.DataFrame, names: Iterable[str], *, whole: bool) -> list[str]:
    """Turns the named columns into numbers in place; says which rows hold none."""
    import pandas as pd

    problems = []
    for name in names:
        numbers = pd.to_numeric(table[name], errors="coerce").astype("float64")
        wrong = ~numbers.map(lambda value: abs(value) < 1e9) | (whole and (numbers.fillna(0) % 1 != 0) | (numbers < 1))
        if wrong.any():
            kind = "a whole number of at least 1" if whole else "a finite number"
            problems.append(f"{name} is not {kind} for {_ids(table, wrong)}")
        else:
            table[name] = numbers.astype("int64" if whole else "float64")
    return problems


def _wrong_values(table: pd.DataFrame) -> list[str]:
    import pandas as pd

    ids = table[Column.IMAGE_ID.value]
    problems = []
    if table.empty:
        problems.append("it has no rows")
    if (twice := ids.duplicated(keep=False)).any():
        problems.append(f"image_id stands more than once: {_ids(table, twice)}")
    if (odd := ~ids.map(lambda value: bool(re.fullmatch(IMAGE_ID_PATTERN, value))).astype(bool)).any():
        problems.append(f"image_id is not {IMAGE_ID_PATTERN}: {_ids(table, odd)}")
    for column in _FILLED:
        if (empty := table[column.value] == "").any():
            problems.append(f"{column} is empty for {_ids(table, empty)}")
    for column, words in _WORDS.items():
        if (wrong := ~table[column.value].isin([str(word) for word in words])).any():
            seen = ", ".join(repr(value) for value in sorted(set(table.loc[wrong, column.value]))[:3])
            problems.append(f"{column} is {seen}, none of {_listed(words)}, for {_ids(table, wrong)}")
    for column, length in _HEX.items():
        good = table[column.value].map(
            lambda value, n=length: value == "" or bool(re.fullmatch(f"[0-9a-f]{{{n}}}", value))
        )
        if (wrong := ~good.astype(bool)).any():
            problems.append(f"{column} is not {length} hexadecimal digits for {_ids(table, wrong)}")
    for column, (low, high) in _RANGES.items():
        numbers = pd.to_numeric(table[column.value], errors="coerce")
        if (wrong := (table[column.value] != "") & ~numbers.between(low, high)).any():
            problems.append(f"{column} is no number from {low:g} to {high:g} for {_ids(table, wrong)}")
    for column in (Column.IMAGE, Column.MASK):
        if (wrong := table[column.value].map(_leaves_the_folder).astype(bool)).any():
            problems.append(f"{column} is not a path inside the dataset for {_ids(table, wrong)}")
    return problems


def _leaves_the_folder(path: str) -> bool:
    return PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts


def _listed(words: Sequence[str]) -> str:
    return ", ".join(str(word) or "(empty)" for word in words)


def _ids(table: pd.DataFrame, rows: pd.Series) -> str:
    """The first ids of the marked rows, and how many there are in all."""
    ids = [str(value) for value in table.loc[rows, Column.IMAGE_ID.value]]
    more = f" and {len(ids) - _SHOWN} more" if len(ids) > _SHOWN else ""
    return ", ".join(ids[:_SHOWN]) + more
