"""Whether anything stands on both sides of a split: patients, bytes, pixels, or photographs that merely look the same.

This reads the finished manifest and shares no code with what made the splits, so that one mistake cannot hide in both.
Each fact is a column beside the image that it concerns.
"""

from __future__ import annotations

from enum import StrEnum

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from glaucoma.schema import Column

_BITS = 256
_BLOCK_CELLS = 2**25
"""Cells of one block of the distance table: 128 MB as float32."""


class Leak(StrEnum):
    """A column of `checks.csv` about images elsewhere in the dataset."""

    PATIENT_SPLITS = "patient_splits"
    """Number of splits that hold this image's patient."""
    GROUP_SPLITS = "group_splits"
    BYTES_SPLITS = "bytes_splits"
    """Number of splits that hold a file of the same bytes."""
    PIXELS_SPLITS = "pixels_splits"
    LOOKALIKE_BITS = "lookalike_bits"
    """Smallest distance of the perceptual hash to an image of another split, 0 to 256; empty where there is no hash."""
    LOOKALIKE_ID = "lookalike_id"
    """That image's id."""
    LABELS_OF_PIXELS = "labels_of_pixels"
    """Number of different labels that images of the same pixels carry."""


def leakage_columns(manifest: pd.DataFrame) -> pd.DataFrame:
    """One row per manifest row, in its order, with the columns of `Leak`."""
    split = manifest[Column.SPLIT]
    columns: dict[str, object] = {
        Leak.PATIENT_SPLITS: _number_of(manifest[Column.PATIENT_ID], split),
        Leak.GROUP_SPLITS: _number_of(manifest[Column.GROUP], split),
        Leak.BYTES_SPLITS: _number_of(manifest[Column.SHA256], split),
        Leak.PIXELS_SPLITS: _number_of(manifest[Column.PIXEL_SHA256], split),
        Leak.LABELS_OF_PIXELS: _number_of(manifest[Column.PIXEL_SHA256], manifest[Column.LABEL]),
    }
    bits, nearest = nearest_across(list(manifest[Column.PERCEPTUAL_HASH]), list(split))
    ids = list(manifest[Column.IMAGE_ID])
    columns[Leak.LOOKALIKE_BITS] = bits
    columns[Leak.LOOKALIKE_ID] = [ids[other] if other >= 0 else "" for other in nearest]
    return pd.DataFrame({str(name): values for name, values in columns.items()}, index=manifest.index)


def _number_of(key: pd.Series, value: pd.Series) -> pd.Series:
    """How many different `value`s the rows sharing a row's `key` have; 1 where the key is empty: nothing is known."""
    counts = value.groupby(key).nunique()
    return key.map(counts).where(key != "", 1).astype("int64")


def nearest_across(hashes: list[str], splits: list[str]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """For each image the bits to the most similar image of another split, and its position.

    Distances come from a matrix product of the bits as +1 and -1, in blocks: about 128 MB at a time.

    Args:
        hashes: 64 hexadecimal digits each, or empty.

    Returns:
        Bits as float64, NaN where the image or every image of the other splits has no hash; positions, -1 there.
    """
    total = len(hashes)
    bits = np.full(total, np.nan)
    nearest = np.full(total, -1, dtype=np.int64)
    known = np.array([position for position, text in enumerate(hashes) if text], dtype=np.int64)
    if known.size == 0:
        return bits, nearest
    packed = np.frombuffer(bytes.fromhex("".join(hashes[position] for position in known)), np.uint8)
    signs = np.unpackbits(packed.reshape(known.size, -1), axis=1).astype(np.float32) * 2 - 1
    _, side = np.unique(np.array([splits[position] for position in known]), return_inverse=True)
    rows = max(1, _BLOCK_CELLS // known.size)
    for start in range(0, known.size, rows):
        block = slice(start, start + rows)
        distance = (_BITS - signs[block] @ signs.T) / 2
        distance[side[block, None] == side[None, :]] = np.inf
        best = distance.argmin(axis=1)
        smallest = distance[np.arange(len(best)), best]
        found = np.isfinite(smallest)
        bits[known[block][found]] = smallest[found]
        nearest[known[block][found]] = known[best[found]]
    return bits, nearest
