"""Archives to attack with: sound ones of every format, damaged; and ones made with hostile names and lying fields."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import random
import shutil
import subprocess
import tarfile
import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import zstandard

from tests.fuzz.mutations import mutated
from tests.unit.archives.makers import (
    TAR_END,
    ZipMember,
    pax,
    pax_record,
    rar4_bytes,
    rar4_file,
    rar5_bytes,
    rar5_file,
    tar_bytes,
    tar_file,
    tar_header,
    zip_bytes,
)

_PACKERS: tuple[Callable[[bytes], bytes], ...] = (
    bytes,
    lambda content: gzip.compress(content, 1, mtime=0),
    lambda content: bz2.compress(content, 1),
    lambda content: lzma.compress(content, preset=0),
    lambda content: zstandard.compress(content, 1),
)
_FILES = {
    "set/normal/a.jpg": b"\xff\xd8\xff" + bytes(range(256)) * 3,
    "set/glaucoma/b.jpg": b"text " * 120,
    "set/labels.csv": b"image,label\na,normal\n",
    "set/" + "long/" * 22 + "c.png": b"",
}
_AIMS = (
    "..", ".", "", "/", "a//b", "a/./b", "C:\\evil", "..\\evil", "nul.txt", "A/b", "a/B", "a", "a/b", "a/b/c",
    "caf\u00e9", "cafe\u0301", "x" * 260, "a\0b", "__MACOSX/._a", "Thumbs.db", "b.zip", "b", "\u202egpj", "d/" * 40,
    "a ", "a.", "~", "-rf", "$(id)", "%s%n", "\ufeffa",
)  # fmt: skip
_ZIP_LIES: tuple[tuple[str, tuple[int, ...]], ...] = (
    ("flags", (0, 1, 8, 0xFFFF)),
    ("method", (0, 8, 9, 12, 14, 99)),
    ("crc", (0, 1)),
    ("packed", (0, 1, 2**32 - 1)),
    ("size", (0, 1, 2**32 - 1)),
)
_TAR_KINDS = tuple(bytes([kind]) for kind in b"1234567SVDMZxL\0")
_TAR_SIZES = (b"\xff" * 12, b"\x80" + bytes(7) + b"\1\0\0\0", b"99999999999\0", b"77777777777\0")
_PAX_KEYS = ("path", "linkpath", "size", "hdrcharset", "GNU.sparse.size", "mtime", "a")
_OUTSIDE = "outside"
"""The folder beside each workspace in which nothing may ever appear."""


def archive_input(rng: random.Random, outside: Path) -> bytes:
    """One archive; `outside` is where hostile names aim."""
    kind = rng.random()
    if kind < 0.62:
        return _damaged(rng)
    if kind < 0.8:
        return _hostile_zip(rng, outside)
    if kind < 0.96:
        return rng.choice(_PACKERS)(_hostile_tar(rng, outside))
    return _hostile_rar(rng, outside)


def _damaged(rng: random.Random) -> bytes:
    kind = rng.random()
    if kind < 0.5:
        return mutated(rng.choice(_zips()), _zips(), rng)
    if kind < 0.7:
        return rng.choice(_PACKERS)(_with_checksums(mutated(rng.choice(_tars()), _tars(), rng), rng))
    if kind < 0.92:
        return mutated(rng.choice(_PACKERS)(rng.choice(_tars())), _tars(), rng)
    if kind < 0.98 or not _seven_zips():
        return mutated(rng.choice(_rars()), _rars(), rng)
    return mutated(rng.choice(_seven_zips()), _seven_zips(), rng)


@cache
def _zips() -> tuple[bytes, ...]:
    made = []
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", method) as archive:
            for name, content in _FILES.items():
                archive.writestr(zipfile.ZipInfo(name), content, method)
        made.append(buffer.getvalue())
    made.append(_streamed_zip())
    made.append(zip_bytes([ZipMember(b"inner.zip", made[1]), ZipMember(b"inner.tar", tar_bytes(_FILES))]))
    return tuple(made)


def _streamed_zip() -> bytes:
    """With data descriptors and 64-bit fields, as programs write that cannot seek."""

    class Pipe(io.RawIOBase):
        def __init__(self) -> None:
            self.content = bytearray()

        def writable(self) -> bool:
            return True

        def write(self, data: bytes) -> int:  # type: ignore[override]
            self.content += data
            return len(data)

    pipe = Pipe()
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_DEFLATED) as archive:
        for number, (name, content) in enumerate(_FILES.items()):
            with archive.open(zipfile.ZipInfo(name), "w", force_zip64=bool(number % 2)) as handle:
                handle.write(content)
    return bytes(pipe.content)


@cache
def _tars() -> tuple[bytes, ...]:
    dialects = (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)
    return (
        *(tar_bytes(_FILES, dialect) for dialect in dialects),
        tar_bytes({"inner.tgz": gzip.compress(tar_bytes(_FILES))}),
    )


@cache
def _rars() -> tuple[bytes, ...]:
    five = rar5_bytes(b"".join(rar5_file(name.encode(), content) for name, content in _FILES.items()))
    four = rar4_bytes(b"".join(rar4_file(name.encode(), content) for name, content in _FILES.items()))
    return five, four


@cache
def _seven_zips() -> tuple[bytes, ...]:
    """Made by 7-Zip, where it is installed; none where not."""
    program = shutil.which("7zz") or shutil.which("7z")
    if program is None:
        return ()
    with TemporaryDirectory() as folder:
        for name, content in _FILES.items():
            path = Path(folder, "in", name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
            os.utime(path, (0, 0))
        made = []
        for method in ("-mx0", "-mx5"):
            target = Path(folder, f"a{method}.7z")
            subprocess.run(
                [program, "a", "-bd", method, target, "."], cwd=f"{folder}/in", check=True, capture_output=True
            )
            made.append(target.read_bytes())
    return tuple(made)


def _with_checksums(content: bytes, rng: random.Random) -> bytes:
    """Makes the damaged headers pass their checksum, most of the time, so that what is behind it is reached."""
    if rng.random() < 0.3:
        return content
    changed = bytearray(content)
    for at in range(0, len(changed) - 511, 512):
        if changed[at + 257 : at + 262] == b"ustar":
            changed[at + 148 : at + 156] = b" " * 8
            changed[at + 148 : at + 156] = b"%06o\0 " % sum(changed[at : at + 512])
    return bytes(changed)


def _name(rng: random.Random, outside: Path) -> bytes:
    aims = (*_AIMS, f"{'../' * rng.randrange(1, 9)}{_OUTSIDE}/evil", f"{outside}/evil", f"a/../../{_OUTSIDE}/evil")
    if rng.random() < 0.8:
        return rng.choice(aims).encode()
    return rng.choice((rng.randbytes(rng.randrange(1, 20)), "/".join(rng.choices(aims, k=3)).encode()))


def _content(rng: random.Random) -> bytes:
    blank = bytes(rng.choice((512, 150_000)))
    return rng.choice((b"", b"data", rng.randbytes(rng.randrange(900)), blank, rng.choice(_zips())))


def _hostile_zip(rng: random.Random, outside: Path) -> bytes:
    members = [_hostile_zip_member(rng, outside) for _ in range(rng.randrange(1, 5))]
    end = {}
    if rng.random() < 0.15:
        end[rng.choice(("entries", "length", "start", "disk"))] = rng.choice((0, 1, 0xFFFF))
    return zip_bytes(members, comment=rng.choice((b"", b"", b"", b"PK\x05\x06" + bytes(18))), **end)


def _hostile_zip_member(rng: random.Random, outside: Path) -> ZipMember:
    one = ZipMember(_name(rng, outside), _content(rng), method=rng.choice((0, 8, 8)), flags=rng.choice((0, 0x800)))
    if rng.random() < 0.3:
        one.mode = rng.choice((0o120777, 0o060600, 0o040755, 0, 0xFFFF))
    for lies in (one.local, one.central):
        if rng.random() < 0.25:
            key, values = rng.choice(_ZIP_LIES)
            lies[key] = rng.choice(values)
    if rng.random() < 0.1:
        one.central["offset"] = rng.randrange(300)
    if rng.random() < 0.1:
        one.extra = rng.choice((b"\1\0\x08\0" + bytes(8), b"\x75\x70\x09\0\1" + rng.randbytes(8), rng.randbytes(9)))
    if rng.random() < 0.1:
        one.flags |= 8
        one.descriptor = rng.choice((b"PK\x07\x08", b"")) + rng.randbytes(rng.choice((12, 20, 3)))
    return one


def _hostile_tar(rng: random.Random, outside: Path) -> bytes:
    parts = [_hostile_tar_member(rng, outside) for _ in range(rng.randrange(1, 5))]
    return b"".join(parts) + rng.choice((TAR_END, TAR_END, TAR_END, bytes(512), b""))


def _hostile_tar_member(rng: random.Random, outside: Path) -> bytes:
    name, content, how = _name(rng, outside)[:100], _content(rng), rng.random()
    if how < 0.3:
        return tar_header(name, rng.choice((0, 0, 512)), rng.choice(_TAR_KINDS), _name(rng, outside)[:100])
    if how < 0.4:
        return tar_header(name, rng.choice(_TAR_SIZES))
    if how < 0.6:
        values = (name, b"-1", b"5", b"9" * 25)
        records = b"".join(pax_record(rng.choice(_PAX_KEYS), rng.choice(values)) for _ in range(2))
        records = rng.choice((records, records[:-1], b"0 a=b\n"))
        return pax(records, rng.choice((b"x", b"x", b"g"))) + tar_file(b"y", content)
    return tar_file(name, content, prefix=rng.choice((b"", b"", b"..", b"p")))


def _hostile_rar(rng: random.Random, outside: Path) -> bytes:
    names = [_name(rng, outside) for _ in range(rng.randrange(1, 4))]
    if rng.random() < 0.5:
        flags, hosts = (0, 0, 0x200, 4, 1), (2, 3)
        fours = [rar4_file(name, _content(rng), flags=rng.choice(flags), host=rng.choice(hosts)) for name in names]
        return rar4_bytes(b"".join(fours), main_flags=rng.choice((0, 0, 0, 1, 0x80)))
    sizes, extras = (None, None, 10**6), (b"", b"", b"\5\1\0\1x", b"\1")
    fives = [rar5_file(name, _content(rng), size=rng.choice(sizes), extra=rng.choice(extras)) for name in names]
    return rar5_bytes(b"".join(fives), main_flags=rng.choice((0, 0, 0, 1)))
