"""Finding photographs that look alike among thousands of hashes, against comparing each with each."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from benchmarks.harness import Candidate, Comparison, Skipped
from benchmarks.place import Place
from glaucoma.datasets.lookalikes import near_pairs
from glaucoma.datasets.perceptual import HASH_BITS, REVIEW_DISTANCE

_PHOTOGRAPHS = 5000
_COPIES = 200
_ROWS = 256


def hashes_of(count: int, seed: int) -> tuple[list[str], list[str]]:
    """Hashes and mirrored hashes, some of them near copies.

    Bits are as unevenly likely as those of 189 real photographs, two of which differ in 123 bits on average.
    """
    rng = np.random.default_rng(seed)
    likely = rng.beta(13, 13, HASH_BITS)
    bits = rng.random((2, count, HASH_BITS), dtype=np.float32) < likely
    for copy in range(min(_COPIES, count // 2)):
        bits[0, -1 - copy] = bits[0, copy]
        bits[0, -1 - copy, rng.choice(HASH_BITS, rng.integers(0, REVIEW_DISTANCE + 1), replace=False)] ^= True
    straight, mirrored = ([row.tobytes().hex() for row in np.packbits(one, axis=1)] for one in bits)
    return straight, mirrored


def _words(hashes: list[str]) -> NDArray[np.uint64]:
    return np.frombuffer(bytes.fromhex("".join(hashes)), np.uint64).reshape(len(hashes), -1)


def _each_with_each(straight: NDArray[np.uint64], mirrored: NDArray[np.uint64]) -> int:
    """Pairs found by exclusive or and counting bits, a block of rows against all that follow."""
    found = 0
    for start in range(0, len(straight), _ROWS):
        stop = min(start + _ROWS, len(straight))
        sides = ((straight, straight), (straight, mirrored), (mirrored, straight))
        nearest = np.full((stop - start, len(straight) - start), HASH_BITS, np.uint16)
        for one, other in sides:
            distance = np.zeros_like(nearest)
            for word in range(one.shape[1]):
                distance += np.bitwise_count(one[start:stop, word, None] ^ other[None, start:, word])
            np.minimum(nearest, distance, out=nearest)
        found += int(np.triu(nearest <= REVIEW_DISTANCE, k=1).sum())
    return found


def benchmark(place: Place) -> Iterator[Comparison | Skipped]:
    """The search of the leakage ladder, straight and mirrored, at the distance that a person is asked about."""
    straight, mirrored = hashes_of(_PHOTOGRAPHS, place.seed)
    one, other = _words(straight), _words(mirrored)
    expected = _each_with_each(one, other)

    def ours() -> None:
        assert sum(map(len, near_pairs(straight, mirrored, REVIEW_DISTANCE))) == expected

    def all_pairs() -> None:
        _each_with_each(one, other)

    yield Comparison(
        "look-alikes",
        Candidate("near pairs by bands", ours),
        (Candidate("numpy, each with each", all_pairs),),
        f"{_PHOTOGRAPHS} hashes, {expected} near pairs",
        rounds=5,
    )
