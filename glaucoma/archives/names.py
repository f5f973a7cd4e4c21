"""Names inside an archive: which are safe to write, which are refused and why, which are rubbish."""

from __future__ import annotations

import re
import unicodedata
from pathlib import PurePosixPath

from glaucoma.archives.refusals import unsafe

_RESERVED = frozenset(
    ["con", "prn", "aux", "nul", *(f"com{digit}" for digit in "123456789"), *(f"lpt{digit}" for digit in "123456789")]
)
_JUNK_NAMES = frozenset(["thumbs.db", "desktop.ini", ".ds_store"])
_JUNK_FOLDERS = frozenset(["__macosx"])
_COMPONENT_BYTES = 255
_PATH_BYTES = 1024
_DRIVE = re.compile(r"[A-Za-z]:")
_HIDDEN = ("Cc", "Zl", "Zp")
_DIRECTION = frozenset("\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def safe_path(raw: str, *, max_depth: int) -> PurePosixPath:
    """The relative path to write a member called `raw` to, in Unicode's composed form (NFC).

    `.` and empty components go; a member that is only those (the root) gives the path `.`. The result never holds `..`,
    so joined to a folder it stays inside.

    Raises:
        ArchiveError: The name is absolute, climbs with `..`, has a drive, a backslash, a control character, a mark that
            turns the direction of reading, or bytes that are no UTF-8, is reserved on Windows, too long or too deep.
    """
    name = unicodedata.normalize("NFC", raw)
    if problem := _problem_of_whole(name):
        raise unsafe(raw, problem)
    parts = [part for part in name.split("/") if part not in ("", ".")]
    for part in parts:
        if problem := _problem_of_part(part):
            raise unsafe(raw, problem)
    if len(parts) > max_depth:
        raise unsafe(raw, f"stands {len(parts)} folders deep, {max_depth} are allowed")
    if len("/".join(parts).encode()) > _PATH_BYTES:
        raise unsafe(raw, f"is longer than {_PATH_BYTES} bytes")
    return PurePosixPath(*parts)


def _problem_of_whole(name: str) -> str:
    if not name:
        return "is empty"
    if not (name.isascii() and name.isprintable()):
        if any(unicodedata.category(char) in _HIDDEN for char in name):
            return "holds a control character"
        if any(unicodedata.category(char) == "Cs" for char in name):
            return "is not valid UTF-8"
        if not _DIRECTION.isdisjoint(name):
            return "holds a mark that turns the direction of reading, so that it shows as another name"
    if "\\" in name:
        return "holds a backslash, which another system reads as a folder"
    if name.startswith("/"):
        return "is absolute"
    return ""


def _problem_of_part(part: str) -> str:
    if part == "..":
        return "climbs out of the archive with '..'"
    if _DRIVE.match(part):
        return "names a drive"
    if len(part) > _COMPONENT_BYTES // 4 and len(part.encode()) > _COMPONENT_BYTES:
        return f"has a component longer than {_COMPONENT_BYTES} bytes"
    if part.split(".")[0].strip().casefold() in _RESERVED:
        return "is reserved on Windows"
    return ""


def is_junk(path: PurePosixPath) -> bool:
    """True for what desktops leave behind: `__MACOSX`, `._name`, `.DS_Store`, `Thumbs.db`, `desktop.ini`."""
    folded = [part.casefold() for part in path.parts]
    return bool(folded) and (
        not _JUNK_FOLDERS.isdisjoint(folded) or folded[-1] in _JUNK_NAMES or folded[-1].startswith("._")
    )


class NameRegister:
    """The names met so far; refuses a file that would land on, or under, an earlier one on any common file system."""

    def __init__(self) -> None:
        self._files: dict[str, str] = {}
        self._folders: dict[str, str] = {}

    def add_file(self, path: PurePosixPath) -> None:
        """Takes note of a file; `ArchiveError` where the name is taken, also in other letters' case."""
        name = str(path)
        if name == ".":
            raise unsafe(name, "has the archive's root for its name, which can only be a folder")
        self._add_folder(name.rpartition("/")[0])
        folded = _folded(name)
        if (earlier := self._files.get(folded)) is not None:
            same = "twice" if earlier == name else f"beside {earlier!a}, which differs only in letter case"
            raise unsafe(name, f"stands in it {same}")
        if folded in self._folders:
            raise unsafe(name, "is a file and a folder at once")
        self._files[folded] = name

    def add_folder(self, path: PurePosixPath) -> None:
        """Takes note of a folder and those above it; two spellings of one folder are refused like files."""
        if path.parts:
            self._add_folder(str(path))

    def _add_folder(self, name: str) -> None:
        while name:
            folded = _folded(name)
            earlier = self._folders.get(folded)
            if earlier == name:
                return
            if earlier is not None:
                raise unsafe(name, f"stands beside {earlier!a}, which differs only in letter case")
            if folded in self._files:
                raise unsafe(name, "is a file and a folder at once")
            self._folders[folded] = name
            name = name.rpartition("/")[0]

    def is_free(self, path: PurePosixPath) -> bool:
        """True where neither a file nor a folder has this name, in whatever letters' case."""
        folded = _folded(str(path))
        return folded not in self._files and folded not in self._folders

    def release(self, path: PurePosixPath) -> None:
        """Forgets a file that is there no more, so that a folder may take its name."""
        del self._files[_folded(str(path))]


def _folded(name: str) -> str:
    return name.lower() if name.isascii() else unicodedata.normalize("NFC", name.casefold())
