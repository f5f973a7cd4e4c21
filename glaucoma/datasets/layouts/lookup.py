"""Finding files and rows in a tree by the names that sources give them, whatever the letter case."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import PurePosixPath

from glaucoma.datasets.imagefile import StoredSize, UnreadableImageError, stored_size
from glaucoma.datasets.layouts.sheets import readable_sheets, records
from glaucoma.datasets.tree import Tree, stem_key
from glaucoma.errors import DatasetError


def in_folder(path: PurePosixPath, *names: str) -> bool:
    """The folder that a file lies in has one of these names (given in small letters)."""
    return path.parent.name.casefold() in names


def below_folder(path: PurePosixPath, *names: str) -> bool:
    """One of the folders above a file has one of these names (given in small letters)."""
    return any(part.casefold() in names for part in path.parent.parts)


def by_stem(paths: Iterable[PurePosixPath]) -> dict[str, PurePosixPath]:
    """Files by their names without endings, in small letters; of two with one name the first counts."""
    found: dict[str, PurePosixPath] = {}
    for path in paths:
        found.setdefault(path.stem.casefold(), path)
    return found


def rows_with(tree: Tree, *headings: str) -> list[dict[str, str]]:
    """The rows of the first table with all these headings (in `heading_key` form), as heading -> cell; else []."""
    return next((rows for sheet in readable_sheets(tree) if (rows := records(sheet, headings))), [])


def by_image(rows: Iterable[dict[str, str]], heading: str) -> dict[str, dict[str, str]]:
    """Rows by the image that the cell under `heading` names: its name without ending, in small letters.

    Quotation marks around or behind the name, and folders before it, do not count.

    Raises:
        DatasetError: Two rows name one image and differ.
    """
    found: dict[str, dict[str, str]] = {}
    for row in rows:
        name = row.get(heading, "").strip().strip("'\"’‘` ").replace("\\", "/")
        if not name:
            continue
        key = stem_key(name)
        if found.setdefault(key, row) != row:
            raise DatasetError(
                f"A table names the image {name!r} twice and says different things of it",
                expected="one row an image",
                remedy="correct the table and pack the archive again",
            )
    return found


def size_of(tree: Tree, photograph: PurePosixPath) -> StoredSize:
    """The size of a photograph, from the head of its file, for contours that state none.

    Raises:
        DatasetError: No readable image.
    """
    try:
        return stored_size(tree.full(photograph))
    except UnreadableImageError as error:
        raise DatasetError(f"The photograph's size cannot be told: {error}") from error
