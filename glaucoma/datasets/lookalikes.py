"""All pairs of photographs whose perceptual hashes are near, in memory that grows with the photographs alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from glaucoma.datasets.perceptual import HASH_BITS

_WORDS = HASH_BITS // 64
_BANDS = HASH_BITS // 16
MAX_DISTANCE = 2 * _BANDS - 1
"""Up to here the search is exact: of 16 bands of 16 bits one at least then differs in a single bit or in none."""
_FEW = 500
"""So many hashes are compared each with each: that takes less time than the tables of the bands."""
_BLOCK_PAIRS = 1 << 17
"""Pairs compared at once: some 20 MB."""
MANY_EQUAL = 50
"""So many photographs of one and the same hash are all compared with all. Of more (blank ones, say) each is paired with
the first, and the first alone with others: their pairs would be too many to count and would tell nothing more."""

Words = NDArray[np.uint64]
Places = NDArray[np.int64]


@dataclass(frozen=True)
class Near:
    """Pairs of photographs, each pair once, in no order.

    Attributes:
        first: int64 (k,), the lower place of each pair.
        second: int64 (k,), the higher.
        distance: int64 (k,), bits in which the two differ, the smaller of straight and mirrored.
        mirrored: bool (k,), whether one is nearer to the other's mirror image than to the other.
    """

    first: Places
    second: Places
    distance: Places
    mirrored: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.first)

    def where(self, chosen: NDArray[np.bool_] | Places) -> Near:
        """The chosen pairs: a bool for each pair, or their numbers in the order wanted."""
        return Near(self.first[chosen], self.second[chosen], self.distance[chosen], self.mirrored[chosen])

    def rows(self) -> Iterator[tuple[int, int, int, bool]]:
        """First, second, distance, mirrored of each pair."""
        columns = (self.first.tolist(), self.second.tolist(), self.distance.tolist(), self.mirrored.tolist())
        return zip(*columns, strict=True)


def together(parts: Sequence[Near]) -> Near:
    """The pairs of all `parts` in one."""
    nothing = np.zeros(0, np.int64)
    return Near(
        np.concatenate([nothing, *(part.first for part in parts)]),
        np.concatenate([nothing, *(part.second for part in parts)]),
        np.concatenate([nothing, *(part.distance for part in parts)]),
        np.concatenate([nothing > 0, *(part.mirrored for part in parts)]),
    )


def near_pairs(hashes: Sequence[str], mirrored: Sequence[str], limit: int) -> Iterator[Near]:
    """All pairs within `limit` bits of each other, one of them as it is and the other as it is or mirrored.

    Each pair is found once. Up to 1,500 photographs are compared each with each. More are looked up in tables of 16
    bits (multi-index hashing): two hashes that differ in at most 31 bits agree in one of 16 bands up to one bit, so
    only photographs that share such a band are compared. That is exact, and 100,000 photographs take seconds and not
    minutes. Nothing is kept but the pairs being given: whoever asks may keep few of many. Where more than 50
    photographs have one and the same hash, all but the first are paired with the first only.

    Args:
        hashes: 64 hexadecimal digits each, or empty: that photograph is near to none.
        mirrored: Those of the mirror images, as many; an empty one is not compared.
        limit: At most 31.

    Source: M. Norouzi, A. Punjani and D. Fleet, Fast search in Hamming space with multi-index hashing, CVPR 2012.
    """
    if not 0 <= limit <= MAX_DISTANCE:
        raise ValueError(f"limit is {limit}; the search is exact from 0 to {MAX_DISTANCE}")
    known, copies = _without_many_copies(hashes, mirrored)
    if len(copies):
        yield copies
    if len(known) < 2:
        return
    prints = _Prints([hashes[place] for place in known], [mirrored[place] for place in known])
    pairs = _each_with_each(len(known)) if len(known) <= _FEW else _sharing_a_band(prints, limit)
    for first, second in pairs:
        straight = prints.straight(first, second)
        across = np.minimum(prints.across(first, second), prints.across(second, first))
        nearest = np.minimum(straight, across)
        keep = nearest <= limit
        if keep.any():
            yield Near(known[first[keep]], known[second[keep]], nearest[keep], (across < straight)[keep])


def _without_many_copies(hashes: Sequence[str], mirrored: Sequence[str]) -> tuple[Places, Near]:
    """The places to compare, and those left out of it, each paired with the first of its hash."""
    places: dict[tuple[str, str], list[int]] = {}
    for place, one in enumerate(zip(hashes, mirrored, strict=True)):
        if one[0]:
            places.setdefault(one, []).append(place)
    many = {one: members for one, members in places.items() if len(members) > MANY_EQUAL}
    first = np.array([members[0] for members in many.values() for _ in members[1:]], np.int64)
    second = np.array([place for members in many.values() for place in members[1:]], np.int64)
    known = np.array([place for place, text in enumerate(hashes) if text], np.int64)
    nought = np.zeros(len(first), np.int64)
    return known[~np.isin(known, second)], Near(first, second, nought, nought > 0)


class _Prints:
    """Hashes and mirrored hashes as (n, 4) uint64, and the distances between their rows."""

    def __init__(self, hashes: Sequence[str], mirrored: Sequence[str]) -> None:
        self.words = _words(hashes)
        self.turned = _words([text or "0" * (HASH_BITS // 4) for text in mirrored])
        self.has_turned = np.array([bool(text) for text in mirrored])

    def straight(self, first: Places, second: Places) -> Places:
        return _distance(self.words[first], self.words[second])

    def across(self, turned: Places, second: Places) -> Places:
        """From the mirror images of `turned`; as far as can be where that hash is not there."""
        found = _distance(self.turned[turned], self.words[second])
        return np.where(self.has_turned[turned], found, HASH_BITS)


def _words(hashes: Sequence[str]) -> Words:
    """(n, 4)."""
    return np.frombuffer(bytes.fromhex("".join(hashes)), np.uint64).reshape(-1, _WORDS)


def _distance(one: Words, other: Words) -> Places:
    count = np.bitwise_count(one ^ other).astype(np.int64)
    return np.asarray(count[:, 0] + count[:, 1] + count[:, 2] + count[:, 3], np.int64)


def _each_with_each(count: int) -> Iterator[tuple[Places, Places]]:
    rows = max(1, _BLOCK_PAIRS // count)
    for start in range(0, count, rows):
        first, second = np.triu_indices(min(rows, count - start), k=1, m=count - start)
        if len(first):
            yield first + start, second + start


def _sharing_a_band(prints: _Prints, limit: int) -> Iterator[tuple[Places, Places]]:
    """The pairs within `limit`, each once. A pair may share several bands, and be found straight and from either side:
    it is given for the first of these alone, so that nothing found has to be remembered."""
    order = _mixed_bits(prints.words)
    bands, turned_bands = _bands(prints.words, order), _bands(prints.turned, order)
    for band in range(_BANDS):
        table = _Table(bands[:, band])
        for first, second in table.near(bands[:, band]):
            found = _kept((first, second), first < second)
            found = _kept(found, prints.straight(*found) <= limit)
            yield _kept(found, _first_shared_band(bands[found[0]], bands[found[1]]) == band)
        for turned, second in table.near(turned_bands[:, band]):
            found = _kept((turned, second), turned != second)
            found = _kept(found, prints.across(*found) <= limit)
            found = _kept(found, _first_shared_band(turned_bands[found[0]], bands[found[1]]) == band)
            found = _kept(found, prints.straight(*found) > limit)
            one, other = _kept(found, (found[0] < found[1]) | (prints.across(found[1], found[0]) > limit))
            yield np.minimum(one, other), np.maximum(one, other)


def _kept(pairs: tuple[Places, Places], keep: NDArray[np.bool_]) -> tuple[Places, Places]:
    return pairs[0][keep], pairs[1][keep]


def _first_shared_band(one: NDArray[np.uint16], other: NDArray[np.uint16]) -> Places:
    """Number of the first band in which two rows differ in at most one bit; the number of bands where there is none."""
    differs = one ^ other
    shared = (differs & (differs - 1)) == 0  # a power of two, or nought
    return np.where(shared.any(axis=1), shared.argmax(axis=1), _BANDS).astype(np.int64)


def _mixed_bits(straight: Words) -> Places:
    """The order in which bits are dealt to the bands: each gets bits that vary much and bits that vary little.

    Neighbouring bits of photographs of one kind are alike, and a band made of such bits would tell nobody apart.
    """
    share = np.unpackbits(straight.view(np.uint8), axis=1).mean(axis=0)
    ranked = np.argsort(np.abs(share - 0.5), kind="stable")
    return np.concatenate([ranked[band::_BANDS] for band in range(_BANDS)])


def _bands(words: Words, order: Places) -> NDArray[np.uint16]:
    """(n, 16): the bits of each row in `order`, 16 to a band."""
    bands = np.empty((len(words), _BANDS), np.uint16)
    for start in range(0, len(words), _BLOCK_PAIRS // HASH_BITS):
        bits = np.unpackbits(words[start : start + _BLOCK_PAIRS // HASH_BITS].view(np.uint8), axis=1)
        packed = np.ascontiguousarray(np.packbits(bits[:, order], axis=1))
        bands[start : start + len(bits)] = packed.view(np.uint16)
    return bands


class _Table:
    """Places by the 16-bit value that stands there."""

    def __init__(self, values: NDArray[np.uint16]) -> None:
        self._places = np.argsort(values, kind="stable")
        self._starts = np.concatenate([[0], np.cumsum(np.bincount(values, minlength=1 << 16))])

    def near(self, asked: NDArray[np.uint16]) -> Iterator[tuple[Places, Places]]:
        """Pairs (place in `asked`, place in the table) whose values differ in at most one bit, in blocks."""
        for flip in (0, *(1 << bit for bit in range(16))):
            value = asked.astype(np.int64) ^ flip
            begin, count = self._starts[value], self._starts[value + 1] - self._starts[value]
            for rows in _blocks(count):
                number = count[rows]
                first = np.repeat(np.arange(rows.start, rows.stop), number)
                within = np.arange(len(first)) - np.repeat(np.cumsum(number) - number, number)
                yield first, self._places[np.repeat(begin[rows], number) + within]


def _blocks(count: Places) -> Iterator[slice]:
    """Slices of rows whose counts add up to some `_BLOCK_PAIRS`, and to less than twice the longest row more."""
    total = np.cumsum(count)
    if not len(total) or not total[-1]:
        return
    cuts = np.searchsorted(total, np.arange(_BLOCK_PAIRS, total[-1], _BLOCK_PAIRS), side="left") + 1
    for start, stop in pairwise(np.unique([0, *cuts, len(count)]).tolist()):
        yield slice(start, stop)
