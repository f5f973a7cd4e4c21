"""The members of a zip archive, decompressed and checked in one pass over its bytes."""

from __future__ import annotations

import bz2
import lzma
import os
import struct
import zlib
from collections.abc import Iterator
from itertools import pairwise
from pathlib import PurePosixPath
from typing import IO, Any

from glaucoma.archives.limits import Budget
from glaucoma.archives.members import Member, Members, kind_by_mode
from glaucoma.archives.names import safe_path
from glaucoma.archives.refusals import damaged, encrypted, unsafe, unsupported
from glaucoma.archives.zip_directory import LOCAL_HEADER, ZipEntry, read_directory
from glaucoma.archives.zip_local import check_descriptor, check_local_header

_PIECE_BYTES = 1 << 20
_STORED, _DEFLATED, _BZIP2, _LZMA = 0, 8, 12, 14
_METHODS = {9: "Deflate64", 93: "Zstandard", 95: "XZ", 96: "JPEG", 97: "WavPack", 98: "PPMd"}
_MOST_EXTRA_BYTES = 1 << 12
"""Read ahead beyond a member's data for extra field and descriptor, so that a small member costs one read."""
_MOST_LZMA_WINDOW_BYTES = 1 << 28
_REGULAR, _FOLDER = 0o100000, 0o040000
_BROKEN = (zlib.error, lzma.LZMAError, EOFError, OSError, ValueError, struct.error)


def open_zip(raw: IO[bytes], label: str, budget: Budget) -> Members:
    """The members of the zip in `raw`, whose whole table of contents is checked before the first is given.

    Raises:
        ArchiveError: Here or while iterating.
    """
    directory = read_directory(raw, label, max_files=budget.settings.max_files)
    entries = directory.entries
    paths = [_check_entry(entry, label, budget) for entry in entries]
    stated = budget.check_stated([(entry.name, entry.size) for entry in entries], label)
    return Members(stated, _members(raw.fileno(), list(zip(entries, paths, strict=True)), directory.start, label))


def _check_entry(entry: ZipEntry, label: str, budget: Budget) -> PurePosixPath:
    """Refuses by the table of contents alone what it gives away: names, kinds, encryption, bombs."""
    path = safe_path(entry.name, max_depth=budget.settings.max_depth)
    if entry.is_encrypted:
        raise encrypted(label, entry.name)
    if entry.mode not in (0, _REGULAR, _FOLDER):
        raise unsafe(entry.name, f"is {kind_by_mode(entry.mode)}")
    if entry.is_folder and entry.size:
        raise unsafe(entry.name, f"is a folder that holds {entry.size} bytes itself")
    if entry.method not in (_STORED, _DEFLATED, _BZIP2, _LZMA):
        how = _METHODS.get(entry.method, f"method {entry.method}")
        raise unsupported(label, f"is compressed with {how}", entry.name)
    budget.check_ratio(entry.name, entry.packed, entry.size, label)
    return path


def _members(
    descriptor: int, entries: list[tuple[ZipEntry, PurePosixPath]], table_at: int, label: str
) -> Iterator[Member]:
    offsets = sorted({entry.offset for entry, _ in entries})
    ends = dict(pairwise([*offsets, table_at]))
    total, before = max(1, table_at), 0
    for entry, path in entries:
        chunks = _chunks(descriptor, entry, ends[entry.offset], label)
        if entry.is_folder:
            for _ in chunks:  # a folder has no bytes; its header is checked all the same
                pass
            yield Member(path, None, before / total)
        else:
            yield Member(path, chunks, before / total)
        before += ends[entry.offset] - entry.offset


def _chunks(descriptor: int, entry: ZipEntry, end: int, label: str) -> Iterator[bytes]:
    """The member's bytes in pieces of at most 1 MiB; what was given is only good once the last piece was taken."""
    head = os.pread(
        descriptor, min(end - entry.offset, LOCAL_HEADER.size + _MOST_EXTRA_BYTES + _PIECE_BYTES), entry.offset
    )
    header_bytes = check_local_header(head, entry, label)
    data_end = header_bytes + entry.packed
    between = end - entry.offset - data_end
    if between < 0:
        raise damaged(label, "it reaches into the next member", entry.name)
    if between > _MOST_EXTRA_BYTES:
        raise damaged(label, f"{between} bytes behind its data belong to no member", entry.name)
    if data_end + between == len(head):
        packed: Iterator[bytes] = iter((head[header_bytes:data_end],))
        check_descriptor(head[data_end:], entry, label)
    else:
        packed = _read_packed(descriptor, entry.offset + header_bytes, entry, label)
        check_descriptor(os.pread(descriptor, between, entry.offset + data_end), entry, label)
    crc = size = 0
    try:
        for chunk in _inflated(packed, entry, label):
            size += len(chunk)
            if size > entry.size:
                raise damaged(label, f"it is larger than the {entry.size} bytes that it states", entry.name)
            crc = zlib.crc32(chunk, crc)
            if size == entry.size and crc != entry.crc:
                raise damaged(label, "its checksum (CRC) is wrong", entry.name)
            yield chunk
    except _BROKEN as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise damaged(label, f"its data cannot be decompressed ({error})", entry.name) from error
    if size != entry.size:
        raise damaged(label, f"it has {size} bytes and states {entry.size}", entry.name)
    if crc != entry.crc:
        raise damaged(label, "its checksum (CRC) is wrong", entry.name)


def _read_packed(descriptor: int, at: int, entry: ZipEntry, label: str) -> Iterator[bytes]:
    left = entry.packed
    while left:
        piece = os.pread(descriptor, min(left, _PIECE_BYTES), at)
        if not piece:
            raise damaged(label, "its data are cut off", entry.name)
        yield piece
        at += len(piece)
        left -= len(piece)


def _inflated(packed: Iterator[bytes], entry: ZipEntry, label: str) -> Iterator[bytes]:
    if entry.method == _STORED:
        if entry.packed != entry.size:
            raise damaged(label, f"it is stored in {entry.packed} bytes and states {entry.size}", entry.name)
        return packed
    if entry.method == _DEFLATED:
        return _deflated(packed, entry, label)
    if entry.method == _BZIP2:
        return _stepped(packed, bz2.BZ2Decompressor(), entry, label)
    return _lzma(packed, entry, label)


def _deflated(packed: Iterator[bytes], entry: ZipEntry, label: str) -> Iterator[bytes]:
    stream = zlib.decompressobj(-15)
    for piece in packed:
        waiting = piece
        while waiting and not stream.eof:
            if chunk := stream.decompress(waiting, _PIECE_BYTES):
                yield chunk
            waiting = stream.unconsumed_tail
        if stream.unused_data:
            raise damaged(label, "other data follow its compressed data", entry.name)
    while not stream.eof and (chunk := stream.decompress(b"", _PIECE_BYTES)):
        yield chunk
    if not stream.eof:
        raise damaged(label, "its compressed data end early", entry.name)


def _stepped(packed: Iterator[bytes], stream: Any, entry: ZipEntry, label: str) -> Iterator[bytes]:
    """For bzip2 and LZMA, whose decompressors keep what they were given until it is asked for."""
    given = 0
    for piece in packed:
        waiting = piece
        while not stream.eof:
            chunk = stream.decompress(waiting, _PIECE_BYTES)
            waiting = b""
            given += len(chunk)
            if chunk:
                yield chunk
            if stream.needs_input or given > entry.size:
                break
        if stream.eof and (stream.unused_data or waiting):
            raise damaged(label, "other data follow its compressed data", entry.name)
    if not stream.eof and entry.method == _BZIP2:
        raise damaged(label, "its compressed data end early", entry.name)


def _lzma(packed: Iterator[bytes], entry: ZipEntry, label: str) -> Iterator[bytes]:
    """LZMA as zip has it: version and length, two bytes each, five of properties, the bare stream (APPNOTE 5.8.8)."""
    first = next(packed, b"")
    if len(first) < 9 or first[2:4] != b"\x05\x00" or first[4] >= 9 * 5 * 5:
        raise damaged(label, "its LZMA properties are broken", entry.name)
    rest, lc = divmod(first[4], 9)
    pb, lp = divmod(rest, 5)
    window = int.from_bytes(first[5:9], "little")
    if window > _MOST_LZMA_WINDOW_BYTES or lc + lp > 4:
        raise unsupported(label, f"asks for an LZMA window of {window} bytes", entry.name)
    chain = [{"id": lzma.FILTER_LZMA1, "dict_size": max(window, 4096), "lc": lc, "lp": lp, "pb": pb}]
    stream = lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=chain)

    def after_properties() -> Iterator[bytes]:
        yield first[9:]
        yield from packed

    return _stepped(after_properties(), stream, entry, label)
