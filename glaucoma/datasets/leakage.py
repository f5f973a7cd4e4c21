"""Whether anything stands on both sides of a split: patients, bytes, pixels, or photographs that merely look the same.

This reads the finished manifest and shares no code with what made the splits, so that one mistake cannot hide in both;
only in datasets of very many photographs it finds look-alikes by the same tables. Each fact is a column beside the
image that it concerns.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from glaucoma.datasets.leakage_index import nearest_within
from glaucoma.datasets.lookalikes import MAX_DISTANCE
from glaucoma.schema import Column

_BITS = 256
_NO_HASH = "0" * (_BITS // 4)
_BLOCK_CELLS = 2**20
"""Cells of one block of the distance table: some 12 MB as float32, with what is worked out beside it."""
_MANY = 20_000
"""So many photographs are compared each with each, in half a minute; of more, near ones alone are looked for."""


class Leak(StrEnum):
    """A column of `checks.csv` about images elsewhere in the dataset."""

    PATIENT_SPLITS = "patient_splits"
    """Number of splits that hold this image's patient."""
    GROUP_SPLITS = "group_splits"
    BYTES_SPLITS = "bytes_splits"
    """Number of splits that hold a file of the same bytes."""
    PIXELS_SPLITS = "pixels_splits"
    LOOKALIKE_BITS = "lookalike_bits"
    """Smallest distance of the perceptual hash to an image of another split, straight or mirrored, 0 to 256; empty
    where there is no hash, and beyond the bits asked for among more than 20,000 images. Pairs that a person found to
    differ are passed over."""
    LOOKALIKE_ID = "lookalike_id"
    """That image's id."""
    LOOKALIKE_MIRRORED = "lookalike_mirrored"
    """Whether it is nearer to the mirror image."""
    LABELS_OF_PIXELS = "labels_of_pixels"
    """Number of different labels that images of the same pixels carry."""


def leakage_columns(
    manifest: pd.DataFrame,
    *,
    judged_different: Collection[tuple[str, str]] = frozenset(),
    within_bits: int | None = None,
) -> pd.DataFrame:
    """One row per manifest row, in its order, with the columns of `Leak`.

    Args:
        judged_different: Pairs of image_ids that a person found to show two eyes: they may look alike.
        within_bits: Of more than 20,000 images, look-alikes farther off need not be found; None: all must.
    """
    split = manifest[Column.SPLIT]
    columns: dict[str, object] = {
        Leak.PATIENT_SPLITS: _number_of(manifest[Column.PATIENT_ID], split),
        Leak.GROUP_SPLITS: _number_of(manifest[Column.GROUP], split),
        Leak.BYTES_SPLITS: _number_of(manifest[Column.SHA256], split),
        Leak.PIXELS_SPLITS: _number_of(manifest[Column.PIXEL_SHA256], split),
        Leak.LABELS_OF_PIXELS: _number_of(manifest[Column.PIXEL_SHA256], manifest[Column.LABEL]),
    }
    ids = list(manifest[Column.IMAGE_ID])
    place = {image_id: number for number, image_id in enumerate(ids)}
    nearest = nearest_across(
        list(manifest[Column.PERCEPTUAL_HASH]),
        list(split),
        mirrored=list(manifest[Column.MIRRORED_HASH]) if Column.MIRRORED_HASH in manifest else None,
        passed_over=[(place[one], place[two]) for one, two in judged_different if one in place and two in place],
        within_bits=within_bits,
    )
    columns[Leak.LOOKALIKE_BITS] = nearest.bits
    columns[Leak.LOOKALIKE_ID] = [ids[other] if other >= 0 else "" for other in nearest.place]
    columns[Leak.LOOKALIKE_MIRRORED] = nearest.mirrored
    return pd.DataFrame({str(name): values for name, values in columns.items()}, index=manifest.index)


def _number_of(key: pd.Series, value: pd.Series) -> pd.Series:
    """How many different `value`s the rows sharing a row's `key` have; 1 where the key is empty: nothing is known."""
    counts = value.groupby(key).nunique()
    return key.map(counts).where(key != "", 1).astype("int64")


@dataclass(frozen=True)
class Nearest:
    """For each image the most similar one of another split.

    Attributes:
        bits: float64, NaN where the image or every image of the other splits has no hash.
        place: int64, -1 there.
        mirrored: bool, whether one is nearer to the other's mirror image.
    """

    bits: NDArray[np.float64]
    place: NDArray[np.int64]
    mirrored: NDArray[np.bool_]


def nearest_across(
    hashes: Sequence[str],
    splits: Sequence[str],
    *,
    mirrored: Sequence[str] | None = None,
    passed_over: Sequence[tuple[int, int]] = (),
    within_bits: int | None = None,
    many: int = _MANY,
) -> Nearest:
    """For each image the image of another split that looks most like it or like its mirror image.

    Distances come from a matrix product of the bits as +1 and -1, in blocks: memory grows with the images alone.

    Args:
        hashes: 64 hexadecimal digits each, or empty.
        mirrored: Those of the mirror images, as many; None or an empty one: not compared.
        passed_over: Pairs of places that are not compared.
        within_bits: Of more than `many` images only those within so many bits are looked for, if that is at most 31:
            each with each takes time that grows with the square of their number.
    """
    total = len(hashes)
    if total > many and within_bits is not None and within_bits <= MAX_DISTANCE:
        near = nearest_within(hashes, mirrored or [""] * total, splits, passed_over, within_bits)
        if near is not None:
            return Nearest(np.where(near[0] < 0, np.nan, near[0]), near[1], near[2])
    found = Nearest(np.full(total, np.nan), np.full(total, -1, np.int64), np.zeros(total, np.bool_))
    known = np.array([place for place, text in enumerate(hashes) if text], np.int64)
    if known.size == 0:
        return found
    signs = _signs([hashes[place] for place in known])
    turned = _signs([(mirrored[place] if mirrored else "") or _NO_HASH for place in known])
    has_turned = np.array([bool(mirrored and mirrored[place]) for place in known])
    _, side = np.unique(np.array([splits[place] for place in known]), return_inverse=True)
    among = {int(place): number for number, place in enumerate(known)}
    pairs = [pair for one, two in passed_over for pair in ((one, two), (two, one))]
    skipped = [(among[one], among[two]) for one, two in pairs if one in among and two in among]
    rows = max(1, _BLOCK_CELLS // known.size)
    for start in range(0, known.size, rows):
        block = slice(start, min(start + rows, known.size))
        straight = _bits_between(signs[block], signs)
        across = np.minimum(
            np.where(has_turned[block, None], _bits_between(turned[block], signs), np.inf),
            np.where(has_turned[None, :], _bits_between(signs[block], turned), np.inf),
        )
        distance = np.minimum(straight, across)
        distance[side[block, None] == side[None, :]] = np.inf
        for one, other in skipped:
            if block.start <= one < block.stop:
                distance[one - start, other] = np.inf
        best = distance.argmin(axis=1)
        at = np.arange(len(best))
        there = np.isfinite(distance[at, best])
        found.bits[known[block][there]] = distance[at, best][there]
        found.place[known[block][there]] = known[best[there]]
        found.mirrored[known[block][there]] = (across[at, best] < straight[at, best])[there]
    return found


def _signs(hashes: Sequence[str]) -> NDArray[np.float32]:
    """(n, 256) of +1 and -1."""
    packed = np.frombuffer(bytes.fromhex("".join(hashes)), np.uint8)
    return np.unpackbits(packed.reshape(len(hashes), -1), axis=1).astype(np.float32) * 2 - 1


def _bits_between(one: NDArray[np.float32], other: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray((_BITS - one @ other.T) / 2, np.float32)
