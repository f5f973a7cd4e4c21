"""The members of an archive, one after the other, in a single pass, each checked before a byte of it is given out.

The standard library's `extract*` are never called: their filters let duplicates, links inside the tree and bombs
through, and some of their versions write outside the destination.
"""

from __future__ import annotations

import contextlib
import itertools
import stat
import struct
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from glaucoma.archives.formats import (
    BROKEN_STREAM,
    ArchiveFormat,
    Compression,
    decompressed,
    zip_directory_bytes,
)
from glaucoma.archives.names import safe_path, unsafe
from glaucoma.archives.settings import UnpackSettings
from glaucoma.errors import ArchiveError

_TAR_BLOCK = 512
_TAR_HEADER_BYTES = 64 * 1024
"""Most that one read of a tar header may ask for: a name of a gigabyte would be read into memory whole."""
_ZIP_ENTRY_BYTES = 1024
"""Room in a zip's table of contents that one file may take on average."""
_ZIP_LOCAL_HEADER_BYTES = 30
_READ_BYTES = 1 << 20


@dataclass(frozen=True)
class Member:
    """One regular file of an archive, or a folder (without `read`).

    Args:
        path: Safe relative path.
        read: Gives the next bytes, at most 1 MiB, and b"" at the end. Only good until the next member is asked for.
        position: Share of the archive that lies before this member, 0 to 1.
    """

    path: PurePosixPath
    read: Callable[[], bytes] | None
    position: float


@dataclass(frozen=True)
class Members:
    """What an archive holds: bytes that it says it will take on disk (0: it does not say), and the members in order."""

    stated_bytes: int
    each: Iterator[Member]


@contextlib.contextmanager
def open_members(
    archive: Path, kind: ArchiveFormat, compression: Compression, settings: UnpackSettings
) -> Iterator[Members]:
    """The members of `archive`; a zip's whole table of contents is checked before the first of them.

    Raises:
        ArchiveError: Here or while iterating: damaged, cut short, encrypted, over a limit, or a member that is no
            regular file or folder or has an unsafe name.
    """
    with archive.open("rb") as raw:
        if kind is ArchiveFormat.ZIP:
            with _zip_file(archive, raw, settings) as opened:
                infos = opened.infolist()
                _check_zip(archive, infos, settings)
                yield Members(sum(info.file_size for info in infos), _zip_members(archive, opened, settings))
        else:
            stated = archive.stat().st_size if compression is Compression.NONE else 0
            yield Members(stated, _tar_members(archive, raw, compression, settings))


@contextlib.contextmanager
def _damage_named(archive: Path) -> Iterator[None]:
    """Turns what the readers raise on broken bytes into `ArchiveError`; the disk's own errors pass."""
    try:
        yield
    except (*BROKEN_STREAM, zipfile.BadZipFile, tarfile.TarError, struct.error, ValueError, RecursionError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise damaged(archive, str(error) or type(error).__name__) from error
    except NotImplementedError as error:
        raise ArchiveError(
            f"{archive} uses a form of zip that is not read here ({error})",
            expected="members that are stored, or compressed with deflate, bzip2 or LZMA",
            consequence="Nothing was unpacked",
            remedy="unpack it with its own program and pack the files as zip or tar",
        ) from error


def damaged(archive: Path, what: str) -> ArchiveError:
    """The refusal of an archive whose bytes do not hold together."""
    return ArchiveError(
        f"{archive} is damaged or was cut short: {what}",
        expected="a complete archive",
        consequence="Nothing of it was kept",
        remedy="fetch the archive again and compare its size or checksum with the source's",
    )


def _zip_file(archive: Path, raw: IO[bytes], settings: UnpackSettings) -> zipfile.ZipFile:
    directory_bytes = zip_directory_bytes(archive)
    if directory_bytes > _ZIP_ENTRY_BYTES * (settings.max_files + 1):
        raise over_limit(archive, f"a table of contents of {directory_bytes} bytes", "max_files", settings.max_files)
    with _damage_named(archive):
        return zipfile.ZipFile(raw)


def _check_zip(archive: Path, infos: list[zipfile.ZipInfo], settings: UnpackSettings) -> None:
    """Refuses by the table of contents alone what it gives away: kinds, encryption, limits, bombs, overlaps."""
    if len(infos) > settings.max_files:
        raise over_limit(archive, f"{len(infos)} members", "max_files", settings.max_files)
    for info in infos:
        name = info.orig_filename
        safe_path(name, max_depth=settings.max_depth)
        if info.flag_bits & 0x41:
            raise ArchiveError(
                f"{archive} is encrypted (its member {name!a} asks for a password)",
                expected="an archive without a password",
                consequence="Nothing was unpacked",
                remedy="unpack it with its password and pack the files again without one",
            )
        mode = stat.S_IFMT(info.external_attr >> 16)
        if mode not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise unsafe(name, f"is {_kind_by_mode(mode)}")
        if info.file_size > settings.max_file_bytes:
            raise over_limit(archive, f"{name!a} of {info.file_size} bytes", "max_file_bytes", settings.max_file_bytes)
        if info.file_size > max(settings.ratio_floor_bytes, settings.max_ratio * info.compress_size):
            found = f"{name!a}, {info.compress_size} bytes that become {info.file_size}"
            raise over_limit(archive, found, "max_ratio", settings.max_ratio)
    total = sum(info.file_size for info in infos)
    if total > settings.max_total_bytes:
        raise over_limit(archive, f"{total} bytes of files", "max_total_bytes", settings.max_total_bytes)
    _check_overlaps(archive, infos)


def _check_overlaps(archive: Path, infos: list[zipfile.ZipInfo]) -> None:
    """Two members that share bytes are a bomb's work: small archives become huge that way."""
    ordered = sorted(infos, key=lambda info: info.header_offset)
    for first, second in itertools.pairwise(ordered):
        if first.header_offset + _ZIP_LOCAL_HEADER_BYTES + first.compress_size > second.header_offset:
            raise unsafe(second.orig_filename, f"lies on the same bytes as {first.orig_filename!a}")


def _zip_members(archive: Path, opened: zipfile.ZipFile, settings: UnpackSettings) -> Iterator[Member]:
    infos = opened.infolist()
    total, before = max(1, sum(info.compress_size for info in infos)), 0
    for info in infos:
        path = safe_path(info.orig_filename, max_depth=settings.max_depth)
        if info.orig_filename.endswith("/") or stat.S_ISDIR(info.external_attr >> 16):
            yield Member(path, None, before / total)
            continue
        with _damage_named(archive):
            stream = opened.open(info)
        with stream:
            yield Member(path, _reading(archive, stream), before / total)
        before += info.compress_size


def _reading(archive: Path, stream: IO[bytes]) -> Callable[[], bytes]:
    def read() -> bytes:
        with _damage_named(archive):
            return stream.read(_READ_BYTES)

    return read


class _Forward:
    """A stream that is only read forwards, counts what came through, and remembers the last block.

    `tarfile` treats a broken header in the middle as the end; the last block tells the two apart.
    """

    def __init__(self, archive: Path, stream: IO[bytes], settings: UnpackSettings) -> None:
        self._archive = archive
        self._stream = stream
        self._settings = settings
        self._most = max(settings.ratio_floor_bytes, settings.max_ratio * archive.stat().st_size)
        self._at = 0
        self.last = b""

    def tell(self) -> int:
        return self._at

    def read(self, size: int) -> bytes:
        """For `tarfile`: a header's bytes."""
        if not 0 <= size <= _TAR_HEADER_BYTES:
            raise damaged(self._archive, f"a header of {size} bytes")
        self.last = self.take(size)
        return self.last

    def take(self, size: int) -> bytes:
        """Exactly `size` bytes, fewer only at the end of the stream."""
        parts: list[bytes] = []
        left = size
        while left and (part := self._stream.read(left)):
            parts.append(part)
            left -= len(part)
        self._at += size - left
        if self._at > self._most:
            raise over_limit(self._archive, f"more than {self._at} bytes", "max_ratio", self._settings.max_ratio)
        return b"".join(parts)

    def seek(self, position: int) -> None:
        if position < self._at:
            raise damaged(self._archive, "a header that points backwards")
        while self._at < position and self.take(min(_READ_BYTES, position - self._at)):
            pass


def _tar_members(archive: Path, raw: IO[bytes], compression: Compression, settings: UnpackSettings) -> Iterator[Member]:
    size, count = archive.stat().st_size, 0
    with _damage_named(archive):
        stream = _Forward(archive, decompressed(raw, compression), settings)
        opened = tarfile.TarFile(fileobj=stream, mode="r")  # type: ignore[arg-type]  # of a file it needs only these
    while True:
        with _damage_named(archive):
            info = opened.next()
        if info is None:
            break
        count += 1
        if count > settings.max_files:
            raise over_limit(archive, f"more than {settings.max_files} members", "max_files", settings.max_files)
        path = safe_path(info.name, max_depth=settings.max_depth)
        position = raw.tell() / size
        if info.isdir():
            yield Member(path, None, position)
            continue
        _check_tar_member(archive, info, settings)
        yield Member(path, _taking(archive, stream, info.size), position)
    with _damage_named(archive):
        _check_tar_end(archive, stream)


def _check_tar_member(archive: Path, info: tarfile.TarInfo, settings: UnpackSettings) -> None:
    if not info.isreg() or info.issparse():
        raise unsafe(info.name, f"is {_kind_in_tar(info)}")
    if info.size < 0:
        raise damaged(archive, f"{info.name!a} has {info.size} bytes")
    if info.size > settings.max_file_bytes:
        found = f"{info.name!a} of {info.size} bytes"
        raise over_limit(archive, found, "max_file_bytes", settings.max_file_bytes)


def _taking(archive: Path, stream: _Forward, size: int) -> Callable[[], bytes]:
    left = size

    def read() -> bytes:
        nonlocal left
        wanted = min(_READ_BYTES, left)
        with _damage_named(archive):
            chunk = stream.take(wanted)
        if len(chunk) < wanted:
            raise damaged(archive, f"it ends {left - len(chunk)} bytes before a file's end")
        left -= wanted
        return chunk

    return read


def _check_tar_end(archive: Path, stream: _Forward) -> None:
    """A tar archive ends with a block of zeros, and nothing but zeros follows."""
    if stream.last != bytes(_TAR_BLOCK):
        raise damaged(archive, "the end marker is missing")
    while rest := stream.take(_READ_BYTES):
        if rest.strip(b"\0"):
            raise damaged(archive, "more data follows its end marker")


def _kind_by_mode(mode: int) -> str:
    return {stat.S_IFLNK: "a symbolic link", stat.S_IFIFO: "a named pipe", stat.S_IFSOCK: "a socket"}.get(
        mode, "a device or another special file"
    )


def _kind_in_tar(info: tarfile.TarInfo) -> str:
    if info.issym():
        return f"a symbolic link to {info.linkname!a}"
    if info.islnk():
        return f"a hard link to {info.linkname!a}"
    return "a sparse file" if info.issparse() else "a device or another special file"


def over_limit(archive: Path, found: str, setting: str, limit: float) -> ArchiveError:
    """The refusal of an archive that goes over a limit of the settings."""
    return ArchiveError(
        f"{archive} holds {found}",
        expected=f"at most {setting} = {limit:g}",
        consequence="Nothing of it was kept",
        remedy=f"if the archive is known to be good, raise unpack.{setting}",
    )
