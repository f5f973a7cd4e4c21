"""Hostile and broken archives, one of each kind: how it is made, which member is to blame, and what must be said."""

from __future__ import annotations

import bz2
import gzip
import lzma
import random
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import zstandard

from tests.unit.archives.makers import (
    TAR_END,
    ZipMember,
    deflated,
    padded,
    pax,
    pax_record,
    rar4_bytes,
    rar4_file,
    rar5_bytes,
    rar5_encryption,
    rar5_file,
    tar_bytes,
    tar_file,
    tar_header,
    zip_bytes,
)

GOOD = ZipMember(b"good.txt", b"good")
NOISE = random.Random(0).randbytes(3000)
ZEROS = bytes(20_000_000)


@dataclass(frozen=True)
class Hostile:
    """`said` is a regular expression that the refusal must match; `member` must stand in it in quotes, where given."""

    build: Callable[[], bytes]
    said: str
    member: str | None = None
    settings: dict[str, Any] = field(default_factory=dict)


def _named_zip(name: bytes, flags: int = 0x800) -> Callable[[], bytes]:
    return lambda: zip_bytes([GOOD, ZipMember(name, b"evil", flags=flags)])


def _named_tar(name: bytes) -> Callable[[], bytes]:
    return lambda: tar_file(b"good.txt") + pax(pax_record("path", name)) + tar_file(b"x") + TAR_END


def _tar_kind(kind: bytes, link: bytes = b"../../etc/passwd") -> Callable[[], bytes]:
    return lambda: tar_file(b"good.txt") + tar_header(b"evil", 0, kind, link) + TAR_END


def _pax_of(*records: bytes, kind: bytes = b"x", name: bytes = b"evil") -> Callable[[], bytes]:
    return lambda: tar_file(b"good.txt") + pax(b"".join(records), kind) + tar_file(name) + TAR_END


def _with_end(content: bytes) -> bytes:
    return content + TAR_END


def _flipped(content: bytes, at: int) -> bytes:
    changed = bytearray(content)
    changed[at] ^= 0x10
    return bytes(changed)


def _zip64_lie() -> bytes:
    """A second, 64-bit end record that states other numbers than the first."""
    plain = zip_bytes([GOOD])
    at = plain.rfind(b"PK\x05\x06")
    _, _, _, _, entries, length, start, _ = struct.unpack_from("<4s4H2LH", plain, at)
    record = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, entries + 1, entries + 1, length, start)
    return plain[:at] + record + struct.pack("<4sLQL", b"PK\x06\x07", 0, at, 1) + plain[at:]


def _zip64_locator_astray() -> bytes:
    plain = zip_bytes([GOOD])
    at = plain.rfind(b"PK\x05\x06")
    return plain[:at] + struct.pack("<4sLQL", b"PK\x06\x07", 0, 2**40, 1) + plain[at:]


def _zip_in_zip(depth: int) -> bytes:
    content = zip_bytes([ZipMember(b"photo.txt", b"deep")])
    for level in range(depth):
        content = zip_bytes([ZipMember(b"level-%d.zip" % level, content, method=0)])
    return content


def _overlap() -> bytes:
    first = ZipMember(b"a.bin", NOISE, method=0)
    return zip_bytes([first, ZipMember(b"b.bin", NOISE, method=0, central={"offset": 10})])


def _quoted_overlap() -> bytes:
    """The second member's header lies inside the first one's stored data: each byte serves many members."""
    inner = zip_bytes([ZipMember(b"inner.bin", NOISE, method=0)])
    outer = ZipMember(b"outer.bin", inner, method=0)
    return zip_bytes([outer, ZipMember(b"inner.bin", NOISE, method=0, central={"offset": 30 + 9})])


def _unicode_path(name: bytes, stored: bytes) -> bytes:
    value = b"\1" + struct.pack("<L", zlib.crc32(stored)) + name
    return struct.pack("<2H", 0x7075, len(value)) + value


def _zip64_field(*values: int) -> bytes:
    return struct.pack("<2H", 1, 8 * len(values)) + b"".join(struct.pack("<Q", value) for value in values)


def _lzma_window() -> bytes:
    packed = b"\x09\x14\x05\x00\x5d" + struct.pack("<L", 0xFFFFFFFF) + bytes(20)
    return zip_bytes([ZipMember(b"evil", b"data", method=14, packed=packed)])


def _xz_window() -> bytes:
    """A stream that asks for a dictionary of 1.5 GiB, which the one who unpacks must find."""
    content = bytearray(lzma.compress(tar_bytes({"a": NOISE}), lzma.FORMAT_XZ, check=lzma.CHECK_CRC32))
    header = content[12:24]
    assert header[:4] == b"\x02\x00\x21\x01"
    header[4] = 39  # LZMA2's code for the dictionary's size
    header[8:12] = struct.pack("<L", zlib.crc32(bytes(header[:8])))
    content[12:24] = header
    return bytes(content)


def _zstd_window() -> bytes:
    parameters = zstandard.ZstdCompressionParameters(window_log=28, enable_ldm=True)
    stream = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    return stream.compress(tar_bytes({"a": NOISE})) + stream.flush()


def _two_readers() -> bytes:
    """A comment that is itself an end record: who looks from the back finds another archive than from the front."""
    other = zip_bytes([ZipMember(b"other.txt", b"other")])
    return zip_bytes([GOOD], comment=other)


def _sparse_gnu() -> bytes:
    return tar_file(b"good.txt") + tar_header(b"evil", 512, b"S") + padded(b"x" * 512) + TAR_END


def _global_path() -> bytes:
    return pax(pax_record("path", b"everywhere"), b"g") + tar_file(b"evil") + TAR_END


NAMES: dict[str, tuple[bytes, str, str]] = {
    "traversal": (b"../evil", "climbs out", "../evil"),
    "traversal inside": (b"a/../../evil", "climbs out", "a/../../evil"),
    "absolute": (b"/tmp/evil", "is absolute", "/tmp/evil"),
    "drive": (b"C:/evil", "names a drive", "C:/evil"),
    "drive relative": (b"C:evil", "names a drive", "C:evil"),
    "backslash": (b"..\\evil", "holds a backslash", "..\\\\evil"),
    "network share": (b"\\\\host\\share", "holds a backslash", "\\\\\\\\host\\\\share"),
    "reserved name": (b"a/NUL.jpg", "reserved on Windows", "a/NUL.jpg"),
    "control character": (b"a\x1b[2Jb", "control character", "a\\x1b[2Jb"),
    "line break": (b"a\nb", "control character", "a\\nb"),
    "turned direction": (b"a\xe2\x80\xaegpj.exe", "direction of reading", "a\\u202egpj.exe"),
    "bad UTF-8": (b"a\xffb", "not valid UTF-8", "a\\udcffb"),
    "component too long": (b"x" * 300, "longer than 255", None),  # type: ignore[dict-item]
    "path too long": (b"/".join([b"y" * 200] * 8), "longer than 1024", None),  # type: ignore[dict-item]
    "too deep": (b"/".join([b"d"] * 40) + b"/f", "folders deep", None),  # type: ignore[dict-item]
    "root": (b"./.", "root for its name", None),  # type: ignore[dict-item]
}

KINDS: dict[str, Hostile] = {
    **{f"zip name: {kind}": Hostile(_named_zip(name), said, member) for kind, (name, said, member) in NAMES.items()},
    **{f"tar name: {kind}": Hostile(_named_tar(name), said, member) for kind, (name, said, member) in NAMES.items()},
    # members that are no files
    "zip symbolic link": Hostile(
        lambda: zip_bytes([GOOD, ZipMember(b"evil", b"/etc/passwd", mode=0o120777)]), "symbolic link", "evil"
    ),
    "zip device": Hostile(lambda: zip_bytes([GOOD, ZipMember(b"evil", b"", mode=0o060600)]), "device", "evil"),
    "zip pipe": Hostile(lambda: zip_bytes([GOOD, ZipMember(b"evil", b"", mode=0o010600)]), "named pipe", "evil"),
    "zip folder with bytes": Hostile(
        lambda: zip_bytes([GOOD, ZipMember(b"evil/", b"1")]), "folder that holds", "evil/"
    ),
    "tar symbolic link": Hostile(_tar_kind(b"2"), "symbolic link to '../../etc/passwd'", "evil"),
    "tar hard link": Hostile(_tar_kind(b"1"), "hard link to", "evil"),
    "tar character device": Hostile(_tar_kind(b"3"), "device", "evil"),
    "tar block device": Hostile(_tar_kind(b"4"), "device", "evil"),
    "tar pipe": Hostile(_tar_kind(b"6"), "named pipe", "evil"),
    "tar unknown kind": Hostile(_tar_kind(b"Z"), "unknown kind", "evil"),
    "tar rest of another volume": Hostile(_tar_kind(b"M"), "another volume", "evil"),
    "tar sparse": Hostile(_sparse_gnu, "sparse file", "evil"),
    "tar folder with bytes": Hostile(
        lambda: _with_end(tar_header(b"evil", 512, b"5") + bytes(512)), "folder that holds", "evil"
    ),
    # two members on one path
    "zip duplicate": Hostile(
        lambda: zip_bytes([ZipMember(b"a", b"1"), ZipMember(b"a", b"2")]), "stands in it twice", "a"
    ),
    "tar duplicate": Hostile(lambda: _with_end(tar_file(b"a") + tar_file(b"a")), "stands in it twice", "a"),
    "case collision": Hostile(lambda: zip_bytes([ZipMember(b"a/B"), ZipMember(b"a/b")]), "letter case", "a/b"),
    "folder case collision": Hostile(lambda: zip_bytes([ZipMember(b"a/x"), ZipMember(b"A/y")]), "letter case", "A"),
    "Unicode collision": Hostile(
        lambda: zip_bytes(
            [ZipMember("caf\u00e9".encode(), flags=0x800), ZipMember("cafe\u0301".encode(), flags=0x800)]
        ),
        "stands in it twice",
        "caf\\xe9",
    ),
    "full case folding collision": Hostile(
        lambda: zip_bytes([ZipMember("stra\u00dfe".encode()), ZipMember(b"STRASSE")]), "letter case", "STRASSE"
    ),
    "file is a folder": Hostile(lambda: zip_bytes([ZipMember(b"a"), ZipMember(b"a/b")]), "file and a folder", "a"),
    "folder is a file": Hostile(lambda: _with_end(tar_file(b"a/b") + tar_file(b"a")), "file and a folder", "a"),
    # passwords
    "zip encrypted": Hostile(lambda: zip_bytes([ZipMember(b"evil", flags=1)]), "is encrypted", "evil"),
    "zip AES": Hostile(lambda: zip_bytes([ZipMember(b"evil", method=99, packed=b"x" * 30)]), "is encrypted", "evil"),
    "zip strong encryption": Hostile(lambda: zip_bytes([ZipMember(b"evil", flags=0x41)]), "is encrypted", "evil"),
    # headers that contradict each other
    "zip other name inside": Hostile(
        lambda: zip_bytes([ZipMember(b"good.jpg", local={"name": b"evil.jpg"})]), "another name.*evil.jpg", "good.jpg"
    ),
    "zip other size inside": Hostile(
        lambda: zip_bytes([ZipMember(b"evil", local={"size": 7})]), "another size", "evil"
    ),
    "zip other packed size inside": Hostile(
        lambda: zip_bytes([ZipMember(b"evil", local={"packed": 1})]), "another packed size", "evil"
    ),
    "zip other checksum inside": Hostile(
        lambda: zip_bytes([ZipMember(b"evil", local={"crc": 1})]), "another checksum", "evil"
    ),
    "zip other method inside": Hostile(
        lambda: zip_bytes([ZipMember(b"evil", local={"method": 0})]), "another method", "evil"
    ),
    "zip encrypted inside only": Hostile(
        lambda: zip_bytes([ZipMember(b"evil", local={"flags": 1})]), "encryption in its own", "evil"
    ),
    "zip Unicode name climbs": Hostile(
        lambda: zip_bytes([ZipMember(b"good", extra=_unicode_path(b"../evil", b"good"))]), "climbs out", "../evil"
    ),
    "zip 64-bit field missing": Hostile(
        lambda: zip_bytes([ZipMember(b"evil", central={"size": 0xFFFFFFFF})]), "64-bit sizes are missing", "evil"
    ),
    "zip 64-bit field twice": Hostile(
        lambda: zip_bytes([ZipMember(b"evil", extra=_zip64_field(4) * 2, central={"size": 0xFFFFFFFF})]),
        "field stands twice",
        "evil",
    ),
    "zip extra field cut": Hostile(
        lambda: zip_bytes([ZipMember(b"evil", extra=b"\1\0\xff\0x")]), "extra field is cut off", "evil"
    ),
    "zip descriptor lies": Hostile(
        lambda: zip_bytes(
            [
                ZipMember(
                    b"evil",
                    flags=8,
                    local={"crc": 0, "size": 0, "packed": 0},
                    descriptor=b"PK\x07\x08" + struct.pack("<3L", 1, 2, 3),
                )
            ]
        ),
        "data descriptor",
        "evil",
    ),
    # data that are not what they are said to be
    "zip size lies": Hostile(
        lambda: zip_bytes([ZipMember(b"evil", b"x" * 50, local={"size": 10}, central={"size": 10})]),
        "larger than",
        "evil",
    ),
    "zip size too large": Hostile(
        lambda: zip_bytes([ZipMember(b"evil", local={"size": 99}, central={"size": 99})]),
        "has 4 bytes and states 99",
        "evil",
    ),
    "zip stored size lies": Hostile(
        lambda: zip_bytes([ZipMember(b"evil", method=0, local={"size": 2}, central={"size": 2})]),
        "is stored in 4",
        "evil",
    ),
    "zip checksum wrong": Hostile(
        lambda: zip_bytes([ZipMember(b"evil", local={"crc": 5}, central={"crc": 5})]), "checksum", "evil"
    ),
    "zip data broken": Hostile(
        lambda: zip_bytes([ZipMember(b"evil", packed=b"\xff" * 20)]), "cannot be decompressed", "evil"
    ),
    "zip data end early": Hostile(
        lambda: zip_bytes([ZipMember(b"evil", NOISE, packed=deflated(NOISE)[:-40])]), "end early", "evil"
    ),
    "zip data hide more": Hostile(
        lambda: zip_bytes([ZipMember(b"evil", packed=deflated(b"data") + b"hidden")]), "other data follow", "evil"
    ),
    "zip LZMA window": Hostile(_lzma_window, "LZMA window", "evil"),
    "zip unknown method": Hostile(lambda: zip_bytes([ZipMember(b"evil", method=98)]), "PPMd", "evil"),
    # bytes that belong to no member, or to two
    "zip overlap": Hostile(_overlap, "on the same bytes", "b.bin"),
    "zip quoted overlap": Hostile(_quoted_overlap, "on the same bytes", "inner.bin"),
    "zip same member twice": Hostile(
        lambda: zip_bytes([ZipMember(b"a", NOISE), ZipMember(b"b", NOISE, central={"offset": 0})]),
        "on the same bytes",
        "b",
    ),
    "zip prepended zip": Hostile(lambda: zip_bytes([GOOD]) + zip_bytes([GOOD]), "belong to none"),
    "zip prepended data": Hostile(lambda: zip_bytes([GOOD], prefix=b"PK\x03\x04" + NOISE), "belong to none"),
    "zip hidden member": Hostile(
        lambda: zip_bytes([GOOD, ZipMember(b"b", before=zip_bytes([ZipMember(b"hidden")])[:40])]),
        "belong to no member",
        "good.txt",
    ),
    "zip gap before table": Hostile(lambda: zip_bytes([GOOD], gap=NOISE), "belong to no member", "good.txt"),
    "zip data behind": Hostile(lambda: zip_bytes([GOOD]) + NOISE, "data follow it"),
    "zip two end records": Hostile(_two_readers, "two end records"),
    "zip contradicting end records": Hostile(_zip64_lie, "contradict each other"),
    "zip 64-bit end record astray": Hostile(_zip64_locator_astray, "not where it should be"),
    "zip without end record": Hostile(lambda: zip_bytes([GOOD])[:-22], "no end record"),
    "zip count lies": Hostile(lambda: zip_bytes([GOOD], entries=3), "has 1 members"),
    "zip several parts": Hostile(lambda: zip_bytes([GOOD], disk=1), "several parts"),
    "zip member on another part": Hostile(
        lambda: zip_bytes([ZipMember(b"evil", central={"disk": 2})]), "several parts", "evil"
    ),
    "zip huge table": Hostile(lambda: zip_bytes([GOOD], length=4_000_000_000), "table of contents of 4000000000"),
    "zip table in the air": Hostile(lambda: zip_bytes([GOOD], start=4_000_000_000), "behind its end"),
    "zip cut short": Hostile(lambda: zip_bytes([ZipMember(b"a", NOISE)])[:2000], "no end record"),
    # bombs and limits
    "zip bomb": Hostile(lambda: zip_bytes([ZipMember(b"evil", ZEROS)]), "max_ratio", "evil"),
    "tar.gz bomb": Hostile(lambda: gzip.compress(tar_bytes({"evil": ZEROS})), "max_ratio", None, {"max_ratio": 100}),
    "tar.bz2 bomb": Hostile(lambda: bz2.compress(tar_bytes({"evil": ZEROS})), "max_ratio"),
    "tar.xz bomb": Hostile(lambda: lzma.compress(tar_bytes({"evil": ZEROS})), "max_ratio"),
    "tar.zst bomb": Hostile(lambda: zstandard.compress(tar_bytes({"evil": ZEROS})), "max_ratio"),
    "bomb of many small files": Hostile(
        lambda: gzip.compress(tar_bytes({f"{n}": bytes(90_000) for n in range(200)})),
        "max_ratio",
        None,
        {"max_ratio": 50},
    ),
    "bomb in a bomb": Hostile(
        lambda: zip_bytes([ZipMember(b"inner.zip", zip_bytes([ZipMember(b"evil", bytes(15_000_000))]))]),
        "max_ratio",
        "inner/evil",
        {"max_ratio": 1100},
    ),
    "zip file too large": Hostile(
        lambda: zip_bytes([ZipMember(b"evil", NOISE)]), "max_file_bytes", "evil", {"max_file_bytes": 1000}
    ),
    "tar file too large": Hostile(
        lambda: _with_end(tar_file(b"evil", NOISE)), "max_file_bytes", "evil", {"max_file_bytes": 1000}
    ),
    "too many bytes": Hostile(
        lambda: _with_end(tar_file(b"a", NOISE) + tar_file(b"evil", NOISE)),
        "max_total_bytes",
        "evil",
        {"max_total_bytes": 5000},
    ),
    "too many members": Hostile(
        lambda: zip_bytes([ZipMember(b"%d" % n, b"") for n in range(9)]), "max_files", None, {"max_files": 8}
    ),
    "too many members in tar": Hostile(
        lambda: _with_end(b"".join(tar_file(b"%d" % n, b"") for n in range(9))), "max_files", None, {"max_files": 8}
    ),
    "too many members in all": Hostile(
        lambda: zip_bytes([ZipMember(b"a.zip", zip_bytes([ZipMember(b"%d" % n) for n in range(6)])), GOOD]),
        "max_files",
        None,
        {"max_files": 7},
    ),
    "too long": Hostile(lambda: zip_bytes([GOOD]), "max_seconds", "good.txt", {"max_seconds": 1e-9}),
    "too deeply nested": Hostile(lambda: _zip_in_zip(3), "max_nesting", "level-2/level-1/level-0.zip"),
    "nested where none may be": Hostile(lambda: _zip_in_zip(1), "max_nesting", "level-0.zip", {"max_nesting": 0}),
    "hostile inside": Hostile(
        lambda: zip_bytes([ZipMember(b"in.zip", zip_bytes([ZipMember(b"../evil")]))]), "climbs out", "../evil"
    ),
    "damaged inside": Hostile(
        lambda: zip_bytes([ZipMember(b"in.zip", zip_bytes([ZipMember(b"evil", NOISE)])[:-50])]), "> in.zip is damaged"
    ),
    "xz memory": Hostile(_xz_window, "cannot be decompressed"),
    "zstd memory": Hostile(_zstd_window, "cannot be decompressed"),
    # tar headers
    "tar negative size": Hostile(lambda: _with_end(tar_header(b"evil", b"\xff" * 12)), "its size is -1", "evil"),
    "tar size is no number": Hostile(lambda: _with_end(tar_header(b"evil", b"12x45678901\0")), "no number", "evil"),
    "tar size astronomic": Hostile(
        lambda: _with_end(tar_header(b"evil", b"\x80" + b"\x7f" * 11)), "max_file_bytes", "evil"
    ),
    "tar long name of a gigabyte": Hostile(
        lambda: _with_end(tar_header(b"././@LongLink", 10**9, b"L")), "a header of 1000000000 bytes"
    ),
    "tar long name twice": Hostile(
        lambda: _with_end((tar_header(b"@", 5, b"L") + padded(b"evil\0")) * 2 + tar_file(b"x")), "two long names"
    ),
    "tar long name for no member": Hostile(
        lambda: _with_end(tar_file(b"a") + tar_header(b"@", 5, b"L") + padded(b"evil\0")), "no member follows"
    ),
    "tar long name climbs": Hostile(
        lambda: _with_end(tar_header(b"@", 8, b"L") + padded(b"../evil\0") + tar_file(b"x")), "climbs out", "../evil"
    ),
    "tar prefix climbs": Hostile(lambda: _with_end(tar_file(b"evil", prefix=b"../..")), "climbs out", "../../evil"),
    "pax of a gigabyte": Hostile(lambda: _with_end(tar_header(b"x", 10**9, b"x")), "a header of 1000000000 bytes"),
    "pax size override": Hostile(_pax_of(pax_record("size", b"2")), "another size in its pax header", "evil"),
    "pax negative size": Hostile(_pax_of(pax_record("size", b"-5")), "states the size '-5'", "evil"),
    "pax size twice": Hostile(_pax_of(pax_record("size", b"4"), pax_record("size", b"5")), "states 'size' twice"),
    "pax path twice": Hostile(_pax_of(pax_record("path", b"a"), pax_record("path", b"b")), "states 'path' twice"),
    "pax link": Hostile(
        lambda: _with_end(pax(pax_record("linkpath", b"/etc/passwd")) + tar_header(b"evil", 0, b"2", b"x")),
        "symbolic link to '/etc/passwd'",
        "evil",
    ),
    "pax sparse": Hostile(_pax_of(pax_record("GNU.sparse.realsize", b"99999999999")), "sparse file", "evil"),
    "pax sparse name": Hostile(_pax_of(pax_record("GNU.sparse.name", b"../evil")), "sparse file", "evil"),
    "pax other characters": Hostile(_pax_of(pax_record("hdrcharset", b"BINARY")), "not valid UTF-8", "evil"),
    "pax record length lies": Hostile(_pax_of(b"999 path=evil\n"), "pax header is broken"),
    "pax record length zero": Hostile(_pax_of(b"0 path=evil\n"), "pax header is broken"),
    "pax record without name": Hostile(_pax_of(b"8 =evil\n"), "record without a name"),
    "pax too many records": Hostile(_pax_of(pax_record("a", b"") * 2000), "more than 1000 records"),
    "pax twice": Hostile(
        lambda: _with_end(pax(pax_record("path", b"a")) + pax(pax_record("path", b"b")) + tar_file(b"x")),
        "two pax headers",
    ),
    "pax against long name": Hostile(
        lambda: _with_end(
            tar_header(b"@", 5, b"L") + padded(b"evil\0") + pax(pax_record("path", b"other")) + tar_file(b"x")
        ),
        "another name in its pax header",
        "evil",
    ),
    "pax path for all": Hostile(_global_path, "all members sets their 'path'"),
    "pax nul in name": Hostile(
        _pax_of(pax_record("path", b"good.jpg\0evil")), "control character", "good.jpg\\x00evil"
    ),
    "tar broken header": Hostile(
        lambda: _flipped(_with_end(tar_file(b"a") + tar_file(b"b")), 1034), "no end marker behind its member 'a'"
    ),
    "tar cut short": Hostile(
        lambda: tar_file(b"good") + tar_file(b"evil", NOISE)[:2000], "before the end of a file", "evil"
    ),
    "tar without end": Hostile(lambda: tar_file(b"evil"), "end marker is missing", "evil"),
    "tar data behind end": Hostile(lambda: tar_bytes({"a": b"1"}) + tar_bytes({"b": b"2"}), "follows its end marker"),
    # compressed streams
    "gzip cut short": Hostile(lambda: gzip.compress(tar_bytes({"evil": NOISE}))[:-10], "end early"),
    "gzip checksum wrong": Hostile(
        lambda: _flipped(gzip.compress(tar_bytes({"evil": NOISE})), -6), "incorrect data check"
    ),
    "gzip data behind": Hostile(lambda: gzip.compress(tar_bytes({"a": NOISE})) + b"hidden", "incorrect header check"),
    "gzip data behind zeros": Hostile(
        lambda: gzip.compress(tar_bytes({"a": NOISE})) + bytes(9) + b"hidden", "incorrect header check"
    ),
    "bzip2 data behind": Hostile(lambda: bz2.compress(tar_bytes({"a": NOISE})) + b"hidden", "Invalid data stream"),
    "bzip2 cut short": Hostile(
        lambda: bz2.compress(tar_bytes({"a": NOISE}))[:-10], "damaged or was cut short|decompressed"
    ),
    "xz data behind": Hostile(
        lambda: lzma.compress(tar_bytes({"a": NOISE})) + b"hidden data" * 3, "format not supported"
    ),
    "xz cut short": Hostile(lambda: lzma.compress(tar_bytes({"a": NOISE}))[:-10], "end early"),
    "zstd cut short": Hostile(lambda: zstandard.compress(tar_bytes({"a": NOISE}))[:-3], "damaged|decompressed"),
    "zstd data behind": Hostile(lambda: zstandard.compress(tar_bytes({"a": NOISE})) + b"hidden", "Unknown frame"),
    # RAR, whose headers are read without a program
    "rar5 traversal": Hostile(lambda: rar5_bytes(rar5_file(b"../evil")), "climbs out", "../evil"),
    "rar5 symbolic link": Hostile(
        lambda: rar5_bytes(rar5_file(b"evil", b"", extra=b"\x05\x01\x00\x0b/etc/passwd")), "symbolic link", "evil"
    ),
    "rar5 hard link": Hostile(
        lambda: rar5_bytes(rar5_file(b"evil", b"", extra=b"\x05\x04\x00\x04good")), "hard link", "evil"
    ),
    "rar5 link by mode": Hostile(lambda: rar5_bytes(rar5_file(b"evil", mode=0o120777)), "symbolic link", "evil"),
    "rar5 encrypted": Hostile(
        lambda: rar5_bytes(rar5_file(b"evil", extra=b"\x01" + bytes(40))), "is encrypted", "evil"
    ),
    "rar5 encrypted headers": Hostile(lambda: rar5_bytes(rar5_encryption()), "table of contents asks for a password"),
    "rar5 volume": Hostile(lambda: rar5_bytes(rar5_file(b"evil"), main_flags=1), "several parts"),
    "rar5 continued member": Hostile(lambda: rar5_bytes(rar5_file(b"evil", block_flags=0x10)), "several parts"),
    "rar5 duplicate": Hostile(lambda: rar5_bytes(rar5_file(b"a") + rar5_file(b"A")), "letter case|no program", None),
    "rar5 bomb": Hostile(lambda: rar5_bytes(rar5_file(b"evil", size=10**9)), "max_ratio|no program", None),
    "rar5 broken header": Hostile(lambda: _flipped(rar5_bytes(rar5_file(b"evil")), 30), "header is broken"),
    "rar5 cut short": Hostile(lambda: rar5_bytes(rar5_file(b"evil", NOISE))[:1000], "cut off|broken"),
    "rar5 without end": Hostile(lambda: rar5_bytes(rar5_file(b"evil"), end=b""), "broken|cut off"),
    "rar5 data behind": Hostile(lambda: rar5_bytes(rar5_file(b"evil")) + b"hidden", "follows its end"),
    "rar4 traversal": Hostile(lambda: rar4_bytes(rar4_file(b"..\\evil", host=2)), "climbs out", "../evil"),
    "rar4 symbolic link": Hostile(lambda: rar4_bytes(rar4_file(b"evil", mode=0o120777)), "symbolic link", "evil"),
    "rar4 encrypted": Hostile(lambda: rar4_bytes(rar4_file(b"evil", flags=4)), "is encrypted", "evil"),
    "rar4 encrypted headers": Hostile(lambda: rar4_bytes(b"", main_flags=0x80), "table of contents asks"),
    "rar4 volume": Hostile(lambda: rar4_bytes(rar4_file(b"evil"), main_flags=1), "several parts"),
    "rar4 broken name": Hostile(lambda: rar4_bytes(rar4_file(b"a\0\x04\xff\x90", flags=0x200)), "Unicode form"),
    "rar4 broken header": Hostile(
        lambda: _flipped(rar4_bytes(rar4_file(b"evil")), 30), "header is broken|max_ratio|cut off"
    ),
}
