"""Headers of tar archives: v7, ustar, GNU and pax, read strictly.

The standard library's reader lets a pax header change a member's size, follows sparse maps, reads headers of any length
into memory, and takes a broken header for the archive's end.
Source: POSIX.1-2017 `pax`, GNU tar manual, "Basic Tar Format".
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from glaucoma.archives.refusals import damaged, unsafe

TAR_BLOCK = 512
_CHECKSUM = slice(148, 156)
_MOST_PAX_RECORDS = 1000
LARGEST_OCTAL = 8**11 - 1
"""What the size field holds in octal digits; only beyond it may a pax header state another size."""
_RECORD = re.compile(rb"(\d{1,9}) ")
_MEANINGFUL = frozenset(["path", "linkpath", "size", "hdrcharset"])


@dataclass(frozen=True, slots=True)
class TarHeader:
    """One header block: `kind` is its type flag, `is_posix` whether a prefix field was read."""

    name: str
    link: str
    size: int
    kind: bytes


def has_tar_checksum(block: bytes) -> bool:
    """True where the block's checksum, over signed or unsigned bytes, is the one that it states."""
    stated = _octal(block[_CHECKSUM])
    if stated is None:
        return False
    rest = block[:148] + block[156:]
    unsigned = 8 * 32 + sum(rest)
    return stated in (unsigned, unsigned - 256 * sum(byte > 127 for byte in rest))


def parse_header(block: bytes, label: str, before: str) -> TarHeader:
    """The header in `block`.

    Args:
        before: The member before, for the message.

    Raises:
        ArchiveError: A wrong checksum, or a size that is negative or no number.
    """
    where = f"behind its member {before!a}" if before else "at its start"
    if not has_tar_checksum(block):
        raise damaged(label, f"there is no header and no end marker {where}")
    name = _text(block[:100])
    if block[257:265] == b"ustar\x0000" and (prefix := _text(block[345:500])):
        name = f"{prefix}/{name}"
    size = _number(block[124:136])
    if size is None or size < 0:
        raise damaged(label, f"its size is {'no number' if size is None else size}", name)
    return TarHeader(name, _text(block[157:257]), size, block[156:157])


def _text(field: bytes) -> str:
    return field.split(b"\0", 1)[0].decode("utf-8", "surrogateescape")


def _octal(field: bytes) -> int | None:
    digits = field.strip(b" \0")
    if not digits:
        return 0
    return int(digits, 8) if re.fullmatch(rb"[0-7]+", digits) else None


def _number(field: bytes) -> int | None:
    """Octal digits, or GNU's big-endian number with the first bit set; None for neither."""
    if field[0] in (0x80, 0xFF):
        value = int.from_bytes(field[1:], "big")
        return value - 256 ** (len(field) - 1) if field[0] == 0xFF else value
    return _octal(field)


def parse_pax(content: bytes, label: str, before: str) -> dict[str, str]:
    """The records of a pax header.

    Raises:
        ArchiveError: Records that do not fill it exactly, too many of them, one that matters twice, a sparse map.
    """
    where = f"(behind its member {before!a})" if before else "(at its start)"
    records: dict[str, str] = {}
    at = count = 0
    while at < len(content):
        length = _RECORD.match(content, at)
        end = at + int(length[1]) if length else -1
        if length is None or end > len(content) or end <= length.end() or content[end - 1 : end] != b"\n":
            raise damaged(label, f"a pax header is broken at byte {at} {where}")
        key_bytes, equals, value = content[length.end() : end - 1].partition(b"=")
        key = key_bytes.decode("utf-8", "replace")
        if not equals or not key:
            raise damaged(label, f"a pax header has a record without a name {where}")
        if key in records and key in _MEANINGFUL:
            raise damaged(label, f"a pax header states {key!a} twice {where}")
        records[key] = value.decode("utf-8", "surrogateescape")
        at, count = end, count + 1
        if count > _MOST_PAX_RECORDS:
            raise damaged(label, f"a pax header has more than {_MOST_PAX_RECORDS} records {where}")
    return records


def check_global_pax(records: dict[str, str], label: str) -> None:
    """A header for all members may comment on them; it may not give them all one name or size."""
    for key in records:
        if key in _MEANINGFUL or key.startswith("GNU.sparse"):
            raise damaged(label, f"a pax header for all members sets their {key!a}")


def apply_pax(header: TarHeader, records: dict[str, str], label: str) -> TarHeader:
    """`header` with the name, link and size that its pax header states.

    Raises:
        ArchiveError: A size that the header contradicts, a sparse map, another character set.
    """
    name = records.get("path") or header.name
    if any(key.startswith("GNU.sparse") for key in records):
        raise unsafe(name, "is a sparse file")
    if records.get("hdrcharset", "ISO-IR 10646 2000 UTF-8") != "ISO-IR 10646 2000 UTF-8":
        raise unsafe(name, "is not valid UTF-8")
    size = header.size
    if stated := records.get("size"):
        if not re.fullmatch(r"[0-9]{1,20}", stated):
            raise damaged(label, f"its pax header states the size {stated[:40]!a}", name)
        size = int(stated)
        if size != header.size and size <= LARGEST_OCTAL:
            raise unsafe(name, f"has another size in its pax header ({size}) than in its header ({header.size})")
    return TarHeader(name, records.get("linkpath") or header.link, size, header.kind)
