"""What kind of archive a file is, told by its first bytes and never by its name."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from glaucoma.archives.streams import BrokenStreamError, Compression, decompressed
from glaucoma.archives.tar_headers import TAR_BLOCK, has_tar_checksum
from glaucoma.archives.zip_directory import read_directory
from glaucoma.errors import ArchiveError


class ArchiveFormat(StrEnum):
    """A kind of archive that is read."""

    ZIP = "zip"
    TAR = "tar"
    SEVEN_ZIP = "7z"
    RAR = "rar"


@dataclass(frozen=True)
class Kind:
    """A format, and the compression around it (only a tar has one)."""

    format: ArchiveFormat
    compression: Compression = Compression.NONE


_MAGICS = (
    (b"PK\x03\x04", Kind(ArchiveFormat.ZIP)),
    (b"PK\x05\x06", Kind(ArchiveFormat.ZIP)),
    (b"7z\xbc\xaf\x27\x1c", Kind(ArchiveFormat.SEVEN_ZIP)),
    (b"Rar!\x1a\x07", Kind(ArchiveFormat.RAR)),
    (b"\x1f\x8b", Kind(ArchiveFormat.TAR, Compression.GZIP)),
    (b"BZh", Kind(ArchiveFormat.TAR, Compression.BZIP2)),
    (b"\xfd7zXZ\x00", Kind(ArchiveFormat.TAR, Compression.XZ)),
    (b"\x28\xb5\x2f\xfd", Kind(ArchiveFormat.TAR, Compression.ZSTD)),
)
_JPEG = b"\xff\xd8\xff"
_FETCH_AGAIN = "fetch the archive again"
_REPACK = "unpack it with its own program and pack the files as zip or tar"
_PACK_FOLDER = "pack the folder with all photographs into a zip archive"
_NOT_READ = (
    (b"PK\x07\x08", "one part of a zip archive in several parts", "join the parts into one archive first"),
    (b"PK00PK", "one part of a zip archive in several parts", "join the parts into one archive first"),
    (b"MZ", "a Windows program, perhaps an archive that unpacks itself", _REPACK),
    (b"\x7fELF", "a program, perhaps an archive that unpacks itself", _REPACK),
    (b"\x04\x22\x4d\x18", "compressed with LZ4", _REPACK),
    (b"%PDF", "a PDF document", "check the path"),
    (b"<!DOCTYPE", "a web page, perhaps a download's error or login page", _FETCH_AGAIN),
    (b"<html", "a web page, perhaps a download's error or login page", _FETCH_AGAIN),
    (b"version https://git-lfs", "a Git LFS pointer, not the file itself", "fetch the file with git lfs pull"),
    (_JPEG, "a JPEG photograph", _PACK_FOLDER),
    (b"\x89PNG", "a PNG image", _PACK_FOLDER),
)
_EXPECTED = "a zip, 7z or rar archive, or a tar archive, plain or compressed with gzip, bzip2, xz or zstd"
_DOCUMENT_PARTS = frozenset(["[Content_Types].xml", "mimetype", "META-INF/MANIFEST.MF"])
"""What only files that are zip archives inside have: office documents, e-books, Java programs."""
_DOCUMENT_STARTS = (
    b"[Content_Types].xml",
    b"mimetype",
    b"META-INF/",
    b"_rels/",
    b"docProps/",
    b"xl/",
    b"word/",
    b"ppt/",
)
_FIRST_NAME_AT, _FIRST_NAME_END = 30, 64
"""Where the first member's name stands in a zip."""
_SUFFIXES = (
    ".tar.gz", ".tar.bz2", ".tar.xz", ".tar.zst", ".tgz", ".tbz2", ".tbz", ".txz", ".tzst", ".tar",
    ".zip", ".7z", ".rar",
)  # fmt: skip


def checked_file(path: Path) -> Path:
    """`path`, if it is a file with something in it; `ArchiveError` says what it is instead."""
    if not path.exists():
        raise ArchiveError(f"There is no archive at {path}", expected="a file", remedy="check the path")
    if path.is_dir():
        raise ArchiveError(f"{path} is a folder", expected=_EXPECTED, remedy="pack the folder into a zip archive first")
    if not path.is_file():
        raise ArchiveError(f"{path} is not a regular file", expected=_EXPECTED)
    if path.stat().st_size == 0:
        raise ArchiveError(f"{path} is empty (0 bytes)", expected=_EXPECTED, remedy=_FETCH_AGAIN)
    return path


def recognise(path: Path) -> Kind:
    """The kind of the archive at `path`.

    Raises:
        ArchiveError: The file is no archive that is read here; the message says what it looks like.
    """
    with path.open("rb") as handle:
        head = handle.read(TAR_BLOCK)
    kind = _kind_by_head(head)
    if kind is None:
        raise _not_an_archive(path, head)
    if kind.compression is not Compression.NONE:
        try:
            first = _first_block(path, kind.compression)
        except BrokenStreamError as error:
            raise ArchiveError(
                f"{path} begins as {kind.compression} and cannot be decompressed ({error})",
                expected=_EXPECTED,
                remedy="fetch the archive again; it is damaged or was cut short",
            ) from error
        if not is_tar_start(first):
            raise _not_read(path, f"a single {kind.compression}-compressed file and no tar archive", _REPACK)
    return kind


def may_be_archive(head: bytes) -> bool:
    """True for the first bytes of what `recognise_nested` should look at."""
    kind = _kind_by_head(head)
    return kind is not None and bool(head[:TAR_BLOCK].strip(b"\0"))


def recognise_nested(path: Path) -> Kind | None:
    """The kind of a file that came out of an archive, or None where it is to stay a file.

    That is what no archive is, a single compressed file (`scan.nii.gz`), an office document or a NumPy archive, which
    are zips inside, and what begins as a compressed file and cannot be decompressed.
    """
    with path.open("rb") as handle:
        head = handle.read(TAR_BLOCK)
    kind = _kind_by_head(head) if may_be_archive(head) else None
    if kind is None:
        return None
    if kind.compression is not Compression.NONE:
        try:
            first = _first_block(path, kind.compression)
        except BrokenStreamError:
            return None
        return kind if first.strip(b"\0") and is_tar_start(first) else None
    return None if kind.format is ArchiveFormat.ZIP and _is_document(path) else kind


def name_without_suffix(name: str) -> str:
    """`name` without an archive's suffix; the same name where it has none, or is nothing else."""
    folded = name.casefold()
    for suffix in _SUFFIXES:
        if folded.endswith(suffix):
            return name[: -len(suffix)].rstrip(". ") or name
    return name


def is_tar_start(block: bytes) -> bool:
    """True for a block whose checksum is a tar header's, or for an empty archive's block of zeros."""
    return len(block) == TAR_BLOCK and (not block.strip(b"\0") or has_tar_checksum(block))


def _kind_by_head(head: bytes) -> Kind | None:
    if head.startswith(_JPEG):  # by far the most files of a dataset; what follows takes longer
        return None
    for magic, kind in _MAGICS:
        if head.startswith(magic):
            return kind
    return Kind(ArchiveFormat.TAR) if is_tar_start(head[:TAR_BLOCK]) else None


def _first_block(path: Path, compression: Compression) -> bytes:
    with path.open("rb") as raw:
        return decompressed(raw, compression).read(TAR_BLOCK)


def _is_document(path: Path) -> bool:
    """True for a zip that serves as one file, told by its first name or by all of them."""
    with path.open("rb") as raw:
        if raw.read(_FIRST_NAME_END)[_FIRST_NAME_AT:].startswith(_DOCUMENT_STARTS):
            return True
        try:
            names = {entry.name for entry in read_directory(raw, path.name, max_files=10_000).entries}
        except ArchiveError:
            return False
    return not names.isdisjoint(_DOCUMENT_PARTS) or (bool(names) and all(name.endswith(".npy") for name in names))


def _not_an_archive(path: Path, head: bytes) -> ArchiveError:
    for magic, what, remedy in _NOT_READ:
        if head.lstrip().startswith(magic):
            return _not_read(path, what, remedy)
    return _not_read(path, f"no archive that is known here (it begins with {head[:8].hex(' ')})", "check the path")


def _not_read(path: Path, what: str, remedy: str) -> ArchiveError:
    return ArchiveError(f"{path} is {what}", expected=_EXPECTED, consequence="Nothing was unpacked", remedy=remedy)
