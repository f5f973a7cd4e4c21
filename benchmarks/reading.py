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
from glaucoma.datasets.imagefile import available_cores, ordered_map
from glaucoma.datasets.manifest import read_manifest
from glaucoma.datasets.normalize import normalize
from glaucoma.datasets.statistics import measure_dataset
from glaucoma.schema import Column
from glaucoma.workspace import Workspace

_FEW, _MANY, _TINY_PX = 500, 5000, 96


def _decode(path: Path) -> tuple[int, ...]:
    flags = cv2.IMREAD_UNCHANGED if path.suffix == ".png" else cv2.IMREAD_COLOR
    pixels = cv2.imread(str(path), flags)
    assert pixels is not None
    return tuple(pixels.shape)


def validate(place: Place) -> Iterator[Comparison | Skipped]:
    """Validation's reading pass: hash, decode, measure photograph and mask. One thread on both sides.

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
            (Candidate("limit: cv2.imread alone", partial(_decode_all, files)),),
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


def _decode_all(files: list[Path]) -> None:
    for path in files:
        _decode(path)


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
