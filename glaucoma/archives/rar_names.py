"""Names as RAR 4 stores them: plain, in UTF-8, or plain followed by what turns it into UTF-16."""

from __future__ import annotations

from glaucoma.archives.refusals import damaged


def name_of_version_4(field: bytes, *, is_unicode: bool, label: str) -> str:
    """The name in `field`; `ArchiveError` where its Unicode form does not hold together."""
    plain, nul, encoded = field.partition(b"\0")
    if not is_unicode:
        return _plain(field)
    if not nul:
        return field.decode("utf-8", "surrogateescape")
    try:
        units = _units(plain, encoded)
    except IndexError as error:
        raise damaged(label, "the Unicode form of its name is broken", _plain(plain)) from error
    return b"".join(unit.to_bytes(2, "little") for unit in units).decode("utf-16-le", "surrogatepass")


def _plain(field: bytes) -> str:
    try:
        return field.decode("utf-8")
    except UnicodeDecodeError:
        return field.decode("cp437")


def _units(plain: bytes, encoded: bytes) -> list[int]:
    """UTF-16 code units. Each two bits of a flag byte say how the next ones are written: 0 as a byte, 1 as a byte with
    the common high byte, 2 as two bytes, 3 as a run of the plain name, shifted where the run's first bit is set."""
    high, at, units = encoded[0] << 8, 1, list[int]()
    flags, bits = 0, 0
    while at < len(encoded):
        if bits == 0:
            flags, bits, at = encoded[at], 8, at + 1
            if at == len(encoded):
                break
        bits -= 2
        how = flags >> bits & 3
        first = encoded[at]
        at += 1
        if how == 0:
            units.append(first)
        elif how == 1:
            units.append(first | high)
        elif how == 2:
            units.append(first | encoded[at] << 8)
            at += 1
        elif first & 0x80:
            shift, at = encoded[at], at + 1
            start = len(units)
            run = [plain[start + step] for step in range((first & 0x7F) + 2)]
            units.extend((letter + shift & 0xFF) | high for letter in run)
        else:
            units.extend(plain[len(units) : len(units) + first + 2])
    return units
