"""Rows put into a `.npy` file by several threads, each at its place; how many remain is known only at the end."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.lib import format as npy_format
from numpy.typing import NDArray


class PackedWriter:
    """Writes uint8 rows of one shape to `path`; the finished file opens with `np.load(path, mmap_mode="r")`.

    The header is written at the end, when the number of rows is known: numpy keeps room in it for the first axis, so
    its length stays. Memory: one row.
    """

    def __init__(self, path: Path, row_shape: tuple[int, ...], *, rows_at_most: int) -> None:
        self._row_shape = row_shape
        self._row_bytes = int(np.prod(row_shape))
        self._start = len(_header(rows_at_most, row_shape))
        self._file = path.open("w+b")

    def put(self, place: int, row: NDArray[np.uint8]) -> None:
        """Writes the row `place`, from any thread; ValueError where its shape or dtype is another."""
        if row.shape != self._row_shape or row.dtype != np.uint8:
            raise ValueError(f"a row of uint8 {self._row_shape} was expected, not {row.dtype} {row.shape}")
        self._write(np.ascontiguousarray(row).data.cast("B"), place)

    def finish(self, places: Sequence[int]) -> None:
        """Keeps the rows at `places`, which ascend, and nothing else; then the file is whole, and synced."""
        for row, place in enumerate(places):
            if row != place:
                self._write(memoryview(os.pread(self._file.fileno(), self._row_bytes, self._at(place))), row)
        header = _header(len(places), self._row_shape)
        if len(header) != self._start:
            raise ValueError(f"the .npy header grew from {self._start} to {len(header)} bytes")
        os.pwrite(self._file.fileno(), header, 0)
        os.ftruncate(self._file.fileno(), self._at(len(places)))
        self.sync()

    def sync(self) -> None:
        """Brings to the disk what was put so far."""
        os.fsync(self._file.fileno())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def _at(self, row: int) -> int:
        return self._start + row * self._row_bytes

    def _write(self, content: memoryview, row: int) -> None:
        """All of it: the system may take a part at a time."""
        at = self._at(row)
        while content:
            written = os.pwrite(self._file.fileno(), content, at)
            content, at = content[written:], at + written


def _header(rows: int, row_shape: tuple[int, ...]) -> bytes:
    text = io.BytesIO()
    npy_format.write_array_header_1_0(text, {"descr": "|u1", "fortran_order": False, "shape": (rows, *row_shape)})
    return text.getvalue()
