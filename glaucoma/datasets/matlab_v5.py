"""MATLAB's file format of versions 5 to 7: numeric arrays and structures, every size checked before it is used.

scipy reads these files too, and in a fuzz run it ended the process with a segmentation fault: its reader trusts what an
element says of itself. This one takes from the format what masks need and refuses the rest.

Source: MAT-File Format, MathWorks, chapter 1 (level 5).
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

_HEADER_BYTES = 128
_ORDERS = {b"IM": "<", b"MI": ">"}
_MATRIX, _COMPRESSED = 14, 15
_INT8, _INT32, _UINT32 = 1, 5, 6
_NUMBERS = {
    1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8",
}  # fmt: skip
"""Type of the stored numbers; MATLAB keeps a double array of small whole numbers as bytes."""
_ARRAYS = {
    6: "f8", 7: "f4", 8: "i1", 9: "u1", 10: "i2", 11: "u2", 12: "i4", 13: "u4", 14: "i8", 15: "u8",
}  # fmt: skip
"""Class of an array -> the type that it has in MATLAB."""
_STRUCTURE = 2
_COMPLEX, _LOGICAL = 0x0800, 0x0200
_MOST_DIMENSIONS = 8
_MOST_DEPTH = 8
_MOST_ELEMENTS = 100_000
_MOST_FIELDS = 1_000


class NotMatlabError(Exception):
    """The file is no such file, is damaged, or goes beyond the limits."""


@dataclass
class _Budget:
    """What one file may still take."""

    bytes_left: int
    elements_left: int = field(default=_MOST_ELEMENTS)

    def take(self, count: int) -> None:
        self.bytes_left -= count
        self.elements_left -= 1
        if self.bytes_left < 0:
            raise NotMatlabError("it unpacks to more than the limit")
        if self.elements_left < 0:
            raise NotMatlabError(f"it has more than {_MOST_ELEMENTS} elements")


def read_version_5(content: bytes, most_bytes: int) -> dict[str, Any]:
    """Name -> array, or for a structure of one element another such mapping; texts, cells and the rest are left out.

    Args:
        content: The whole file.
        most_bytes: Of all variables together, unpacked.

    Raises:
        NotMatlabError: With the reason.
    """
    order = _ORDERS.get(content[_HEADER_BYTES - 2 : _HEADER_BYTES])
    if len(content) < _HEADER_BYTES or order is None:
        raise NotMatlabError("it has neither version 5's header nor HDF5's signature")
    budget, found = _Budget(most_bytes), {}
    for kind, body in _elements(content[_HEADER_BYTES:], order, budget):
        matrix = body
        if kind == _COMPRESSED:
            inner = list(_elements(_unpacked(body, budget), order, budget))
            if len(inner) != 1:
                raise NotMatlabError("a compressed variable is not one variable")
            kind, matrix = inner[0]
        if kind != _MATRIX:
            raise NotMatlabError(f"it has an element of the kind {kind} where a variable should stand")
        name, value = _matrix(matrix, order, budget, 0)
        if value is not None:
            found[name] = value
    return found


def _unpacked(body: bytes, budget: _Budget) -> bytes:
    unpacker = zlib.decompressobj()
    try:
        plain = unpacker.decompress(body, budget.bytes_left + 1)
    except zlib.error as error:
        raise NotMatlabError(f"a compressed variable is damaged ({error})") from error
    budget.take(len(plain))
    if not unpacker.eof:
        raise NotMatlabError("a compressed variable is cut short")
    return plain


def _elements(content: bytes, order: str, budget: _Budget) -> Iterator[tuple[int, bytes]]:
    """Kind and data of each element; it must end within `content`, with or without its padding."""
    at = 0
    while at < len(content):
        if len(content) - at < 8:
            raise NotMatlabError("it ends in the middle of a variable")
        kind, size = struct.unpack_from(f"{order}II", content, at)
        if kind >> 16:  # a small element keeps size and kind in one word, and its data in the next four bytes
            kind, size, start, following = kind & 0xFFFF, kind >> 16, at + 4, at + 8
        else:
            start = at + 8
            following = start + (size if kind in (_COMPRESSED, _MATRIX) else math.ceil(size / 8) * 8)
        if start + size > len(content) or (following - start < size):
            raise NotMatlabError(f"a variable claims {size} bytes where {len(content) - start} are left")
        budget.take(0)
        yield kind, content[start : start + size]
        at = following


def _matrix(body: bytes, order: str, budget: _Budget, depth: int) -> tuple[str, Any]:
    """Name and value of a variable or a field; None for a class that is left out."""
    if depth > _MOST_DEPTH:
        raise NotMatlabError(f"its variables nest deeper than {_MOST_DEPTH}")
    if not body:
        return "", None
    parts = _elements(body, order, budget)
    flags = _numbers(parts, _UINT32, order)
    if len(flags) != 2:
        raise NotMatlabError("a variable's flags are not two numbers")
    kind = int(flags[0]) & 0xFF
    if kind != _STRUCTURE and kind not in _ARRAYS:
        return "", None
    shape = [int(size) for size in _numbers(parts, _INT32, order)]
    if not 2 <= len(shape) <= _MOST_DIMENSIONS or min(shape) < 0:
        raise NotMatlabError(f"a variable has the dimensions {shape[:8]}")
    name = _text(_take(parts, _INT8))
    if kind == _STRUCTURE:
        return name, _structure(parts, order, budget, depth) if math.prod(shape) == 1 else None
    if int(flags[0]) & _COMPLEX:
        return name, None
    array = _array(parts, order, shape, _ARRAYS[kind], budget)
    return name, array.astype(np.bool_) if int(flags[0]) & _LOGICAL else array


def _array(
    parts: Iterator[tuple[int, bytes]], order: str, shape: list[int], dtype: str, budget: _Budget
) -> NDArray[Any]:
    kind, data = next(parts, (0, b""))
    if kind not in _NUMBERS:
        raise NotMatlabError(f"an array's numbers are of the kind {kind}")
    stored = np.dtype(order + _NUMBERS[kind])
    if math.prod(shape) * stored.itemsize != len(data):
        raise NotMatlabError(f"an array of the shape {shape} has {len(data)} bytes")
    budget.take(math.prod(shape) * np.dtype(dtype).itemsize)
    try:
        values = np.frombuffer(data, stored).reshape(shape, order="F")
    except ValueError as error:  # no elements, and other dimensions that are too large all the same
        raise NotMatlabError(f"an array of the shape {shape} cannot be") from error
    with np.errstate(invalid="ignore", over="ignore"):
        return values.astype(dtype)


def _structure(parts: Iterator[tuple[int, bytes]], order: str, budget: _Budget, depth: int) -> dict[str, Any]:
    lengths = _numbers(parts, _INT32, order)
    names = _take(parts, _INT8)
    length = int(lengths[0]) if len(lengths) == 1 else 0
    if length <= 0 or len(names) % length or len(names) > length * _MOST_FIELDS:
        raise NotMatlabError("a structure's names of fields cannot be")
    fields = {}
    for at in range(0, len(names), length):
        value = _matrix(_take(parts, _MATRIX), order, budget, depth + 1)[1]
        if value is not None:
            fields[_text(names[at : at + length])] = value
    return fields


def _take(parts: Iterator[tuple[int, bytes]], wanted: int) -> bytes:
    kind, data = next(parts, (0, b""))
    if kind != wanted:
        raise NotMatlabError(f"a variable has an element of the kind {kind} where {wanted} should stand")
    return data


def _numbers(parts: Iterator[tuple[int, bytes]], wanted: int, order: str) -> NDArray[Any]:
    data, dtype = _take(parts, wanted), np.dtype(order + _NUMBERS[wanted])
    if len(data) % dtype.itemsize:
        raise NotMatlabError(f"{len(data)} bytes are no whole numbers")
    return np.frombuffer(data, dtype)


def _text(data: bytes) -> str:
    return data.split(b"\0", 1)[0].decode("ascii", errors="replace")
