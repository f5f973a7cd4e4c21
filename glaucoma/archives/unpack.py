"""The unpack stage: an archive becomes a folder of plain files and a list of their hashes, or nothing at all."""

from __future__ import annotations

from pathlib import Path

from glaucoma.archives.disk import full_disk_named
from glaucoma.archives.extraction import extract
from glaucoma.archives.formats import checked_file, recognise
from glaucoma.archives.settings import UnpackSettings
from glaucoma.errors import ArchiveError, shown_bytes
from glaucoma.progress import Progress, silent
from glaucoma.provenance import Built, StageOutput, file_sha256, run_stage
from glaucoma.workspace import Workspace

RECORD_NAME = "archive.json"
FILES_FOLDER = "files"


def unpack(
    archive: Path, workspace: Workspace, settings: UnpackSettings | None = None, *, report: Progress = silent
) -> StageOutput:
    """Unpacks `archive` into `workspace.archives/<key>/files/`, with `archive.json` beside.

    The format is told by content: zip, tar (plain or compressed with gzip, bzip2, xz or Zstandard), and where 7-Zip or
    `bsdtar` is installed 7z and RAR. What desktops leave behind (`__MACOSX`, `.DS_Store`, `Thumbs.db`, ..) is skipped
    and named in the record. Archives inside the archive are unpacked into folders named for them.

    Returns:
        Details: `archive` (file name), `format`, `compression`, `archive_sha256`, `files` (`path`, `bytes`, `sha256`,
        by path), `nested` (the archives that stood inside) and `set_aside` (`source`, `reason`). Counts: `files`,
        `bytes`, `nested`, `set_aside`.

    Raises:
        ArchiveError: No archive, damaged, encrypted, over a limit, or with an unsafe member.
        DiskSpaceError: Too little space before, or none left while writing.
    """
    settings = settings or UnpackSettings()
    checked_file(archive)
    kind = recognise(archive)
    before = archive.stat()
    report(0.0, f"reading {archive.name} for its checksum")
    sha256 = file_sha256(archive)

    def build(staging: Path) -> Built:
        with full_disk_named(workspace.archives, f"unpacking {archive}"):
            unpacked = extract(archive, kind, staging / FILES_FOLDER, workspace.archives, settings, report)
        after = archive.stat()
        if (after.st_size, after.st_mtime_ns) != (before.st_size, before.st_mtime_ns):
            raise ArchiveError(
                f"{archive} changed while it was read",
                consequence="Nothing of it was kept",
                remedy="wait until the copy or download is complete, and start again",
            )
        if not unpacked.files:
            aside = f", only {len(unpacked.set_aside)} that a desktop left behind" if unpacked.set_aside else ""
            raise ArchiveError(
                f"{archive} holds no files{aside}", expected="a dataset's files", remedy="check what was packed"
            )
        counts = {
            "files": len(unpacked.files),
            "bytes": unpacked.total_bytes,
            "nested": len(unpacked.nested),
            "set_aside": len(unpacked.set_aside),
        }
        details = {
            "archive": archive.name,
            "format": kind.format.value,
            "compression": kind.compression.value,
            "archive_sha256": sha256,
            "files": [unpacked.files[name] for name in sorted(unpacked.files)],
            "nested": unpacked.nested,
            "set_aside": unpacked.set_aside,
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
    report(1.0, f"{output.record.counts['files']} files, {shown_bytes(output.record.counts['bytes'])}")
    return output
