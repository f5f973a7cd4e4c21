"""Preprocessing against a bare OpenCV loop, MONAI and scikit-image; what a second thread brings; memory.

Every candidate does the same steps on the same photographs and masks, and writes two PNG a photograph and the three
packed arrays.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import IO

import numpy as np
import pandas as pd

from benchmarks.harness import Candidate, Comparison, Skipped
from benchmarks.memory import peak_memory_mb
from benchmarks.place import NAME, Place
from benchmarks.preparing_peers import SIZE_PX, Made, Way, bare_opencv, monai, scikit_image
from glaucoma.datasets.field_of_view import find_field
from glaucoma.datasets.imagefile import available_cores, read_mask_file, read_photograph
from glaucoma.datasets.manifest import read_manifest, write_manifest
from glaucoma.preprocessing.chain import run_chain
from glaucoma.preprocessing.disc import Box
from glaucoma.preprocessing.geometry import cut
from glaucoma.preprocessing.preprocess import preprocess
from glaucoma.preprocessing.resample import resize_mask
from glaucoma.preprocessing.settings import PreprocessSettings
from glaucoma.schema import Column
from glaucoma.workspace import Workspace

_SETTINGS = PreprocessSettings(image_size_px=SIZE_PX)
_IN_MEMORY = 6
_TIMES = 8
"""For two threads each photograph comes eight times, or the fixed cost of a dataset (the record, the manifest, the
disk's sync: a tenth of a second) would hide what the second thread brings."""
_FEW, _MANY, _TINY_PX = 500, 5000, 160


def benchmark(place: Place) -> Iterator[Comparison | Skipped]:
    """Ours also checks hashes, finds the field's outline, keeps geometry and record, and syncs arrays to the disk."""
    dataset, n = place.dataset.folder, len(place.rows)
    ways = (bare_opencv(), monai(), scikit_image())
    what = f"{n} photographs with masks to {SIZE_PX} px"
    _require_alike(place, ways)
    yield Comparison(
        "preprocess", _ours(place, dataset, 1), tuple(_loop(place, dataset, way) for way in ways), what, rounds=5
    )
    yield Comparison(
        "preprocess, steps alone",
        _steps_alone(place, ours()),
        tuple(_steps_alone(place, way) for way in ways),
        f"{_IN_MEMORY} decoded photographs with masks",
        rounds=5,
    )
    if available_cores() < 2:
        yield Skipped("preprocess, 2 threads", "needs two cores")
    else:
        more = _repeated(place, _TIMES)
        yield Comparison(
            "preprocess, 2 threads",
            _ours(place, more, 2),
            (_loop(place, more, bare_opencv(), 2), _ours(place, more, 1)),
            f"{_TIMES * n} photographs with masks to {SIZE_PX} px",
            rounds=5,
        )
    yield Comparison(
        "preprocess, memory",
        _memory(place, _MANY),
        (_memory(place, _FEW),),
        f"peak of the process, {_TINY_PX} px to 64 px",
        rounds=1,
        unit="MB",
    )


def ours() -> Way:
    """The chain of steps without the files around it."""

    def steps(data: tuple[np.ndarray, np.ndarray]) -> Made:
        photograph, mask = data
        made = run_chain(photograph, find_field(photograph), _SETTINGS, no_disc)
        return made.picture, resize_mask(cut(mask, made.geometry), SIZE_PX), made.inside

    def read(dataset: Path, row: dict[str, str]) -> tuple[np.ndarray, np.ndarray]:
        return read_photograph(dataset / row["image"]).pixels, read_mask_file(dataset / row["mask"]).pixels

    return Way("chain of steps", read, steps, lambda target, row, data: data)


def _require_alike(place: Place, ways: tuple[Way, ...]) -> None:
    """All make the same of a photograph: red within 3 of 255 on average, the same field, the disc in its place.

    Green, which is equalised, is left out: scikit-image's clip limit has another meaning.
    """
    dataset, row = place.dataset.folder, place.rows[0]
    wanted = ours().whole(dataset, place.empty("preparing-alike"), row)
    for way in ways:
        made = way.whole(dataset, place.empty("preparing-alike"), row)
        both = (wanted[2] > 0) & (made[2] > 0)
        red = np.abs(wanted[0][..., 0].astype(int) - made[0][..., 0])[both].mean()
        assert red < 3, (way.name, red)
        for kind, least in ((1, 0.9), (2, 0.98)):
            assert _overlap(wanted[kind], made[kind]) > least, (way.name, kind)


def _overlap(one: np.ndarray, other: np.ndarray) -> float:
    return float(((one > 0) & (other > 0)).sum() / ((one > 0) | (other > 0)).sum())


def no_disc() -> Box:
    raise AssertionError("no step asks for the disc")


def _ours(place: Place, dataset: Path, workers: int) -> Candidate:
    target: list[Path] = []
    images = len(read_manifest(dataset))

    def run() -> None:
        output = preprocess(dataset, NAME, Workspace(target[0]), _SETTINGS, workers=workers)
        assert output.record.counts["images"] == images

    def before() -> None:
        target[:] = [place.empty("preparing-ours")]

    return Candidate(f"preprocess, {workers} thread{'s' * (workers > 1)}", run, before)


def _loop(place: Place, dataset: Path, way: Way, threads: int = 1) -> Candidate:
    """Another way, as a plain loop or a pool's map over the rows; one thread writes the packed arrays."""
    target: list[Path] = []
    rows = read_manifest(dataset).to_dict("records")

    def run() -> None:
        one = partial(way.whole, dataset, target[0])
        with contextlib.ExitStack() as stack:
            files = [stack.enter_context((target[0] / f"{kind}.bin").open("wb")) for kind in ("image", "mask", "field")]
            mapped = map if threads == 1 else stack.enter_context(ThreadPoolExecutor(threads)).map
            for made in mapped(one, rows):
                _pack(files, made)

    def before() -> None:
        target[:] = [place.empty(f"preparing-{way.name.replace(' ', '-')}")]

    return Candidate(way.name + (f", {threads} threads" if threads > 1 else ""), run, before)


def _pack(files: Sequence[IO[bytes]], made: Made) -> None:
    for file, array in zip(files, made, strict=True):
        assert array.shape[:2] == (SIZE_PX, SIZE_PX)
        assert array.dtype == np.uint8
        file.write(np.ascontiguousarray(array).data)


def _steps_alone(place: Place, way: Way) -> Candidate:
    decoded: list[object] = []

    def before() -> None:
        if not decoded:
            decoded.extend(way.read(place.dataset.folder, row) for row in place.rows[:_IN_MEMORY])

    def run() -> None:
        for data in decoded:
            way.steps(data)

    return Candidate(way.name, run, before)


def _repeated(place: Place, times: int) -> Path:
    """The dataset with every photograph so many times, under names of its own."""
    source, folder = place.dataset.folder, place.empty("preparing-repeated")
    manifest = read_manifest(source)
    parts = []
    for turn in range(times):
        part = manifest.copy()
        part[Column.IMAGE_ID] = part[Column.IMAGE_ID] + f"-{turn}"
        part[Column.GROUP] = part[Column.GROUP] + f"-{turn}"
        for column in (Column.IMAGE, Column.MASK):
            part[column] = [_linked(source, folder, str(name), turn) for name in part[column]]
        parts.append(part)
    write_manifest(folder, pd.concat(parts, ignore_index=True))
    shutil.copy(source / "dataset.json", folder)
    return folder


def _linked(source: Path, folder: Path, name: str, turn: int) -> str:
    path = Path(name)
    new = path.with_stem(f"{path.stem}-{turn}")
    (folder / new).parent.mkdir(exist_ok=True)
    os.link(source / path, folder / new)
    return str(new)


def _memory(place: Place, images: int) -> Candidate:
    """A process of its own that prepares so many tiny photographs; what it gives is its peak memory in MB."""
    folder = place.root / f"tiny-{images}"

    def run() -> list[float]:
        return [peak_memory_mb("benchmarks.preparing_memory", "prepare", str(folder), str(place.empty("tiny-out")))]

    def before() -> None:
        if not folder.exists():
            peak_memory_mb("benchmarks.preparing_memory", "generate", str(folder), str(images), str(_TINY_PX))

    return Candidate(f"preprocess, {images} photographs", run, before)
