"""The two stages that read every file once, against decoding the same files and doing nothing with them."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import cv2
import pandas as pd

from benchmarks.harness import Candidate, Comparison, Skipped
from benchmarks.memory import peak_memory_mb
from benchmarks.place import NAME, Place
from glaucoma.datasets.imagefile import available_cores, ordered_map, read_to_measure
from glaucoma.datasets.manifest import read_manifest
from glaucoma.datasets.normalize import normalize
from glaucoma.datasets.photograph_facts import SIDE_PX
from glaucoma.datasets.statistics import measure_dataset
from glaucoma.schema import Column
from glaucoma.workspace import Workspace

_FEW, _MANY, _TINY_PX = 500, 5000, 96


def _decode(path: Path, *, half: bool = False) -> tuple[int, ...]:
    whole = cv2.IMREAD_UNCHANGED if path.suffix == ".png" else cv2.IMREAD_COLOR
    flags = cv2.IMREAD_REDUCED_COLOR_2 if half else whole
    pixels = cv2.imread(str(path), flags)
    assert pixels is not None
    return tuple(pixels.shape)


def validate(place: Place) -> Iterator[Comparison | Skipped]:
    """Validation's reading pass: hash, decode, measure photograph and mask. One thread on both sides.

    The pass lets the decoder halve large JPEG photographs, so it stands against plain decoding, of which the aim
    speaks, and against decoding that halves the same files: only that ratio says what hashing and measuring cost.
    Then its peak memory for 5,000 images against that for 500: the whole stage, Great Expectations and pages too.
    """
    folder, manifest = place.dataset.folder, read_manifest(place.dataset.folder)
    photographs_alone = manifest.assign(**{Column.MASK.value: ""})
    for rows, n in ((manifest, "photographs with masks"), (photographs_alone, "photographs without masks")):
        names = [
            str(row[column]) for _, row in rows.iterrows() for column in (Column.IMAGE, Column.MASK) if row[column]
        ]
        files = [folder / name for name in names]
        yield Comparison(
            "validate",
            Candidate("reading pass, 1 thread", partial(_measure, folder, rows)),
            (
                Candidate("limit: cv2.imread alone", partial(_decode_all, files)),
                Candidate("limit: cv2.imread alone, JPEG at half size", partial(_decode_all, files, _halved(files))),
            ),
            f"{len(rows)} {n}",
            rounds=11,
        )
    yield Comparison(
        "validate: memory",
        _memory(place, _MANY),
        (_memory(place, _FEW),),
        f"peak of a process, photographs of {_TINY_PX} px",
        rounds=1,
        unit="MB",
    )


def _measure(folder: Path, manifest: pd.DataFrame) -> None:
    facts = list(measure_dataset(folder, manifest, workers=1))
    assert all(one.readable and one.sha256_matches for one in facts)


def _halved(files: list[Path]) -> frozenset[Path]:
    """Those that the reading pass decodes at half their size."""
    photographs = [path for path in files if path.suffix != ".png"]
    read = {path: read_to_measure(path, SIDE_PX) for path in photographs}
    return frozenset(path for path, found in read.items() if found.pixels.shape[:2] != found.size)


def _decode_all(files: list[Path], halved: frozenset[Path] = frozenset()) -> None:
    for path in files:
        _decode(path, half=path in halved)


def _memory(place: Place, images: int) -> Candidate:
    """A process of its own that validates so many tiny photographs; what it gives is its peak memory in MB."""
    folder = place.root / f"tiny-to-validate-{images}"

    def run() -> list[float]:
        workspace = place.empty("tiny-validated")
        return [peak_memory_mb("benchmarks.reading_memory", "validate", str(folder), str(workspace))]

    def before() -> None:
        if not folder.exists():
            peak_memory_mb("benchmarks.reading_memory", "generate", str(folder), str(images), str(_TINY_PX))

    return Candidate(f"validate, {images} photographs", run, before)


def normalise(place: Place) -> Iterator[Comparison | Skipped]:
    """The whole stage: hashes, fingerprints, canonical masks, groups, splits, manifest. All cores on both sides."""
    unpacked, rows, cores = place.unpacked, place.rows, available_cores()
    originals = [unpacked.folder / "files" / entry["path"] for entry in unpacked.record.details["files"]]
    pictures = [path for path in originals if path.suffix in (".jpg", ".png")]
    target: list[Path] = []

    def ours() -> None:
        normalize(unpacked, NAME, Workspace(target[-1]))

    def bare() -> None:
        for _ in ordered_map(_decode, pictures, workers=cores):
            pass

    yield Comparison(
        "normalize",
        Candidate(f"normalize, {cores} threads", ours, lambda: target.append(place.empty("normalizing"))),
        (Candidate(f"limit: cv2.imread alone, {cores} threads", bare),),
        f"{len(rows)} photographs with masks",
        rounds=5,
    )
