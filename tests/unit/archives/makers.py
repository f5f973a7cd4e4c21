"""Archives made byte by byte, so that every field can be made to lie."""

from __future__ import annotations

import io
import struct
import tarfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

TarItem = tuple[tarfile.TarInfo, bytes]


@dataclass
class ZipMember:
    """A member; what is given in `local` or `central` replaces the true value in that header alone."""

    name: bytes
    content: bytes = b"data"
    method: int = 8
    flags: int = 0
    mode: int = 0o100644
    extra: bytes = b""
    local_extra: bytes = b""
    packed: bytes | None = None
    descriptor: bytes = b""
    before: bytes = b""
    local: dict[str, Any] = field(default_factory=dict)
    central: dict[str, Any] = field(default_factory=dict)


def deflated(content: bytes) -> bytes:
    stream = zlib.compressobj(6, zlib.DEFLATED, -15)
    return stream.compress(content) + stream.flush()


def zip_bytes(
    members: Sequence[ZipMember], *, prefix: bytes = b"", comment: bytes = b"", gap: bytes = b"", **end: int
) -> bytes:
    """A zip archive; `end` replaces fields of the end record: entries, entries_here, length, start, disk."""
    out, table = bytearray(prefix), bytearray()
    for one in members:
        packed = one.packed if one.packed is not None else deflated(one.content) if one.method == 8 else one.content
        true: dict[str, Any] = {
            "name": one.name,
            "flags": one.flags,
            "method": one.method,
            "crc": zlib.crc32(one.content),
            "packed": len(packed),
            "size": len(one.content),
            "offset": len(out) + len(one.before) - len(prefix),
            "disk": 0,
        }
        out += one.before
        here = true | one.local
        sizes = (here["crc"], here["packed"], here["size"], len(here["name"]), len(one.local_extra))
        out += struct.pack("<4s5H3L2H", b"PK\x03\x04", 20, here["flags"], here["method"], 0, 33, *sizes)
        out += here["name"] + one.local_extra + packed + one.descriptor
        there = true | one.central
        sizes = (there["crc"], there["packed"], there["size"], len(there["name"]), len(one.extra))
        table += struct.pack("<4s6H3L2H", b"PK\x01\x02", 0x314, 20, there["flags"], there["method"], 0, 33, *sizes)
        table += struct.pack("<3H2L", 0, there["disk"], 0, one.mode << 16, there["offset"])
        table += there["name"] + one.extra
    out += gap
    facts = {"entries": len(members), "length": len(table), "start": len(out) - len(prefix), "disk": 0} | end
    out += table
    out += struct.pack(
        "<4s4H2LH", b"PK\x05\x06", facts["disk"], facts["disk"], facts.get("entries_here", facts["entries"]),
        facts["entries"], facts["length"], facts["start"], len(comment),
    )  # fmt: skip
    return bytes(out + comment)


def tar_header(name: bytes, size: int | bytes = 0, kind: bytes = b"0", link: bytes = b"", prefix: bytes = b"") -> bytes:
    """One header block with a right checksum, whatever the fields say."""
    length = size if isinstance(size, bytes) else b"%011o\0" % size
    owner = b"0000644\0" + b"0000000\0" * 2
    fields = (name, owner, length, b"00000000000\0", b" " * 8, kind, link, b"ustar\x0000", prefix)
    block = bytearray(struct.pack("100s24s12s12s8s1s100s8s80x155s12x", *fields))
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def padded(content: bytes) -> bytes:
    return content + bytes(-len(content) % 512)


def tar_file(name: bytes, content: bytes = b"data", **fields: bytes) -> bytes:
    return tar_header(name, len(content), **fields) + padded(content)


def pax_record(key: str, value: bytes) -> bytes:
    body = b" " + key.encode() + b"=" + value + b"\n"
    length = len(body) + 1
    while len(str(length)) + len(body) != length:
        length = len(str(length)) + len(body)
    return str(length).encode() + body


def pax(records: bytes, kind: bytes = b"x") -> bytes:
    return tar_header(b"PaxHeaders/x", len(records), kind) + padded(records)


TAR_END = bytes(1024)


def tar_bytes(files: dict[str, bytes], dialect: int = tarfile.PAX_FORMAT) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=dialect) as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def _vint(number: int) -> bytes:
    out = bytearray()
    while True:
        number, low = number >> 7, number & 0x7F
        out.append(low | (0x80 if number else 0))
        if not number:
            return bytes(out)


def _rar5_block(kind: int, body: bytes, data: bytes | None = None, extra: bytes = b"", flags: int = 0) -> bytes:
    flags |= (2 if data is not None else 0) | (1 if extra else 0)
    head = _vint(kind) + _vint(flags) + (_vint(len(extra)) if extra else b"")
    head += (_vint(len(data)) if data is not None else b"") + body + extra
    sized = _vint(len(head)) + head
    return struct.pack("<L", zlib.crc32(sized)) + sized + (data or b"")


def rar5_file(
    name: bytes, content: bytes = b"data", *, mode: int = 0o100644, extra: bytes = b"", size: int | None = None,
    crc: int | None = None, flags: int = 4, block_flags: int = 0,
) -> bytes:  # fmt: skip
    """A stored file of RAR 5; `extra` is one record's type and data."""
    checksum = struct.pack("<L", zlib.crc32(content) if crc is None else crc) if flags & 4 else b""
    body = _vint(flags) + _vint(len(content) if size is None else size) + _vint(mode) + checksum
    body += _vint(0) + _vint(1) + _vint(len(name)) + name
    return _rar5_block(2, body, content, _vint(len(extra)) + extra if extra else b"", block_flags)


def rar5_bytes(files: bytes, *, main_flags: int = 0, end: bytes | None = None) -> bytes:
    return (
        b"Rar!\x1a\x07\x01\x00"
        + _rar5_block(1, _vint(main_flags))
        + files
        + (_rar5_block(5, _vint(0)) if end is None else end)
    )


def rar5_encryption() -> bytes:
    return _rar5_block(4, _vint(0) + _vint(1) + bytes(18))


def _rar4_block(kind: int, flags: int, body: bytes) -> bytes:
    rest = struct.pack("<BHH", kind, flags, 7 + len(body)) + body
    return struct.pack("<H", zlib.crc32(rest) & 0xFFFF) + rest


def rar4_file(name: bytes, content: bytes = b"data", *, flags: int = 0, mode: int = 0o100644, host: int = 3) -> bytes:
    body = struct.pack(
        "<LLBLLBBHL", len(content), len(content), host, zlib.crc32(content), 33 << 16, 20, 0x30, len(name), mode
    )
    return _rar4_block(0x74, 0x8000 | flags, body + name) + content


def rar4_bytes(files: bytes, *, main_flags: int = 0) -> bytes:
    return b"Rar!\x1a\x07\x00" + _rar4_block(0x73, main_flags, bytes(6)) + files + _rar4_block(0x7B, 0x4000, b"")
