"""The table of contents of a RAR archive, versions 4 and 5, read without an outside program.

RAR's compression needs an outside program; its headers do not. Read here they give names, kinds, sizes and checksums
that the program's output is held against: some programs unpack a damaged RAR without a word.
Source: RARLAB's "RAR 5.0 archive format"; for version 4 `technote.txt` of WinRAR 4.
"""

from __future__ import annotations

import os
import stat
import struct
import zlib
from collections.abc import Iterator
from typing import IO

from glaucoma.archives.listing import Listed
from glaucoma.archives.rar_names import name_of_version_4
from glaucoma.archives.refusals import damaged, encrypted, over_limit, unsafe

_MAGIC_4 = b"Rar!\x1a\x07\x00"
_MAGIC_5 = b"Rar!\x1a\x07\x01\x00"
_MOST_HEADER_BYTES = 1 << 21
"""What RAR 5 allows for a header."""
_MAIN_5, _FILE_5, _ENCRYPTION_5, _END_5 = 1, 2, 4, 5
_REDIRECTIONS = {
    1: "a symbolic link",
    2: "a symbolic link",
    3: "a junction",
    4: "a hard link",
    5: "a reference to another file",
}
_MAIN_4, _FILE_4, _END_4 = 0x73, 0x74, 0x7B
_WINDOWS_REPARSE, _WINDOWS_FOLDER = 0x400, 0x10
_VOLUMES = "it is one part of an archive in several parts"


def read_rar(raw: IO[bytes], label: str, *, max_files: int) -> list[Listed]:
    """All files and folders in archive order.

    Raises:
        ArchiveError: Broken headers, a password, several volumes, a member that is no file or folder, too many members.
    """
    size = raw.seek(0, os.SEEK_END)
    raw.seek(0)
    magic = raw.read(len(_MAGIC_5))
    if magic == _MAGIC_5:
        blocks = _read_5(raw, size, label)
    elif magic.startswith(_MAGIC_4):
        blocks = _read_4(raw, size, label)
    else:
        raise damaged(label, "it is of no known version of RAR")
    listed = []
    for one in blocks:
        listed.append(one)
        if len(listed) > max_files:
            raise over_limit(label, f"more than {max_files} members", "max_files", max_files)
    return listed


class _Fields:
    """A header's numbers and bytes, one after the other."""

    def __init__(self, content: bytes, label: str) -> None:
        self._content = content
        self._label = label
        self.at = 0

    @property
    def left(self) -> int:
        return len(self._content) - self.at

    def take(self, count: int) -> bytes:
        if count > self.left:
            raise damaged(self._label, "a header is cut off")
        self.at += count
        return self._content[self.at - count : self.at]

    def number(self) -> int:
        """RAR 5's number of variable length: seven bits a byte, the lowest first."""
        value = 0
        for place in range(10):
            byte = self.take(1)[0]
            value |= (byte & 0x7F) << (7 * place)
            if not byte & 0x80:
                return value
        raise damaged(self._label, "a number in a header is too long")


def _read_5(raw: IO[bytes], size: int, label: str) -> Iterator[Listed]:
    raw.seek(len(_MAGIC_5))
    while True:
        start = raw.read(7)
        fields = _Fields(start[4:], label)
        length = fields.number()
        if length > _MOST_HEADER_BYTES:
            raise damaged(label, f"a header of {length} bytes")
        raw.seek(fields.at - 3, os.SEEK_CUR)
        content = raw.read(length)
        if len(content) < length or zlib.crc32(start[4 : 4 + fields.at] + content) != int.from_bytes(
            start[:4], "little"
        ):
            raise damaged(label, "a header is broken")
        fields = _Fields(content, label)
        kind, flags = fields.number(), fields.number()
        extra_bytes = fields.number() if flags & 1 else 0
        packed = fields.number() if flags & 2 else 0
        if extra_bytes > fields.left or raw.tell() + packed > size:
            raise damaged(label, "a header is broken or a member is cut off")
        if kind == _ENCRYPTION_5:
            raise encrypted(label)
        if (kind == _MAIN_5 and fields.number() & 1) or (flags & 0x18 and kind == _FILE_5):
            raise damaged(label, _VOLUMES)
        if kind == _END_5:
            if fields.number() & 1:
                raise damaged(label, _VOLUMES)
            return _check_end(raw, label)
        if kind == _FILE_5:
            yield _file_5(fields, extra_bytes, packed, label)
        raw.seek(packed, os.SEEK_CUR)


def _file_5(fields: _Fields, extra_bytes: int, packed: int, label: str) -> Listed:
    flags, size, attributes = fields.number(), fields.number(), fields.number()
    if flags & 2:
        fields.take(4)
    crc = int.from_bytes(fields.take(4), "little") if flags & 4 else None
    fields.number()
    host = fields.number()
    name = fields.take(fields.number()).decode("utf-8", "surrogateescape")
    if flags & 8:
        raise damaged(label, "its size is not stated", name)
    if fields.left != extra_bytes:
        raise damaged(label, "its header is broken", name)
    while fields.left:
        length = fields.number()
        record = _Fields(fields.take(length), label)
        kind = record.number()
        if kind == 1:
            raise encrypted(label, name)
        if kind == 5:
            raise unsafe(name, f"is {_REDIRECTIONS.get(record.number(), 'a link')}")
    is_folder = bool(flags & 1)
    _check_kind(name, attributes, is_unix=host == 1, is_folder=is_folder)
    return Listed(name, size, crc, is_folder, packed)


def _read_4(raw: IO[bytes], size: int, label: str) -> Iterator[Listed]:
    raw.seek(len(_MAGIC_4))
    while True:
        start = raw.read(7)
        if len(start) < 7:
            raise damaged(label, "its end is missing")
        crc, kind, flags, length = struct.unpack("<HBHH", start)
        content = raw.read(max(0, length - 7))
        if length < 7 or len(content) < length - 7:
            raise damaged(label, "a header is cut off")
        if kind == _MAIN_4 and flags & 0x80:
            raise encrypted(label)
        if zlib.crc32(start[2:] + content) & 0xFFFF != crc and kind in (_MAIN_4, _FILE_4, _END_4):
            raise damaged(label, "a header is broken")
        if (kind in (_MAIN_4, _END_4) and flags & 1) or (kind == _FILE_4 and flags & 3):
            raise damaged(label, _VOLUMES)
        if kind == _END_4:
            return _check_end(raw, label)
        packed = 0
        if kind == _FILE_4:
            one = _file_4(_Fields(content, label), flags, label)
            packed = one.packed or 0
            yield one
        elif flags & 0x8000:
            packed = int.from_bytes(content[:4], "little")
        if raw.tell() + packed > size:
            raise damaged(label, "a member is cut off")
        raw.seek(packed, os.SEEK_CUR)


def _file_4(fields: _Fields, flags: int, label: str) -> Listed:
    packed, size, host, crc, _, _, _, name_bytes, attributes = struct.unpack("<LLBLLBBHL", fields.take(25))
    if flags & 0x100:
        high_packed, high_size = struct.unpack("<LL", fields.take(8))
        packed, size = packed | high_packed << 32, size | high_size << 32
    name = name_of_version_4(fields.take(name_bytes), is_unicode=bool(flags & 0x200), label=label)
    if host in (0, 1, 2):
        name = name.replace("\\", "/")
    if flags & 4:
        raise encrypted(label, name)
    is_folder = flags & 0xE0 == 0xE0
    _check_kind(name, attributes, is_unix=host in (3, 5), is_folder=is_folder)
    return Listed(name, size, None if is_folder else crc, is_folder, packed)


def _check_kind(name: str, attributes: int, *, is_unix: bool, is_folder: bool) -> None:
    if is_unix and (mode := stat.S_IFMT(attributes)) not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise unsafe(name, "is a symbolic link" if mode == stat.S_IFLNK else "is a device or another special file")
    if not is_unix and attributes & _WINDOWS_REPARSE:
        raise unsafe(name, "is a symbolic link or a junction")
    if not is_unix and not is_folder and attributes & _WINDOWS_FOLDER:
        raise unsafe(name, "is a file and a folder at once")


def _check_end(raw: IO[bytes], label: str) -> None:
    while rest := raw.read(1 << 20):
        if rest.strip(b"\0"):
            raise damaged(label, "more data follows its end")
