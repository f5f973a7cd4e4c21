"""Rows written one after another into a `.npy` file, whose number is known only at the end."""

from __future__ import annotations

import io
import os
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.lib import format as npy_format
from numpy.typing import NDArray


class PackedWriter:
    """Writes uint8 rows of one shape to `path`; the finished file opens with `np.load(path, mmap_mode="r")`.

    The header is written for `rows_at_most` and again, with the true number, on a clean exit: numpy keeps room in it
    for the first axis, so its length stays. Memory: one row.
    """

    def __init__(self, path: Path, row_shape: tuple[int, ...], *, rows_at_most: int) -> None:
        self._row_shape = row_shape
        self._rows = 0
        self._header_bytes = len(_header(rows_at_most, row_shape))
        self._file = path.open("wb")
        self._file.write(_header(rows_at_most, row_shape))

    def append(self, row: NDArray[np.uint8]) -> None:
        """Adds one row; ValueError where its shape or dtype is another."""
        if row.shape != self._row_shape or row.dtype != np.uint8:
            raise ValueError(f"a row of uint8 {self._row_shape} was expected, not {row.dtype} {row.shape}")
        self._file.write(np.ascontiguousarray(row).data)
        self._rows += 1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None:
                header = _header(self._rows, self._row_shape)
                if len(header) != self._header_bytes:
                    raise ValueError(f"the .npy header grew from {self._header_bytes} to {len(header)} bytes")
                self._file.seek(0)
                self._file.write(header)
                self._file.flush()
                os.fsync(self._file.fileno())
        finally:
            self._file.close()


def _header(rows: int, row_shape: tuple[int, ...]) -> bytes:
    text = io.BytesIO()
    npy_format.write_array_header_1_0(text, {"descr": "|u1", "fortran_order": False, "shape": (rows, *row_shape)})
    return text.getvalue()
