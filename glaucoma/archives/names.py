"""Names inside an archive: which are safe to write, which are refused and why, which are rubbish."""

from __future__ import annotations

import re
import unicodedata
from pathlib import PurePosixPath

from glaucoma.errors import ArchiveError

_RESERVED = frozenset(
    ["con", "prn", "aux", "nul", *(f"com{digit}" for digit in "123456789"), *(f"lpt{digit}" for digit in "123456789")]
)
_JUNK_NAMES = frozenset(["thumbs.db", "desktop.ini", ".ds_store"])
_JUNK_FOLDERS = frozenset(["__macosx"])
_COMPONENT_BYTES = 255
_PATH_BYTES = 1024
_REFUSED = "Nothing of the archive was kept"
_REMEDY = "make the archive again from the original files, or ask its source for a sound one"


def safe_path(raw: str, *, max_depth: int) -> PurePosixPath:
    """The relative path to write a member called `raw` to, in Unicode's composed form (NFC).

    `.` and empty components go; a member that is only those (the root) gives the path `.`. The result never holds `..`,
    so joined to a folder it stays inside.

    Raises:
        ArchiveError: The name is absolute, climbs with `..`, has a drive, a backslash, a control character or bytes
            that are no UTF-8, is reserved on Windows, too long or too deep.
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
    if any(unicodedata.category(char) in ("Cc", "Zl", "Zp") for char in name):
        return "holds a control character"
    if any(unicodedata.category(char) == "Cs" for char in name):
        return "is not valid UTF-8"
    if "\\" in name:
        return "holds a backslash, which another system reads as a folder"
    if name.startswith("/"):
        return "is absolute"
    return ""


def _problem_of_part(part: str) -> str:
    if part == "..":
        return "climbs out of the archive with '..'"
    if re.match(r"[A-Za-z]:", part):
        return "names a drive"
    if len(part.encode()) > _COMPONENT_BYTES:
        return f"has a component longer than {_COMPONENT_BYTES} bytes"
    if part.split(".")[0].strip().casefold() in _RESERVED:
        return "is reserved on Windows"
    return ""


def unsafe(raw: str, problem: str) -> ArchiveError:
    """The refusal of a member: its name, shown so that it cannot disturb a terminal, and what is wrong with it."""
    shown = raw if len(raw) <= 120 else raw[:117] + "..."
    return ArchiveError(
        f"The archive's member {shown!a} {problem}",
        expected="regular files and folders with plain relative names",
        consequence=_REFUSED,
        remedy=_REMEDY,
    )


def is_junk(path: PurePosixPath) -> bool:
    """True for what desktops leave behind: `__MACOSX`, `._name`, `.DS_Store`, `Thumbs.db`, `desktop.ini`."""
    folded = [part.casefold() for part in path.parts]
    return bool(folded) and (
        any(part in _JUNK_FOLDERS for part in folded) or folded[-1] in _JUNK_NAMES or folded[-1].startswith("._")
    )


class NameRegister:
    """The names met so far; refuses a file that would land on, or under, an earlier one on any common file system."""

    def __init__(self) -> None:
        self._files: dict[str, str] = {}
        self._folders: dict[str, str] = {}

    def add_file(self, path: PurePosixPath) -> None:
        """Takes note of a file; `ArchiveError` where the name is taken, also in other letters' case."""
        if not path.parts:
            raise unsafe(str(path), "has the archive's root for its name, which can only be a folder")
        self.add_folder(path.parent)
        folded = _folded(path)
        if (earlier := self._files.get(folded)) is not None:
            same = "twice" if earlier == str(path) else f"beside {earlier!a}, which differs only in letter case"
            raise unsafe(str(path), f"stands in it {same}")
        if folded in self._folders:
            raise unsafe(str(path), "is a file and a folder at once")
        self._files[folded] = str(path)

    def add_folder(self, path: PurePosixPath) -> None:
        """Takes note of a folder and those above it; two spellings of one folder are refused like files."""
        folder = path
        while folder.parts:
            folded = _folded(folder)
            earlier = self._folders.get(folded)
            if earlier == str(folder):
                return
            if earlier is not None:
                raise unsafe(str(folder), f"stands beside {earlier!a}, which differs only in letter case")
            if folded in self._files:
                raise unsafe(str(folder), "is a file and a folder at once")
            self._folders[folded] = str(folder)
            folder = folder.parent


def _folded(path: PurePosixPath) -> str:
    return unicodedata.normalize("NFC", str(path).casefold())
