"""A zip archive's table of contents, read strictly: one end record, no byte that belongs to none.

The standard library's reader takes prepended data, trailing data and a table that does not fit its end record, and
reads a table of any size into memory. Two readers that forgive differently see two different archives in one file.
Source: APPNOTE.TXT 6.3.10, sections 4.3 to 4.5.
"""

from __future__ import annotations

import itertools
import os
import stat
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

from glaucoma.archives.refusals import damaged, over_limit, unsafe

LOCAL_HEADER = struct.Struct("<4s5H3L2H")
_CENTRAL = struct.Struct("<4s6H3L5H2L")
_END = struct.Struct("<4s4H2LH")
_END_64 = struct.Struct("<4sQ2H2L4Q")
_LOCATOR_64 = struct.Struct("<4sLQL")
_END_MAGIC = b"PK\x05\x06"
_LONGEST_COMMENT = 0xFFFF
_ENTRY_BYTES = 1024
"""Room in the table that one member may take on average."""
_UNKNOWN_16 = 0xFFFF
UNKNOWN_32 = 0xFFFFFFFF
ENCRYPTED_BITS = 0x2041
"""Traditional encryption, strong encryption, masked local headers."""
_UTF8_BIT = 0x800
_AES_METHOD = 99
ZIP64, _UNICODE_PATH = 0x0001, 0x7075


@dataclass(frozen=True, slots=True)
class ZipEntry:
    """One member as the table of contents has it.

    Args:
        name: As it will be checked and written.
        stored_name: The name field's bytes, which the member's own header must repeat.
        mode: The Unix mode's kind bits (`stat.S_IFMT`), 0 where none is given.
        offset: Where the member's own header begins.
    """

    name: str
    stored_name: bytes
    method: int
    flags: int
    crc: int
    packed: int
    size: int
    mode: int
    offset: int

    @property
    def is_encrypted(self) -> bool:
        return bool(self.flags & ENCRYPTED_BITS) or self.method == _AES_METHOD

    @property
    def is_folder(self) -> bool:
        return self.name.endswith("/") or self.mode == stat.S_IFDIR


@dataclass(frozen=True)
class ZipDirectory:
    """All entries in the table's order, and where the table begins (which is where the members end)."""

    entries: tuple[ZipEntry, ...]
    start: int


@dataclass(frozen=True)
class _End:
    """What the end record says, and where it (or the 64-bit one before it) begins."""

    entries: int
    bytes: int
    start: int
    at: int


def read_directory(raw: IO[bytes], label: str, *, max_files: int) -> ZipDirectory:
    """The table of contents of the zip in `raw`; one that is too large for `max_files` is refused unread.

    Raises:
        ArchiveError: No end record, two of them, data before the first member, between the members and the table or
            behind the end record, a table that does not fit, or members that share bytes.
    """
    end = _find_end(raw, label)
    if end.bytes > _ENTRY_BYTES * (max_files + 1):
        raise over_limit(label, f"a table of contents of {end.bytes} bytes", "max_files", max_files)
    if end.start + end.bytes != end.at:
        surplus = end.at - end.bytes - end.start
        if surplus < 0:
            raise damaged(label, f"its table of contents is to begin at byte {end.start}, behind its end")
        raise damaged(
            label, f"{surplus} bytes stand before its first member or its table of contents and belong to none"
        )
    raw.seek(end.start)
    table = raw.read(end.bytes)
    entries = tuple(_entries(table, label))
    if len(entries) != end.entries:
        raise damaged(label, f"its table of contents has {len(entries)} members, its end record says {end.entries}")
    _check_extents(entries, end.start, label)
    return ZipDirectory(entries, end.start)


def _find_end(raw: IO[bytes], label: str) -> _End:
    size = raw.seek(0, os.SEEK_END)
    base = max(0, size - _LONGEST_COMMENT - _END.size)
    raw.seek(base)
    tail = raw.read()
    found, last = [], tail.rfind(_END_MAGIC)
    at = tail.find(_END_MAGIC)
    while at >= 0:
        if at + _END.size <= len(tail) and at + _END.size + _comment_bytes(tail, at) == len(tail):
            found.append(at)
        at = tail.find(_END_MAGIC, at + 1)
    if not found:
        raise damaged(label, "it has no end record" if last < 0 else "its end record is cut off or data follow it")
    if len(found) > 1 or last != found[0]:
        raise damaged(label, "it has two end records, which two programs would read as two different archives")
    return _end_at(raw, tail, found[0], base, label)


def _comment_bytes(tail: bytes, at: int) -> int:
    return int.from_bytes(tail[at + _END.size - 2 : at + _END.size], "little")


def _end_at(raw: IO[bytes], tail: bytes, at: int, base: int, label: str) -> _End:
    _, disk, first_disk, here, entries, length, start, _ = _END.unpack_from(tail, at)
    end = _End(entries, length, start, base + at)
    if disk not in (0, _UNKNOWN_16) or first_disk not in (0, _UNKNOWN_16) or here != entries:
        raise damaged(label, "it is one part of an archive in several parts")
    raw.seek(max(0, end.at - _LOCATOR_64.size))
    locator = raw.read(_LOCATOR_64.size)
    if not locator.startswith(b"PK\x06\x07") or end.at < _LOCATOR_64.size:
        if entries == _UNKNOWN_16 or UNKNOWN_32 in (length, start):
            raise damaged(label, "its 64-bit end record is missing")
        return end
    return _end_64(raw, locator, end, label)


def _end_64(raw: IO[bytes], locator: bytes, end: _End, label: str) -> _End:
    _, disk, at, disks = _LOCATOR_64.unpack(locator)
    place = end.at - _LOCATOR_64.size
    if disk or disks > 1:
        raise damaged(label, "it is one part of an archive in several parts")
    if at + _END_64.size > place:
        raise damaged(label, "its 64-bit end record is not where it should be")
    raw.seek(at)
    record = raw.read(_END_64.size)
    magic, record_bytes, _, _, disk, first_disk, here, entries, length, start = _END_64.unpack(record)
    if magic != b"PK\x06\x06" or at + 12 + record_bytes != place:
        raise damaged(label, "its 64-bit end record is not where it should be")
    if disk or first_disk or here != entries:
        raise damaged(label, "it is one part of an archive in several parts")
    pairs = ((end.entries, entries, _UNKNOWN_16), (end.bytes, length, UNKNOWN_32), (end.start, start, UNKNOWN_32))
    if any(short not in (long, unknown) for short, long, unknown in pairs):
        raise damaged(label, "its two end records contradict each other")
    return _End(entries, length, start, at)


def _entries(table: bytes, label: str) -> Iterator[ZipEntry]:
    at = 0
    while at < len(table):
        if len(table) - at < _CENTRAL.size or not table.startswith(b"PK\x01\x02", at):
            raise damaged(label, f"its table of contents is broken at byte {at}")
        (_, _, _, flags, method, _, _, crc, packed, size, name_bytes, extra_bytes, comment_bytes, disk, _,
         attributes, offset) = _CENTRAL.unpack_from(table, at)  # fmt: skip
        name_at = at + _CENTRAL.size
        extra_at = name_at + name_bytes
        at = extra_at + extra_bytes + comment_bytes
        if at > len(table):
            raise damaged(label, "its table of contents is cut off")
        stored = table[name_at:extra_at]
        name = _decoded(stored, flags)
        if extra_bytes:
            extra = extra_fields(table[extra_at : extra_at + extra_bytes], label, name)
            size, packed, offset, disk = from_zip64(extra.get(ZIP64, b""), (size, packed, offset, disk), label, name)
            name = _unicode_name(extra.get(_UNICODE_PATH, b""), stored, name)
        elif UNKNOWN_32 in (size, packed, offset):
            raise damaged(label, "its 64-bit sizes are missing", name)
        if disk:
            raise damaged(label, "it is one part of an archive in several parts", name)
        mode = stat.S_IFMT(attributes >> 16)
        yield ZipEntry(name, stored, method, flags, crc, packed, size, mode, offset)


def _decoded(stored: bytes, flags: int) -> str:
    """The name as text. Some programs write UTF-8 without saying so; bytes that are none are taken as code page 437."""
    if flags & _UTF8_BIT:
        return stored.decode("utf-8", "surrogateescape")
    try:
        return stored.decode("utf-8")
    except UnicodeDecodeError:
        return stored.decode("cp437")


def extra_fields(extra: bytes, label: str, name: str) -> dict[int, bytes]:
    """The extra fields by their number; `ArchiveError` where one is cut off or one that matters stands twice."""
    fields: dict[int, bytes] = {}
    at = 0
    while len(extra) - at >= 4:
        kind, length = struct.unpack_from("<2H", extra, at)
        at += 4
        if at + length > len(extra):
            raise damaged(label, "an extra field is cut off", name)
        if kind in fields and kind in (ZIP64, _UNICODE_PATH):
            raise damaged(label, "one extra field stands twice", name)
        fields[kind] = extra[at : at + length]
        at += length
    return fields


def from_zip64(field: bytes, short: tuple[int, int, int, int], label: str, name: str) -> tuple[int, int, int, int]:
    """The four values, those that are full replaced by the 64-bit field's, where they stand in this order."""
    values, at = list(short), 0
    for place, (value, unknown, length) in enumerate(
        zip(short, (UNKNOWN_32, UNKNOWN_32, UNKNOWN_32, _UNKNOWN_16), (8, 8, 8, 4), strict=True)
    ):
        if value != unknown:
            continue
        if at + length > len(field):
            raise damaged(label, "its 64-bit sizes are missing", name)
        values[place] = int.from_bytes(field[at : at + length], "little")
        at += length
    return values[0], values[1], values[2], values[3]


def _unicode_name(field: bytes, stored: bytes, name: str) -> str:
    """The name of Info-ZIP's Unicode field, where it was made for this name; else `name`."""
    if len(field) < 5 or field[0] != 1 or int.from_bytes(field[1:5], "little") != zlib.crc32(stored):
        return name
    return field[5:].decode("utf-8", "surrogateescape")


def _check_extents(entries: tuple[ZipEntry, ...], table_at: int, label: str) -> None:
    """The first member stands at the start, and none reaches into the next; shared bytes are a bomb's work."""
    ordered = sorted(entries, key=lambda entry: entry.offset)
    if ordered and ordered[0].offset:
        raise damaged(label, f"{ordered[0].offset} bytes stand before its first member", ordered[0].name)
    if not ordered and table_at:
        raise damaged(label, f"it has {table_at} bytes and no member")
    for first, second in itertools.pairwise(ordered):
        if _least_end(first) > second.offset:
            raise unsafe(second.name, f"lies on the same bytes as {first.name!a}")
    if ordered and _least_end(ordered[-1]) > table_at:
        raise damaged(label, "it reaches behind the last member's end", ordered[-1].name)


def _least_end(entry: ZipEntry) -> int:
    return entry.offset + LOCAL_HEADER.size + len(entry.stored_name) + entry.packed
