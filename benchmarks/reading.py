"""The two stages that read every file once, against decoding the same files and doing nothing with them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2

from benchmarks.harness import Candidate, Comparison, Skipped
from benchmarks.place import NAME, Place
from glaucoma.datasets.imagefile import available_cores, ordered_map
from glaucoma.datasets.manifest import read_manifest
from glaucoma.datasets.normalize import normalize
from glaucoma.datasets.statistics import measure_dataset
from glaucoma.workspace import Workspace


def _decode(path: Path) -> tuple[int, ...]:
    flags = cv2.IMREAD_UNCHANGED if path.suffix == ".png" else cv2.IMREAD_COLOR
    pixels = cv2.imread(str(path), flags)
    assert pixels is not None
    return tuple(pixels.shape)


def validate(place: Place) -> Iterator[Comparison | Skipped]:
    """Validation's reading pass: hash, decode, measure photograph and mask. One thread on both sides."""
    folder, files = place.dataset.folder, place.files
    manifest = read_manifest(folder)

    def ours() -> None:
        facts = list(measure_dataset(folder, manifest, workers=1))
        assert all(one.readable and one.sha256_matches for one in facts)

    def bare() -> None:
        for path in files:
            _decode(path)

    yield Comparison(
        "validate",
        Candidate("reading pass, 1 thread", ours),
        (Candidate("limit: cv2.imread alone", bare),),
        f"{len(manifest)} photographs with masks",
        rounds=5,
    )


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
