"""The unpack stage: an archive becomes a folder of plain files and a list of their hashes, or nothing at all."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from glaucoma.archives.disk import full_disk_named
from glaucoma.archives.formats import ArchiveFormat, Compression, checked_file, recognise
from glaucoma.archives.names import NameRegister, is_junk
from glaucoma.archives.readers import Member, open_members, over_limit
from glaucoma.archives.settings import UnpackSettings
from glaucoma.errors import ArchiveError
from glaucoma.progress import Progress, silent
from glaucoma.provenance import Built, StageOutput, file_sha256, require_disk_space, run_stage
from glaucoma.workspace import Workspace

RECORD_NAME = "archive.json"
FILES_FOLDER = "files"
_FILE_MODE = 0o444
"""Read-only: later stages hold hard links of these files, so a change in one place would be a change in all."""


@dataclass
class _Unpacked:
    files: list[dict[str, Any]] = field(default_factory=list)
    set_aside: list[dict[str, str]] = field(default_factory=list)
    total_bytes: int = 0


def unpack(
    archive: Path, workspace: Workspace, settings: UnpackSettings | None = None, *, report: Progress = silent
) -> StageOutput:
    """Unpacks `archive` into `workspace.archives/<key>/files/`, with `archive.json` beside.

    The format is told by content: zip, or tar, plain or compressed with gzip, bzip2 or xz. What desktops leave behind
    (`__MACOSX`, `.DS_Store`, `Thumbs.db`, ..) is skipped and named in the record. Archives inside the archive stay as
    they are.

    Returns:
        Details: `archive` (file name), `format`, `compression`, `archive_sha256`, `files` (`path`, `bytes`, `sha256`,
        by path) and `set_aside` (`source`, `reason`). Counts: `files`, `bytes`, `set_aside`.

    Raises:
        ArchiveError: No archive, damaged, encrypted, over a limit, or with an unsafe member.
        DiskSpaceError: Too little space before, or none left while writing.
    """
    settings = settings or UnpackSettings()
    checked_file(archive)
    kind, compression = recognise(archive)
    before = archive.stat()
    report(0.0, f"reading {archive.name} for its checksum")
    sha256 = file_sha256(archive)

    def build(staging: Path) -> Built:
        with full_disk_named(staging, f"unpacking {archive}"):
            unpacked = _write_all(archive, kind, compression, staging / FILES_FOLDER, settings, report)
        after = archive.stat()
        if (after.st_size, after.st_mtime_ns) != (before.st_size, before.st_mtime_ns):
            raise ArchiveError(
                f"{archive} changed while it was read",
                consequence="Nothing of it was kept",
                remedy="wait until the copy or download is complete, and start again",
            )
        details = {
            "archive": archive.name,
            "format": kind.value,
            "compression": compression.value,
            "archive_sha256": sha256,
            "files": sorted(unpacked.files, key=lambda entry: str(entry["path"])),
            "set_aside": unpacked.set_aside,
        }
        counts = {
            "files": len(unpacked.files),
            "bytes": unpacked.total_bytes,
            "set_aside": len(unpacked.set_aside),
        }
        return Built(counts, details)

    output = run_stage(
        stage="unpack",
        workspace=workspace,
        parent=workspace.archives,
        record_name=RECORD_NAME,
        inputs={"archive": sha256},
        settings=settings,
        module=__name__,
        build=build,
    )
    report(1.0, f"{output.record.counts['files']} files, {output.record.counts['bytes'] / 1e6:.1f} MB")
    return output


def _write_all(
    archive: Path,
    kind: ArchiveFormat,
    compression: Compression,
    folder: Path,
    settings: UnpackSettings,
    report: Progress,
) -> _Unpacked:
    folder.mkdir()
    unpacked, names = _Unpacked(), NameRegister()
    with open_members(archive, kind, compression, settings) as members:
        stated = members.stated_bytes or archive.stat().st_size
        require_disk_space(folder, stated, f"the files of {archive.name}")
        for member in members.each:
            if member.read is None:
                names.add_folder(member.path)
                continue
            names.add_file(member.path)
            if is_junk(member.path):
                unpacked.set_aside.append({"source": str(member.path), "reason": "left behind by a desktop"})
                continue
            unpacked.files.append(_write(archive, member, folder, unpacked, settings))
            report(member.position, f"{len(unpacked.files)} files, {unpacked.total_bytes / 1e6:.1f} MB")
    if not unpacked.files:
        aside = f", only {len(unpacked.set_aside)} that a desktop left behind" if unpacked.set_aside else ""
        raise ArchiveError(
            f"{archive} holds no files{aside}", expected="a dataset's files", remedy="check what was packed"
        )
    return unpacked


def _write(
    archive: Path, member: Member, folder: Path, unpacked: _Unpacked, settings: UnpackSettings
) -> dict[str, Any]:
    """Writes one file, hashed and counted while it goes through."""
    target = folder / member.path
    target.parent.mkdir(parents=True, exist_ok=True)
    hasher, size = hashlib.sha256(), 0
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, _FILE_MODE)
    with os.fdopen(descriptor, "wb") as handle:
        for chunk in _chunks(member):
            size += len(chunk)
            unpacked.total_bytes += len(chunk)
            if size > settings.max_file_bytes:
                found = f"{str(member.path)!a} of more than {size} bytes"
                raise over_limit(archive, found, "max_file_bytes", settings.max_file_bytes)
            if unpacked.total_bytes > settings.max_total_bytes:
                found = f"more than {unpacked.total_bytes} bytes of files"
                raise over_limit(archive, found, "max_total_bytes", settings.max_total_bytes)
            hasher.update(chunk)
            handle.write(chunk)
    return {"path": str(member.path), "bytes": size, "sha256": hasher.hexdigest()}


def _chunks(member: Member) -> Iterator[bytes]:
    assert member.read is not None  # noqa: S101  # only files are written; said for the type checker
    while chunk := member.read():
        yield chunk
