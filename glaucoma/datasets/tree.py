"""The files of an unpacked archive as a layout sees them: relative paths in order, and a short picture for people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from glaucoma.archives.names import is_junk
from glaucoma.synthetic.marker import MARKER_NAME

IMAGE_ENDINGS = frozenset([".jpg", ".jpeg", ".jpe", ".png", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".jp2"])
TABLE_ENDINGS = frozenset([".csv", ".tsv", ".xlsx", ".xls"])

_FOLDERS_SHOWN = 24
_EXAMPLES = 2

_Value = TypeVar("_Value")


@dataclass(frozen=True)
class Tree:
    """A folder and the files in it, by path relative to it, in alphabetical order.

    Paths are those inside the archive; adapters look at names and at the content of tables and masks, never at the name
    of the folder that all stands in, which changes from one download to the next.
    """

    root: Path
    files: tuple[PurePosixPath, ...]
    synthetic: bool

    @classmethod
    def of(cls, root: Path, paths: Iterable[str]) -> Tree:
        """The tree of the listed files under `root`, less what desktops leave behind (`__MACOSX`, `Thumbs.db`, ..).

        The note that marks generated photographs is taken out too.
        """
        files = sorted(path for path in map(PurePosixPath, paths) if not is_junk(path))
        notes = [path for path in files if path.name == MARKER_NAME]
        return cls(root, tuple(path for path in files if path not in notes), synthetic=bool(notes))

    def full(self, path: PurePosixPath | str) -> Path:
        """Where a file of the tree lies on disk."""
        return self.root / path

    @cached_property
    def images(self) -> tuple[PurePosixPath, ...]:
        """Files with an image's ending, in any letter case; masks are among them."""
        return tuple(path for path in self.files if is_image(path))

    @cached_property
    def tables(self) -> tuple[PurePosixPath, ...]:
        """Files with a table's ending (.csv, .tsv, .xlsx, .xls)."""
        tables = (path for path in self.files if path.suffix.lower() in TABLE_ENDINGS)
        return tuple(path for path in tables if not path.name.startswith("~$"))  # a lock that Excel left

    @cached_property
    def _made(self) -> dict[Hashable, Any]:
        return {}

    def once(self, key: Hashable, make: Callable[[], _Value]) -> _Value:
        """What `make` gives, made at the first call with that `key`: layouts that look at one table read it once."""
        if key not in self._made:
            self._made[key] = make()
        value: _Value = self._made[key]
        return value

    def shown(self) -> str:
        """One line a folder: how many files of which ending, and two names; at most 24 folders."""
        lines = list(self._lines())
        more = [f"  and {len(lines) - _FOLDERS_SHOWN} more folders"] if len(lines) > _FOLDERS_SHOWN else []
        return "\n".join([f"{len(self.files)} files:", *lines[:_FOLDERS_SHOWN], *more])

    def _lines(self) -> Iterator[str]:
        by_folder: dict[PurePosixPath, list[PurePosixPath]] = {}
        for path in self.files:
            by_folder.setdefault(path.parent, []).append(path)
        for folder, paths in sorted(by_folder.items()):
            endings = Counter(path.suffix.lower() or "(no ending)" for path in paths).most_common()
            counts = ", ".join(f"{number} {ending}" for ending, number in endings)
            names = ", ".join(path.name for path in paths[:_EXAMPLES])
            yield f"  {folder}/: {counts} ({names}{', ..' if len(paths) > _EXAMPLES else ''})"


def is_image(path: PurePosixPath) -> bool:
    """True for a file that an image's ending marks as one."""
    return path.suffix.lower() in IMAGE_ENDINGS


def stem_key(path: PurePosixPath | str) -> str:
    """What pairs a mask or a table's row with a photograph: the file's name without its ending, in one letter case."""
    pure = PurePosixPath(path)
    return (pure.stem if is_image(pure) else pure.name).casefold()
