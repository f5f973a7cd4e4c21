"""A zip member's own header and data descriptor, held against the table of contents.

A program that reads the stream sees the one, a program that reads the table the other; where they differ the archive
means two things at once. Source: APPNOTE.TXT 6.3.10, sections 4.3.7 and 4.3.9.
"""

from __future__ import annotations

import struct

from glaucoma.archives.refusals import damaged, shown, unsafe
from glaucoma.archives.zip_directory import (
    ENCRYPTED_BITS,
    LOCAL_HEADER,
    UNKNOWN_32,
    ZIP64,
    ZipEntry,
    extra_fields,
    from_zip64,
)

_DESCRIPTOR_BIT = 0x8
_DESCRIPTOR_LENGTHS = (12, 16, 20, 24)


def check_local_header(header: bytes, entry: ZipEntry, label: str) -> int:
    """Holds a member's own header, with name and extra field, against its entry; returns the header's length in bytes.

    Raises:
        ArchiveError: Any of name, method, checksum or sizes differs: two programs would read two different files.
    """
    if len(header) < LOCAL_HEADER.size or not header.startswith(b"PK\x03\x04"):
        raise damaged(label, "its own header is missing", entry.name)
    _, _, flags, method, _, _, crc, packed, size, name_bytes, extra_bytes = LOCAL_HEADER.unpack_from(header)
    name_end = LOCAL_HEADER.size + name_bytes
    if header[LOCAL_HEADER.size : name_end] != entry.stored_name:
        local = header[LOCAL_HEADER.size : name_end].decode("utf-8", "replace")
        raise unsafe(entry.name, f"has another name in its own header: {shown(local)}")
    if method != entry.method or (flags ^ entry.flags) & ENCRYPTED_BITS:
        raise unsafe(entry.name, "has another method or encryption in its own header")
    if UNKNOWN_32 in (packed, size) and extra_bytes:
        fields = extra_fields(header[name_end : name_end + extra_bytes], label, entry.name)
        size, packed, _, _ = from_zip64(fields.get(ZIP64, b""), (size, packed, 0, 0), label, entry.name)
    open_ended = bool(flags & _DESCRIPTOR_BIT)
    stated = ((crc, entry.crc, "checksum"), (packed, entry.packed, "packed size"), (size, entry.size, "size"))
    for here, there, what in stated:
        if here != there and not (open_ended and here == 0):
            raise unsafe(entry.name, f"has another {what} in its own header ({here} and {there})")
    return int(name_end + extra_bytes)


def check_descriptor(between: bytes, entry: ZipEntry, label: str) -> None:
    """Between a member's data and the next member stands nothing, or a descriptor that repeats checksum and sizes."""
    if not between:
        return
    if entry.flags & _DESCRIPTOR_BIT:
        for form in ("<LLL", "<LQQ"):
            try:
                plain = struct.pack(form, entry.crc, entry.packed, entry.size)
            except struct.error:
                continue
            if between in (plain, b"PK\x07\x08" + plain):
                return
        if len(between) in _DESCRIPTOR_LENGTHS:
            raise unsafe(entry.name, "has another checksum or size in its data descriptor")
    raise damaged(label, f"{len(between)} bytes behind its data belong to no member", entry.name)
