"""The facts of each file of an unpacked archive, before anyone knows what the files are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from glaucoma.datasets.imagefile import UnreadableImageError, ordered_map, read_photograph
from glaucoma.datasets.imageheader import ENDINGS, image_kind, read_header
from glaucoma.provenance import file_sha256

_START = 32
_PROGRAMS = {b"MZ": "program", b"\x7fELF": "program", b"#!": "script", b"\xcf\xfa\xed\xfe": "program"}
_OTHERS = {
    b"PK\x03\x04": "zip or spreadsheet",
    b"\xd0\xcf\x11\xe0": "old office document",
    b"MATLAB": "matlab",
    b"\x89HDF": "hdf5",
    b"%PDF": "pdf",
    b"Rar!": "rar",
    b"7z\xbc\xaf": "7z",
    b"\x1f\x8b": "gzip",
}
EMPTY = "empty"


@dataclass(frozen=True)
class FileFacts:
    """One file's row of `checks.csv`: None where there is nothing to say.

    Attributes:
        path: Inside the archive.
        kind: Of the content, from its first bytes: an image's kind, another known kind, or `other`.
        promised: The kind of image that the name's ending promises, or empty.
    """

    path: str
    bytes: int
    sha256: str
    kind: str = "other"
    promised: str = ""
    is_image: bool = False
    not_empty_file: bool = True
    sha256_matches: bool | None = None
    ending_matches: bool | None = None
    image_readable: bool | None = None
    no_program: bool = True
    width: int | None = None
    height: int | None = None
    short_side_px: int | None = None
    channels: int | None = None
    depth_bits: int | None = None
    copies: int = 1
    problem: str = ""


def measure_files(
    unpacked: Path, entries: Sequence[dict[str, Any]], *, decode: bool, workers: int | None = None
) -> Generator[FileFacts, None, None]:
    """The facts of every entry (`path`, `bytes`, `sha256`) of an unpacked archive's record, in its order.

    Args:
        unpacked: The folder that the entries' paths start from.
        decode: Read every file whole and decode every image; else the first bytes only.
    """
    copies = Counter(str(entry["sha256"]) for entry in entries)

    def measure(entry: dict[str, Any]) -> FileFacts:
        facts = FileFacts(str(entry["path"]), int(entry["bytes"]), str(entry["sha256"]))
        facts = replace(facts, copies=copies[facts.sha256])
        try:
            return _measure(unpacked / facts.path, facts, decode)
        except OSError as error:
            return replace(facts, sha256_matches=False, problem=f"cannot be read ({error.strerror or error})")

    return ordered_map(measure, entries, workers=workers)


def _measure(path: Path, facts: FileFacts, decode: bool) -> FileFacts:
    with path.open("rb") as file:
        start = file.read(_START)
    promised = ENDINGS.get(PurePosixPath(facts.path).suffix.lower(), "")
    kind = image_kind(start) or _other_kind(start)
    is_image = bool(promised or image_kind(start))
    facts = replace(
        facts,
        kind=kind,
        promised=promised,
        is_image=is_image,
        not_empty_file=bool(start),
        no_program=kind not in _PROGRAMS.values(),
        ending_matches=kind == promised if is_image and start else None,
    )
    if not is_image:
        return replace(facts, sha256_matches=file_sha256(path) == facts.sha256) if decode else facts
    header = read_header(path)
    if header is None or not header.width or not header.height:
        facts = replace(facts, image_readable=False, problem=f"no {promised or 'image'} header can be followed")
    else:
        facts = replace(
            facts,
            image_readable=True,
            width=header.width,
            height=header.height,
            short_side_px=min(header.width, header.height),
            channels=header.channels,
            depth_bits=header.depth_bits,
        )
    return _decoded(path, facts) if decode else facts


def _decoded(path: Path, facts: FileFacts) -> FileFacts:
    try:
        found = read_photograph(path)
    except UnreadableImageError as error:
        matches = file_sha256(path) == facts.sha256
        return replace(facts, image_readable=False, problem=str(error), sha256_matches=matches)
    return replace(facts, image_readable=True, problem="", sha256_matches=found.sha256 == facts.sha256)


def _other_kind(start: bytes) -> str:
    if not start:
        return EMPTY
    for known in (_PROGRAMS, _OTHERS):
        for begins, kind in known.items():
            if start.startswith(begins):
                return kind
    return "other"
