"""What kind of archive a file is, told by its first bytes and never by its name."""

from __future__ import annotations

import bz2
import gzip
import lzma
import struct
import tarfile
import zlib
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import IO, cast

from glaucoma.errors import ArchiveError


class Compression(StrEnum):
    """What lies around a tar archive."""

    NONE = ""
    GZIP = "gzip"
    BZIP2 = "bzip2"
    XZ = "xz"


class ArchiveFormat(StrEnum):
    """A kind of archive that is read."""

    ZIP = "zip"
    TAR = "tar"


BROKEN_STREAM = (EOFError, OSError, zlib.error, lzma.LZMAError)
"""What the decompressors raise on a damaged or cut-off stream; `OSError` without `errno` in gzip's and bzip2's case."""

_COMPRESSIONS = (
    (b"\x1f\x8b", Compression.GZIP),
    (b"BZh", Compression.BZIP2),
    (b"\xfd7zXZ\x00", Compression.XZ),
)
_NAMED_BUT_NOT_READ = (
    (b"Rar!\x1a\x07", "a RAR archive"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive"),
    (b"\x28\xb5\x2f\xfd", "compressed with Zstandard"),
    (b"\x04\x22\x4d\x18", "compressed with LZ4"),
)
_NO_ARCHIVES = (
    (b"%PDF", "a PDF document", "check the path"),
    (b"<!DOCTYPE", "a web page, perhaps a download's error or login page", "fetch the archive again"),
    (b"<html", "a web page, perhaps a download's error or login page", "fetch the archive again"),
    (b"version https://git-lfs", "a Git LFS pointer, not the file itself", "fetch the file with git lfs pull"),
    (b"\xff\xd8\xff", "a JPEG photograph", "pack the folder with all photographs into a zip archive"),
    (b"\x89PNG", "a PNG image", "pack the folder with all photographs into a zip archive"),
)
_EXPECTED = "a zip archive, or a tar archive, plain or compressed with gzip, bzip2 or xz"
_REPACK = "unpack it with its own program and pack the files as zip or tar"
_TAR_BLOCK = 512
_END_RECORD = struct.Struct("<4s4H2LH")
_END_RECORD_64 = struct.Struct("<4sQ2H2L4Q")
_LOCATOR_64_BYTES = 20
_LONGEST_COMMENT = 65_535
_UNKNOWN_32 = 0xFFFFFFFF


def checked_file(path: Path) -> Path:
    """`path`, if it is a file with something in it; `ArchiveError` says what it is instead."""
    if not path.exists():
        raise ArchiveError(f"There is no archive at {path}", expected="a file", remedy="check the path")
    if path.is_dir():
        raise ArchiveError(f"{path} is a folder", expected=_EXPECTED, remedy="pack the folder into a zip archive first")
    if not path.is_file():
        raise ArchiveError(f"{path} is not a regular file", expected=_EXPECTED)
    if path.stat().st_size == 0:
        raise ArchiveError(f"{path} is empty (0 bytes)", expected=_EXPECTED, remedy="fetch the archive again")
    return path


def recognise(path: Path) -> tuple[ArchiveFormat, Compression]:
    """The format of the archive at `path`, and the compression around it (none around a zip).

    Raises:
        ArchiveError: The file is no archive that is read here; the message says what it looks like.
    """
    with path.open("rb") as handle:
        head = handle.read(_TAR_BLOCK)
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return ArchiveFormat.ZIP, Compression.NONE
    if head.startswith((b"PK\x07\x08", b"PK00PK")):
        raise _not_read(path, "one part of a zip archive in several parts", "join the parts into one archive first")
    if _is_tar_header(head):
        return ArchiveFormat.TAR, Compression.NONE
    for magic, compression in _COMPRESSIONS:
        if head.startswith(magic):
            return ArchiveFormat.TAR, _around_a_tar(path, compression)
    for magic, what in _NAMED_BUT_NOT_READ:
        if head.lstrip().startswith(magic):
            raise _not_read(path, what)
    for magic, what, remedy in _NO_ARCHIVES:
        if head.lstrip().startswith(magic):
            raise _not_read(path, what, remedy)
    raise _not_read(path, f"no archive that is known here (it begins with {head[:8].hex(' ')})", "check the path")


def decompressed(raw: IO[bytes], compression: Compression) -> IO[bytes]:
    """The bytes of the tar archive in `raw`, decompressed while they are read; closing it leaves `raw` open."""
    openers: dict[Compression, Callable[[IO[bytes]], object]] = {
        Compression.NONE: lambda handle: handle,
        Compression.GZIP: lambda handle: gzip.GzipFile(fileobj=handle, mode="rb"),
        Compression.BZIP2: lambda handle: bz2.BZ2File(handle, "rb"),
        Compression.XZ: lambda handle: lzma.LZMAFile(handle, "rb"),  # noqa: SIM115  # closed with `raw`
    }
    return cast("IO[bytes]", openers[compression](raw))


def zip_directory_bytes(path: Path) -> int:
    """Size of a zip archive's table of contents as its end records state it; -1 where no end record is found.

    `zipfile` reads that table into memory whole, so it is asked for before, at the places where `zipfile` looks.
    Source: APPNOTE 4.3.14 to 4.3.16.
    """
    size = path.stat().st_size
    with path.open("rb") as handle:
        handle.seek(max(0, size - _LONGEST_COMMENT - _END_RECORD.size - _LOCATOR_64_BYTES - _END_RECORD_64.size))
        tail = handle.read()
    at = len(tail) - _END_RECORD.size
    if at < 0 or not (tail.startswith(b"PK\x05\x06", at) and tail.endswith(b"\0\0")):
        at = tail.rfind(b"PK\x05\x06")
    if at < 0 or len(tail) - at < _END_RECORD.size:
        return -1
    stated = int(_END_RECORD.unpack_from(tail, at)[5])
    locator_at = at - _LOCATOR_64_BYTES
    record_at = locator_at - _END_RECORD_64.size
    if record_at < 0 or not tail.startswith(b"PK\x06\x07", locator_at):
        return stated
    return max(stated if stated != _UNKNOWN_32 else 0, int(_END_RECORD_64.unpack_from(tail, record_at)[8]))


def _around_a_tar(path: Path, compression: Compression) -> Compression:
    """`compression`, if what it holds begins as a tar archive does."""
    try:
        with path.open("rb") as raw:
            first = decompressed(raw, compression).read(_TAR_BLOCK)
    except BROKEN_STREAM as error:
        raise ArchiveError(
            f"{path} begins as {compression} and cannot be decompressed ({error})",
            expected=_EXPECTED,
            remedy="fetch the archive again; it is damaged or was cut short",
        ) from error
    if not _is_tar_header(first):
        raise _not_read(path, f"a single {compression}-compressed file and no tar archive")
    return compression


def _is_tar_header(block: bytes) -> bool:
    """True for a block whose checksum is a tar header's, or for an empty archive's block of zeros."""
    if len(block) < _TAR_BLOCK:
        return False
    if not block.strip(b"\0"):
        return True
    try:
        tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except tarfile.HeaderError:
        return False
    return True


def _not_read(path: Path, what: str, remedy: str = _REPACK) -> ArchiveError:
    return ArchiveError(f"{path} is {what}", expected=_EXPECTED, consequence="Nothing was unpacked", remedy=remedy)
