"""Which photographs are one: same patient, same bytes, same pixels, or alike to the eye. A split may not cut them."""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from glaucoma.datasets.imagefile import UnreadableImageError, read_photograph

HASH_BITS = 256
DUPLICATE_DISTANCE = 16
"""Perceptual hashes of 256 bits that differ in at most so many are taken for one photograph; 64-bit hashes gave 1,022
false pairs among 770 photographs."""

_HASH_SIZE = 16
_HASH_INPUT_PX = 256
_BORDER_GREY = 12
_BRIGHT_SHARE = 0.01
"""A row or column with fewer pixels brighter than that belongs to the black around the field of view."""
_BLOCK_CELLS = 1 << 22
"""Pairs compared at once: bounds the memory to some 200 MB, whatever the number of photographs."""


@dataclass(frozen=True)
class Fingerprint:
    """What tells a photograph from others.

    Args:
        sha256: Of the bytes.
        pixel_sha256: Of the decoded RGB pixels and their shape.
        perceptual_hash: 256 bits as 64 hexadecimal digits, of the field of view.
        mirrored_hash: The same of the mirror image.
    """

    width: int
    height: int
    sha256: str
    pixel_sha256: str
    perceptual_hash: str
    mirrored_hash: str


def fingerprint(path: Path) -> Fingerprint:
    """Decodes the photograph at `path` once and takes its fingerprint.

    Raises:
        UnreadableImageError: No image, or a JPEG or PNG file that was cut short (which decoders fill up with grey).
    """
    found = read_photograph(path)
    if problem := _cut_short(path):
        raise UnreadableImageError(f"{path.name} {problem}")
    pixels = found.pixels
    height, width = pixels.shape[:2]
    hasher = hashlib.sha256(repr(pixels.shape).encode())
    hasher.update(np.ascontiguousarray(pixels).data)
    small = _field_small(pixels)
    return Fingerprint(
        width, height, found.sha256, hasher.hexdigest(), perceptual_hash(small), perceptual_hash(small[:, ::-1])
    )


def perceptual_hash(grey: NDArray[np.uint8]) -> str:
    """The 256-bit DCT hash of an (H, W) uint8 picture, as 64 hexadecimal digits."""
    import imagehash
    from PIL import Image

    return str(imagehash.phash(Image.fromarray(np.ascontiguousarray(grey)), hash_size=_HASH_SIZE))


def _field_small(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The photograph in grey, without the black around the field of view, at 256 x 256 pixels: crops look alike."""
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    bright = grey > _BORDER_GREY
    rows = np.flatnonzero(bright.mean(axis=1) > _BRIGHT_SHARE)
    columns = np.flatnonzero(bright.mean(axis=0) > _BRIGHT_SHARE)
    if rows.size and columns.size:
        grey = grey[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return np.asarray(cv2.resize(grey, (_HASH_INPUT_PX, _HASH_INPUT_PX), interpolation=cv2.INTER_AREA), np.uint8)


def _cut_short(path: Path) -> str:
    """Says so where a JPEG file lacks the end of its last scan, or a PNG file its end chunk."""
    content = path.read_bytes()
    if content.startswith(b"\xff\xd8") and content.rfind(b"\xff\xd9") < content.rfind(b"\xff\xda"):
        return f"was cut short: the JPEG file of {len(content)} bytes has no end marker"
    if content.startswith(b"\x89PNG") and content.rfind(b"IEND") < 0:
        return f"was cut short: the PNG file of {len(content)} bytes has no end chunk"
    return ""


def near_duplicates(
    first: Sequence[str], second: Sequence[str] | None = None, *, limit: int = DUPLICATE_DISTANCE
) -> Iterator[tuple[int, int, int]]:
    """Pairs (i, j, distance) with i < j of which `first[i]` and `second[j]` differ in at most `limit` bits.

    Compares every pair, block by block: n^2 / 2 comparisons of 32 bytes, some 0.2 s for 5,000 photographs, in bounded
    memory.

    Args:
        first: Perceptual hashes, 64 hexadecimal digits each.
        second: Those to compare with, as many; `first` itself unless given (mirror images).
    """
    one = _words(first)
    other = one if second is None else _words(second)
    count = len(one)
    step = max(1, _BLOCK_CELLS // max(1, count))
    for start in range(0, count, step):
        rows = one[start : start + step]
        distance = np.zeros((len(rows), count - start), dtype=np.uint16)
        for word in range(rows.shape[1]):
            distance += np.bitwise_count(rows[:, word, None] ^ other[None, start:, word])
        for i, j in np.argwhere(distance <= limit):
            if i < j:
                yield start + int(i), start + int(j), int(distance[i, j])


def _words(hashes: Sequence[str]) -> NDArray[np.uint64]:
    """(n, 4) uint64."""
    raw = bytes.fromhex("".join(hashes))
    return np.frombuffer(raw, dtype=np.uint8).reshape(-1, HASH_BITS // 8).view(np.uint64)


@dataclass(frozen=True)
class Grouping:
    """Who belongs together.

    Args:
        groups: A name for each photograph's group: the first of its members' ids, so it stays while the members do.
        by_patient: Patients with more than one photograph.
        by_content: Pairs of photographs, not already of one patient, that are the same or look the same.
    """

    groups: tuple[str, ...]
    by_patient: int
    by_content: int

    def described(self, *, named_by_files: bool) -> str:
        """How photographs were grouped, in a line for people."""
        ways = []
        if self.by_patient:
            ways.append("patient (from file names)" if named_by_files else "patient")
        if self.by_content:
            ways.append("content")
        if ways:
            return " and ".join(ways)
        return "none: the source names no patients and no two photographs are alike, so each stands for itself"


def group(image_ids: Sequence[str], patient_ids: Sequence[str], fingerprints: Sequence[Fingerprint]) -> Grouping:
    """Joins photographs by patient, bytes, pixels, and perceptual hash (also of the mirror image), transitively.

    One patient id at two sites is taken for one patient: the split gets coarser by it, and never leaks.
    """
    sets = _DisjointSets(len(image_ids))
    by_patient = sum(len(members) > 1 for members in _equal(patient_ids))
    for members in _equal(patient_ids):
        sets.join_all(members)
    by_content = 0
    for values in ([f.sha256 for f in fingerprints], [f.pixel_sha256 for f in fingerprints]):
        for members in _equal(values):
            by_content += sets.join_all(members)
    hashes = [f.perceptual_hash for f in fingerprints]
    for others in (None, [f.mirrored_hash for f in fingerprints]):
        for i, j, _ in near_duplicates(hashes, others):
            by_content += sets.join_all([i, j])
    return Grouping(tuple(sets.names(image_ids)), by_patient, by_content)


def _equal(values: Sequence[str]) -> list[list[int]]:
    """Places of each value that is not empty."""
    places: dict[Hashable, list[int]] = {}
    for place, value in enumerate(values):
        if value:
            places.setdefault(value, []).append(place)
    return list(places.values())


class _DisjointSets:
    """Union-find with path halving."""

    def __init__(self, count: int) -> None:
        self._parent = list(range(count))

    def root(self, item: int) -> int:
        parent = self._parent
        while parent[item] != item:
            parent[item] = parent[parent[item]]
            item = parent[item]
        return item

    def join_all(self, items: Sequence[int]) -> int:
        """Puts all `items` into one set; how many joins that took."""
        joins = 0
        for item in items[1:]:
            first, second = self.root(items[0]), self.root(item)
            if first != second:
                self._parent[max(first, second)] = min(first, second)
                joins += 1
        return joins

    def names(self, ids: Sequence[str]) -> Iterable[str]:
        """For each item the alphabetically first id of its set."""
        first: dict[int, str] = {}
        for item, name in enumerate(ids):
            root = self.root(item)
            first[root] = min(first.get(root, name), name)
        return [first[self.root(item)] for item in range(len(ids))]
