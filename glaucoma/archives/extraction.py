"""An archive's files written into a folder, hashed on the way, and the archives among them unpacked in their turn."""

from __future__ import annotations

import hashlib
import os
import stat
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from glaucoma.archives.disk import require_space
from glaucoma.archives.formats import (
    ArchiveFormat,
    Kind,
    may_be_archive,
    name_without_suffix,
    recognise_nested,
)
from glaucoma.archives.limits import Budget
from glaucoma.archives.members import Member
from glaucoma.archives.names import NameRegister, is_junk
from glaucoma.archives.readers import open_members
from glaucoma.archives.refusals import over_limit, unsafe
from glaucoma.archives.settings import UnpackSettings
from glaucoma.progress import Progress

_FILE_MODE = 0o444
"""Read-only: later stages hold hard links of these files, so a change in one place would be a change in all."""
_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_OUTER_SHARE = 0.9
"""How far progress goes for the outermost archive; those inside it are the rest."""


@dataclass
class Unpacked:
    """What came out.

    Attributes:
        files: `path`, `bytes`, `sha256` of each, by the path in the folder.
        set_aside: `source`, `reason` of what was not written.
        nested: `path`, `folder`, `format`, `compression`, `bytes`, `sha256` of archives that stood inside, in the order
            in which they were unpacked.
        total_bytes: Of `files`.
    """

    files: dict[str, dict[str, Any]] = field(default_factory=dict)
    set_aside: list[dict[str, str]] = field(default_factory=list)
    nested: list[dict[str, Any]] = field(default_factory=list)

    @property
    def total_bytes(self) -> int:
        return sum(int(entry["bytes"]) for entry in self.files.values())


def extract(
    archive: Path, kind: Kind, folder: Path, final: Path, settings: UnpackSettings, report: Progress
) -> Unpacked:
    """Unpacks `archive` into `folder`, which must not exist yet; archives inside it into folders named for them.

    After an error the folder holds what was written so far; whoever called removes it.

    Args:
        final: Where the folder will be in the end, named in messages.

    Raises:
        ArchiveError: Damaged, encrypted, over a limit, or with an unsafe member.
        DiskSpaceError: The stated size does not fit.
    """
    folder.mkdir()
    budget = Budget(str(archive), archive.stat().st_size, settings)
    return _Extraction(folder, final, budget, report).run(archive, kind)


class _Extraction:
    def __init__(self, folder: Path, final: Path, budget: Budget, report: Progress) -> None:
        self._folder = folder
        self._root = str(folder)
        self._final = final
        self._budget = budget
        self._report = report
        self._names = NameRegister()
        self._made = {""}
        self._share = 0.0
        self._unpacked = Unpacked()

    def run(self, archive: Path, kind: Kind) -> Unpacked:
        self._unpack(archive, str(archive), kind, "", 0)
        return self._unpacked

    def _unpack(self, archive: Path, label: str, kind: Kind, prefix: str, depth: int) -> None:
        inner: list[str] = []
        with open_members(archive, label, kind, self._budget) as members:
            stated = members.stated_bytes or archive.stat().st_size
            require_space(self._folder, stated, f"the files of {archive.name}", self._final)
            for member in members.each:
                self._take(member, prefix, depth, inner)
        if kind.format in (ArchiveFormat.SEVEN_ZIP, ArchiveFormat.RAR):
            self._check_written()
        for name in sorted(inner):
            self._unpack_nested(name, label, depth + 1)

    def _take(self, member: Member, prefix: str, depth: int, inner: list[str]) -> None:
        self._budget.add_member()
        path = PurePosixPath(prefix, member.path) if prefix else member.path
        if member.chunks is None:
            self._names.add_folder(path)
            return
        self._names.add_file(path)
        if is_junk(path):
            self._unpacked.set_aside.append({"source": str(path), "reason": "left behind by a desktop"})
            return
        name = str(path)
        entry, head = self._write(name, member)
        self._unpacked.files[name] = entry
        if may_be_archive(head):
            inner.append(name)
        if depth == 0:
            self._share = member.position * _OUTER_SHARE
        self._report(self._share, f"{len(self._unpacked.files)} files, {self._budget.bytes / 1e6:.1f} MB")

    def _write(self, name: str, member: Member) -> tuple[dict[str, Any], bytes]:
        """Writes one file, hashed and counted while it goes through; gives its entry and its first bytes."""
        parent = name.rpartition("/")[0]
        if parent not in self._made:
            (self._folder / parent).mkdir(parents=True, exist_ok=True)
            self._made.add(parent)
        hasher, size, head = hashlib.sha256(), 0, b""
        descriptor = os.open(f"{self._root}/{name}", _FLAGS, _FILE_MODE)
        try:
            for chunk in member.chunks or ():
                if not size:
                    head = chunk[:512]
                size += len(chunk)
                self._budget.add_bytes(name, size, len(chunk))
                hasher.update(chunk)
                _write_all(descriptor, chunk)
        finally:
            os.close(descriptor)
        return {"path": name, "bytes": size, "sha256": hasher.hexdigest()}, head

    def _unpack_nested(self, name: str, label: str, depth: int) -> None:
        """Unpacks the archive at `name` beside it, into a folder with its name less the suffix, and removes it.

        Where that name is taken, the folder has the archive's whole name.
        """
        path = self._folder / name
        kind = recognise_nested(path)
        if kind is None:
            return
        settings = self._budget.settings
        if depth > settings.max_nesting:
            found = f"an archive inside {depth} other{'s' if depth > 1 else ''}, {name!a}"
            raise over_limit(label, found, "max_nesting", settings.max_nesting)
        aside = self._folder.with_name(f"{self._folder.name}.nested-{len(self._unpacked.nested)}")
        path.rename(aside)
        source = PurePosixPath(name)
        folder = source.with_name(name_without_suffix(source.name))
        if folder == source or not self._names.is_free(folder):
            self._names.release(source)
            folder = source
        self._names.add_folder(folder)
        entry = self._unpacked.files.pop(name)
        self._unpacked.nested.append(
            {**entry, "folder": str(folder), "format": kind.format.value, "compression": kind.compression.value}
        )
        self._unpack(aside, f"{label} > {name}", kind, str(folder), depth)
        aside.unlink()

    def _check_written(self) -> None:
        """Looks at what lies in the folder after an outside program had a hand in it: the files written, no other."""
        seen = 0
        for place, _, names in os.walk(self._folder, followlinks=False):
            for name in names:
                path = Path(place, name)
                relative = path.relative_to(self._folder).as_posix()
                status = path.lstat()
                entry = self._unpacked.files.get(relative)
                if entry is None or not stat.S_ISREG(status.st_mode) or status.st_nlink != 1:
                    raise unsafe(relative, "lies in the folder and was not written here")
                if status.st_size != entry["bytes"]:
                    raise unsafe(relative, f"has {status.st_size} bytes of {entry['bytes']} that were written")
                seen += 1
        if seen != len(self._unpacked.files):
            raise unsafe(str(self._folder), f"holds {seen} files of {len(self._unpacked.files)} that were written")


def _write_all(descriptor: int, chunk: bytes) -> None:
    written = os.write(descriptor, chunk)
    while written < len(chunk):
        written += os.write(descriptor, chunk[written:])
