"""Unpacking with all checks and hashes, against `unzip`, and against the bare writing of the same bytes."""

from __future__ import annotations

import shutil
import subprocess
import zipfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.harness import Candidate, Comparison, Skipped
from benchmarks.place import Place
from glaucoma.archives.unpack import unpack
from glaucoma.workspace import Workspace

_COPIES = 8
_SMALL_FILES = 5000
_SMALL_PX = 300
"""JPEG photographs of this side have about 30 kB, as those of a dataset of cropped discs."""


def benchmark(place: Place) -> Iterator[Comparison | Skipped]:
    """`unpack` checks names, sizes and ratios, hashes the archive and each file, and writes its record."""
    if not shutil.which("unzip"):
        yield Skipped("unpack", "against unzip: it is not installed")
    for make in (_larger, _many):
        archive, contents = make(place)
        yield _comparison(place, archive, contents)
        for leftover in place.root.glob("unpacking-*"):
            shutil.rmtree(leftover)
        archive.unlink()


def _comparison(place: Place, archive: Path, contents: list[bytes]) -> Comparison:
    targets: dict[str, Path] = {}

    def make_empty(name: str) -> None:
        targets[name] = place.empty(f"unpacking-{name}")

    def ours() -> None:
        unpack(archive, Workspace(targets["arc"]))

    def unzip() -> None:
        subprocess.run(["unzip", "-q", str(archive), "-d", str(targets["unzip"])], check=True)

    def bare() -> None:
        for number, content in enumerate(contents):
            (targets["bare"] / str(number)).write_bytes(content)

    others = [Candidate("limit: writing the bytes alone", bare, lambda: make_empty("bare"))]
    if shutil.which("unzip"):
        others.insert(0, Candidate("unzip", unzip, lambda: make_empty("unzip")))
    return Comparison(
        "unpack",
        Candidate("unpack, all checks and hashes", ours, lambda: make_empty("arc")),
        tuple(others),
        f"{len(contents)} files, {sum(map(len, contents)) / 1e6:.0f} MB",
    )


def _larger(place: Place) -> tuple[Path, list[bytes]]:
    """The generated archive's files several times over, and the same bytes."""
    with zipfile.ZipFile(place.archive) as opened:
        files = {name: opened.read(name) for name in opened.namelist()}
    return _packed(
        place.root / "larger.zip",
        {f"copy-{copy}/{name}": content for copy in range(_COPIES) for name, content in files.items()},
    )


def _many(place: Place) -> tuple[Path, list[bytes]]:
    """Thousands of small JPEG photographs, no two of the same bytes, and the same bytes."""
    import cv2
    import numpy as np

    rng = np.random.default_rng(place.seed)
    patterns = []
    for _ in range(50):
        noise = cv2.GaussianBlur(rng.integers(0, 256, (_SMALL_PX, _SMALL_PX, 3), dtype=np.uint8), (0, 0), 1.2)
        patterns.append(cv2.imencode(".jpg", noise, [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes())
    return _packed(
        place.root / "many.zip",
        {f"set/{n % 2}/{n:05d}.jpg": patterns[n % 50] + n.to_bytes(4, "big") for n in range(_SMALL_FILES)},
    )


def _packed(path: Path, files: dict[str, bytes]) -> tuple[Path, list[bytes]]:
    """A zip of the files, deflated as most archives are."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path, list(files.values())
