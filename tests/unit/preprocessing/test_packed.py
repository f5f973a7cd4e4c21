from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from glaucoma.preprocessing.packed import PackedWriter


@pytest.mark.parametrize(("written", "at_most"), [(0, 3), (3, 3), (9, 1000), (99, 100_000)])
def test_the_file_opens_as_a_memmap_with_the_rows_that_were_written(tmp_path: Path, written: int, at_most: int) -> None:
    rows = np.random.default_rng(0).integers(0, 256, (written, 4, 5, 3), dtype=np.uint8)
    with PackedWriter(tmp_path / "a.npy", (4, 5, 3), rows_at_most=at_most) as packed:
        for place in np.random.default_rng(1).permutation(written):
            packed.put(int(place), rows[place])
        packed.finish(range(written))
    loaded = np.load(tmp_path / "a.npy", mmap_mode="r" if written else None)
    assert loaded.shape == (written, 4, 5, 3)
    assert loaded.dtype == np.uint8
    assert (loaded == rows).all()


@pytest.mark.parametrize("row", [np.zeros((4, 4), np.uint8), np.zeros((5, 4), np.float32)])
def test_a_row_of_another_kind_is_refused(tmp_path: Path, row: np.ndarray) -> None:
    with (
        PackedWriter(tmp_path / "a.npy", (5, 4), rows_at_most=2) as packed,
        pytest.raises(ValueError, match="was expected"),
    ):
        packed.put(0, row)


@pytest.mark.parametrize("kept", [[], [0], [4], [1, 2, 4], [0, 1, 2, 3, 4]])
def test_rows_that_were_not_kept_are_gone_and_the_rest_move_up(tmp_path: Path, kept: list[int]) -> None:
    rows = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    with PackedWriter(tmp_path / "a.npy", (7, 3), rows_at_most=5) as packed:
        for place in kept:
            packed.put(place, rows[place])
        packed.finish(kept)
    loaded = np.load(tmp_path / "a.npy")
    assert np.array_equal(loaded, rows[kept])
    assert (tmp_path / "a.npy").stat().st_size == 128 + loaded.nbytes
