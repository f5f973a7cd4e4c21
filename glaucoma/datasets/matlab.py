"""MATLAB files: arrays and structures by name, from version 5 to 7.3, read with bounds and without following links."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glaucoma.datasets.masks import CanonicalMask, canonical, from_parts
from glaucoma.datasets.matlab_v5 import NotMatlabError, read_version_5
from glaucoma.errors import DatasetError

Array = NDArray[Any]
Content = Mapping[str, "Array | Content"]
"""Variables by name; a structure is again such a mapping."""

_EXPECTED = "a MATLAB file (version 5 to 7.3) of numeric arrays and structures of them"
_MOST_BYTES = 1 << 29
"""Of one file, unpacked: a mask of 100 megapixels in double precision has 800 MB, and none is so large."""
_MOST_DEPTH = 8
_LONGEST_SIDE_PX = 100_000
_HDF5 = b"\x89HDF\r\n\x1a\n"
_HDF5_AT = (0, 512, 1024, 2048)
_NUMERIC = frozenset("biuf")
_DISC_WORDS = ("disc", "disk", "opticdisc", "od")
_CUP_WORDS = ("cup", "opticcup", "oc")


def read_matlab(path: Path) -> dict[str, Any]:
    """The numeric arrays and the structures in a MATLAB file, by name; texts, cells and functions are left out.

    Arrays keep MATLAB's dimensions: `a(row, column)` is `a[row, column]`, also from version 7.3, which stores them the
    other way round. A structure is a mapping again.

    Raises:
        DatasetError: No MATLAB file, a damaged one, one that unpacks to more than 512 MB or nests deeper than 8, or one
            whose data lie in another file.
    """
    try:
        size = path.stat().st_size
        if size > _MOST_BYTES:
            raise _refused(path, f"it has {size} bytes")
        content = path.read_bytes()
    except OSError as error:
        raise _refused(path, error.strerror or str(error)) from error
    if any(content[start : start + len(_HDF5)] == _HDF5 for start in _HDF5_AT):
        return _version_7_3(path)
    return _version_5(path, content)


def read_mask(path: Path, variable: str = "mask") -> CanonicalMask:
    """The mask in a MATLAB file.

    It is the array called `variable` (in any letter case), else two arrays named for the disc and the cup, at the top
    or in a structure, else the only two-dimensional array of the file.

    Raises:
        DatasetError: No MATLAB file, or none of these is in it, or its values cannot be understood.
    """
    content = read_matlab(path)
    flat = dict(_flat(content))
    named = {name: array for name, array in flat.items() if name.rsplit(".", 1)[-1].casefold() == variable.casefold()}
    if len(named) == 1:
        return canonical(_grey(path, *named.values()), path.name)
    disc, cup = _named_for(flat, _DISC_WORDS), _named_for(flat, _CUP_WORDS)
    if disc is not None:
        return from_parts(_grey(path, disc) > 0, None if cup is None else _grey(path, cup) > 0)
    if len(flat) == 1:
        return canonical(_grey(path, *flat.values()), path.name)
    raise DatasetError(
        f"The MATLAB file {path.name} holds {', '.join(sorted(flat)[:8]) or 'no two-dimensional array'}",
        expected=f"one array called {variable}, or one for the disc and one for the cup",
    )


def _flat(content: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Array]]:
    """Every two-dimensional array that could be a picture, structures' fields under `structure.field`."""
    for name, value in content.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        elif value.ndim == 2 and min(value.shape) > 1:
            yield prefix + name, value


def _named_for(flat: Mapping[str, Array], words: tuple[str, ...]) -> Array | None:
    found = [
        array
        for name, array in flat.items()
        if "".join(letter for letter in name.rsplit(".", 1)[-1].casefold() if letter.isalpha()).removesuffix("mask")
        in words
    ]
    return found[0] if len(found) == 1 else None


def _grey(path: Path, array: Array) -> NDArray[np.uint8]:
    if max(array.shape) > _LONGEST_SIDE_PX:
        raise _refused(path, f"its array has the shape {array.shape}")
    if array.dtype.kind == "f" and not np.array_equal(array, np.rint(array)):
        raise DatasetError(f"The mask in {path.name} has broken values", expected="whole numbers")
    if array.size and (array.min() < 0 or array.max() > 255):
        raise DatasetError(
            f"The mask in {path.name} has values from {array.min()} to {array.max()}", expected="0 to 255"
        )
    return np.ascontiguousarray(array.astype(np.uint8))


def _version_5(path: Path, content: bytes) -> dict[str, Any]:
    try:
        return read_version_5(content, _MOST_BYTES)
    except NotMatlabError as error:
        raise _refused(path, str(error)) from error


def _version_7_3(path: Path) -> dict[str, Any]:
    import h5py

    try:
        with h5py.File(path, "r", locking=False) as file:
            return _group(path, file, 0, [0])
    except DatasetError:
        raise
    except Exception as error:  # h5py passes on whatever HDF5 met; none of it may pass on from here
        raise _refused(path, f"{type(error).__name__}: {str(error)[:120]}") from error


def _group(path: Path, group: Any, depth: int, total: list[int]) -> dict[str, Any]:
    import h5py

    if depth > _MOST_DEPTH:
        raise _refused(path, f"its variables nest deeper than {_MOST_DEPTH}")
    found: dict[str, Any] = {}
    for name in group:
        if not isinstance(group.get(name, getlink=True), h5py.HardLink):
            raise _refused(path, f"{name} is a link to somewhere else")
        if name.startswith("#"):
            continue  # MATLAB keeps there what cells refer to
        item = group[name]
        if isinstance(item, h5py.Group):
            found[name] = _group(path, item, depth + 1, total)
        elif isinstance(item, h5py.Dataset) and item.dtype.kind in _NUMERIC:
            if item.attrs.get("MATLAB_class", b"") in (b"char", "char"):
                continue
            found[name] = _dataset(path, item, total)
    return found


def _dataset(path: Path, item: Any, total: list[int]) -> Array:
    if item.external or item.is_virtual:
        raise _refused(path, f"the data of {item.name} lie in another file")
    total[0] += int(item.size) * item.dtype.itemsize
    if total[0] > _MOST_BYTES:
        raise _refused(path, f"it unpacks to more than {_MOST_BYTES} bytes")
    return np.asarray(item[()]).T


def _refused(path: Path, reason: str) -> DatasetError:
    return DatasetError(f"The MATLAB file {path.name} cannot be read: {reason}", expected=_EXPECTED)
