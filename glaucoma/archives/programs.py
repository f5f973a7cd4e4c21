"""The outside programs that unpack 7z and RAR: which there are, what each is asked, how its list is read."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from glaucoma.archives.child import running
from glaucoma.archives.limits import Budget
from glaucoma.archives.listing import Listed
from glaucoma.archives.members import kind_by_mode
from glaucoma.archives.refusals import damaged, encrypted, over_limit, unsafe
from glaucoma.archives.tar_reader import TarMembers
from glaucoma.errors import ArchiveError

_UNIX_MODE = re.compile(r"[-dlbcps][-rwxsStT]{9}")
_MODE_LETTERS = {"l": 0o120000, "p": 0o010000, "s": 0o140000}
_ENCRYPTED = re.compile(r"encrypt|password|break signaled", re.IGNORECASE)
_LONGEST_LINE = 1 << 16


@dataclass(frozen=True)
class Program:
    """A program on this machine.

    Args:
        path: Where it lies.
        is_seven_zip: 7-Zip in one of its builds, or else libarchive's `bsdtar`.
    """

    path: str
    is_seven_zip: bool

    @property
    def name(self) -> str:
        return Path(self.path).name

    def contents(self, archive: str, *, as_tar: bool = False) -> list[str]:
        """The command that writes all files to its output in the archive's order: bare contents, or a tar archive."""
        if as_tar:
            return [self.path, "-cf", "-", "--format=pax", f"@{archive}"]
        if self.is_seven_zip:
            return [self.path, "x", "-so", "-bd", "-y", "-sccUTF-8", archive]
        return [self.path, "-xOf", archive]

    def test(self, archive: str) -> list[str]:
        """The command that ends well where the program knows this kind of archive at all."""
        return [self.path, "l", "-ba", "-bd", archive] if self.is_seven_zip else [self.path, "-tf", archive]


def find_programs() -> list[Program]:
    """The programs that there are, the better one first: 7-Zip says of each file whether its checksum holds."""
    names = (("7zz", True), ("7z", True), ("7za", True), ("bsdtar", False))
    return [Program(path, is_seven_zip) for name, is_seven_zip in names if (path := shutil.which(name))]


def missing_program(label: str, what: str) -> ArchiveError:
    """The refusal where no program is there that could unpack `what`."""
    return ArchiveError(
        f"{label} is {what} archive, and no program on this machine unpacks it",
        expected="7-Zip (7zz or 7z) or libarchive's bsdtar on the PATH",
        consequence="Nothing was unpacked",
        remedy="install one of them (Debian, Ubuntu: apt install 7zip libarchive-tools; for RAR also 7zip-rar), "
        "or unpack it elsewhere and pack the files as zip or tar",
    )


def failed(label: str, program: Program, told: str, *, timed_out: bool, budget: Budget) -> ArchiveError:
    """What a program's failure says of the archive."""
    if timed_out:
        seconds = budget.settings.max_seconds
        return over_limit(label, f"more than {program.name} unpacks in {seconds:g} seconds", "max_seconds", seconds)
    if _ENCRYPTED.search(told):
        return encrypted(label)
    return damaged(label, f"{program.name} says: {told[:300] or 'nothing'}")


def list_seven_zip(archive: Path, label: str, program: Program, budget: Budget) -> list[Listed]:
    """What `program` finds in the 7z archive.

    Raises:
        ArchiveError: It cannot read it, or a member is no file or folder, encrypted, or one too many.
    """
    return (
        _list_by_seven_zip(archive, label, program, budget)
        if program.is_seven_zip
        else _list_by_bsdtar(archive, label, program, budget)
    )


def _list_by_seven_zip(archive: Path, label: str, program: Program, budget: Budget) -> list[Listed]:
    command = [program.path, "l", "-slt", "-ba", "-bd", "-sccUTF-8", archive.name]
    listed: list[Listed] = []
    with running(command, archive.parent, budget.seconds_left) as child:
        for facts in _blocks(child.output, label):
            listed.append(_listed(facts, label))
            if len(listed) > budget.settings.max_files:
                raise over_limit(label, f"more than {len(listed) - 1} members", "max_files", budget.settings.max_files)
        if child.finish() != 0:
            raise failed(label, program, child.told, timed_out=child.timed_out, budget=budget)
    return listed


def _blocks(output: IO[bytes], label: str) -> Iterator[dict[str, str]]:
    """7-Zip's technical list: lines `Name = value`, a blank line behind each member."""
    facts: dict[str, str] = {}
    while line := output.readline(_LONGEST_LINE):
        if len(line) == _LONGEST_LINE:
            raise damaged(label, "a name of more than 64 KiB")
        key, equals, value = line.decode("utf-8", "surrogateescape").rstrip("\r\n").partition(" = ")
        if equals:
            facts[key] = value
        elif not key.strip():
            if "Path" in facts:
                yield facts
            facts = {}
    if "Path" in facts:
        yield facts


def _listed(facts: dict[str, str], label: str) -> Listed:
    name = facts["Path"]
    if facts.get("Encrypted") == "+":
        raise encrypted(label, name)
    words = facts.get("Attributes", "").split()
    modes = [word for word in words if _UNIX_MODE.fullmatch(word)]
    if modes and modes[-1][0] not in "-d":
        raise unsafe(name, f"is {kind_by_mode(_MODE_LETTERS.get(modes[-1][0], 0))}")
    letters = words[0] if words and words[0] not in modes else ""
    if "L" in letters or facts.get("Symbolic Link") or facts.get("Hard Link"):
        raise unsafe(name, "is a link")
    if facts.get("Anti") == "+":
        raise unsafe(name, "asks for a file to be removed")
    is_folder = "D" in letters or (bool(modes) and modes[-1][0] == "d") or facts.get("Folder") == "+"
    size, crc = facts.get("Size", ""), facts.get("CRC", "")
    if not is_folder and not size.isdigit():
        raise damaged(label, "its size is not stated", name)
    return Listed(name, int(size) if size.isdigit() else 0, int(crc, 16) if crc and not is_folder else None, is_folder)


def _list_by_bsdtar(archive: Path, label: str, program: Program, budget: Budget) -> list[Listed]:
    """`bsdtar` has no list that a program can read safely; it turns the archive into a tar, whose headers are read."""
    command = program.contents(archive.name, as_tar=True)
    size = archive.stat().st_size
    listed: list[Listed] = []
    with running(command, archive.parent, budget.seconds_left) as child:
        try:
            for member in TarMembers(child.output, label, size, budget, lambda: 0.0):
                length = sum(len(chunk) for chunk in member.chunks or ())
                listed.append(Listed(str(member.path), length, None, member.chunks is None))
        except ArchiveError:
            if child.output.read(1) or child.finish() == 0:
                raise
            raise failed(label, program, child.told, timed_out=child.timed_out, budget=budget) from None
        if child.finish() != 0 or child.told:
            raise failed(label, program, child.told, timed_out=child.timed_out, budget=budget)
    return listed
