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


def benchmark(place: Place) -> Iterator[Comparison | Skipped]:
    """`unpack` checks names, sizes and ratios, hashes the archive and each file, and writes its record."""
    archive, contents = _larger(place)
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
    else:
        yield Skipped("unpack", "against unzip: it is not installed")
    size_mb = sum(map(len, contents)) / 1e6
    yield Comparison(
        "unpack",
        Candidate("unpack, all checks and hashes", ours, lambda: make_empty("arc")),
        tuple(others),
        f"{len(contents)} files, {size_mb:.0f} MB",
    )
    for folder in targets.values():
        shutil.rmtree(folder)


def _larger(place: Place) -> tuple[Path, list[bytes]]:
    """The generated archive's files several times over, deflated as most archives are; and the same bytes."""
    path = place.root / "larger.zip"
    with zipfile.ZipFile(place.archive) as opened:
        files = {name: opened.read(name) for name in opened.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for copy in range(_COPIES):
            for name, content in files.items():
                archive.writestr(f"copy-{copy}/{name}", content)
    return path, list(files.values()) * _COPIES
