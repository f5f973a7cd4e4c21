"""The nearest photograph of another split among very many, by the tables that near pairs are found with.

Each with each takes some 13 minutes for 100,000 photographs; this takes seconds, and knows nothing of what is farther
off than a limit.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from glaucoma.datasets.lookalikes import MANY_EQUAL, Near, near_pairs

Places = NDArray[np.int64]


class Representatives:
    """One photograph of each hash and split: what is nearest to it is nearest to all that have the same.

    Attributes:
        places: int64 (k,), of the representatives, ascending.
        of_each: int64 (n,), the number of each photograph's representative; -1 without a hash.
        can_be_searched: False where one hash has so many of them that `near_pairs` would leave some out.
    """

    def __init__(
        self, hashes: Sequence[str], mirrored: Sequence[str], splits: Sequence[str], apart: frozenset[int]
    ) -> None:
        """`apart` are photographs that stand for themselves: some pairs of theirs are passed over."""
        numbers: dict[tuple[str, str, str, int], int] = {}
        self.of_each = np.full(len(hashes), -1, np.int64)
        places: list[int] = []
        for place, one in enumerate(zip(hashes, mirrored, splits, strict=True)):
            if not one[0]:
                continue
            key = (*one, place if place in apart else -1)
            if key not in numbers:
                numbers[key] = len(places)
                places.append(place)
            self.of_each[place] = numbers[key]
        self.places = np.array(places, np.int64)
        copies = Counter((hashes[place], mirrored[place]) for place in places)
        self.can_be_searched = max(copies.values(), default=0) <= MANY_EQUAL


def nearest_within(
    hashes: Sequence[str],
    mirrored: Sequence[str],
    splits: Sequence[str],
    passed_over: Sequence[tuple[int, int]],
    limit: int,
) -> tuple[Places, Places, NDArray[np.bool_]] | None:
    """For each photograph: bits (-1 where none is within `limit`), place (-1) and mirrored, of the nearest elsewhere.

    The same as `leakage.nearest_across` up to `limit`, also of several that are equally near: the first. None where
    the tables cannot serve (see `Representatives`).
    """
    chosen = Representatives(hashes, mirrored, splits, frozenset(place for pair in passed_over for place in pair))
    if not chosen.can_be_searched or not len(chosen.places):
        return None
    places = chosen.places
    _, side = np.unique(np.array([splits[place] for place in places]), return_inverse=True)
    skipped = {tuple(sorted(pair)) for pair in passed_over}
    bits, nearest = np.full(len(places), limit + 1, np.int64), np.full(len(places), -1, np.int64)
    turned = np.zeros(len(places), np.bool_)
    for found in near_pairs([hashes[place] for place in places], [mirrored[place] for place in places], limit):
        across = found.where(side[found.first] != side[found.second])
        if skipped:
            pairs = zip(places[across.first].tolist(), places[across.second].tolist(), strict=True)
            across = across.where(np.array([pair not in skipped for pair in pairs], np.bool_))
        for one, other in _both_ways(across):
            _keep_nearest(one, other, across, bits, nearest, turned)
    bits[nearest < 0] = -1
    nearest = np.where(nearest < 0, -1, places[nearest])
    known = chosen.of_each >= 0
    return tuple(  # type: ignore[return-value]
        np.where(known, values[chosen.of_each], without)
        for values, without in ((bits, -1), (nearest, -1), (turned, False))
    )


def _both_ways(found: Near) -> Iterator[tuple[Places, Places]]:
    if len(found):
        yield found.first, found.second
        yield found.second, found.first


def _keep_nearest(
    one: Places, other: Places, found: Near, bits: Places, nearest: Places, turned: NDArray[np.bool_]
) -> None:
    """Takes over what is nearer to `one` than what was known, or as near and earlier."""
    order = np.lexsort((other, found.distance))
    asked, at = np.unique(one[order], return_index=True)
    best = order[at]
    better = (found.distance[best] < bits[asked]) | (
        (found.distance[best] == bits[asked]) & (other[best] < nearest[asked])
    )
    asked, best = asked[better], best[better]
    bits[asked], nearest[asked], turned[asked] = found.distance[best], other[best], found.mirrored[best]
