"""Two groups of photographs against what chance alone would make of them, at their actual sizes.

The two groups are shuffled into each other many times, whole units at a time: photographs of one patient are alike, so
shuffling them one by one would make chance look smaller than it is. What the real division shows is then held against
what the shuffled ones show. Nothing is assumed about how the numbers are distributed.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

_BLOCK_CELLS = 2**19
"""Shuffles times values that are worked on at once: bounds the memory to some 15 MB."""
_NO_SPREAD = 1e-6
"""Of values with standard deviation 1: below it is the rounding of sums."""


@dataclass(frozen=True)
class Contrast:
    """How far two groups lie apart in one quantity, and what shuffling made of it.

    Attributes:
        distance_sd: Wasserstein's distance, the area between the two distribution functions, in standard deviations
            within the groups; of all values where neither group varies, so that two constants lie apart.
        ks: Kolmogorov-Smirnov's D, the largest gap between the functions, 0 to 1.
        auc: Chance that a value of the first group is the larger one, ties counted half.
        null_distance_sd: The same of each shuffle, (permutations,); likewise the others.
    """

    distance_sd: float
    ks: float
    auc: float
    null_distance_sd: Floats
    null_ks: Floats
    null_auc: Floats

    @property
    def ks_p(self) -> float:
        return share_as_large(self.ks, self.null_ks)

    @property
    def auc_p(self) -> float:
        """Two-sided."""
        return share_as_large(abs(self.auc - 0.5), np.abs(self.null_auc - 0.5))


def share_as_large(seen: float, null: Floats) -> float:
    """The p-value (1 + shuffles at least as large) / (1 + shuffles): never 0, and exact for any number of shuffles."""
    return float((1 + np.count_nonzero(null >= seen - 1e-12)) / (1 + null.size))


def unit_codes(groups: Sequence[Hashable], first: Bools) -> NDArray[np.int64]:
    """A number for each unit: the members of one group on one side."""
    codes: dict[tuple[Hashable, bool], int] = {}
    pairs = zip(groups, first.tolist(), strict=True)
    return np.array([codes.setdefault(pair, len(codes)) for pair in pairs], dtype=np.int64)


class Shuffles:
    """The shuffled divisions of n photographs into two groups, the same for every quantity that is looked at.

    Args:
        first: (n,), True for the photographs of the first group.
        units: (n,) whole numbers from 0; photographs of one unit stay together and are all on one side.
        permutations: How many divisions.
        seed: The same gives the same divisions.
    """

    def __init__(self, first: Bools, units: NDArray[np.int64], *, permutations: int, seed: int) -> None:
        self.first = first
        self._units = units
        side = np.zeros(int(units.max(initial=-1)) + 1, dtype=np.uint8)
        side[units] = first
        shuffled = np.broadcast_to(side, (permutations, side.size))
        self._sides = np.random.default_rng(seed).permuted(shuffled, axis=1)

    def numbers(self, values: Floats) -> Contrast:
        """Compares `values`, (n,); where one is NaN its photograph is left out. Both groups must have some.

        A shuffle that leaves one group without a value counts as showing the largest difference there can be. Where all
        values are equal nothing lies apart.
        """
        known = np.isfinite(values)
        order = np.argsort(values[known], kind="stable")
        scale = float(values[known].std()) or 1.0
        ordered = (values[known][order] - values[known].mean()) / scale
        places = np.flatnonzero(known)[order]
        ranks = _middle_ranks(values[known][order])
        own = _apart(self.first[places].astype(np.uint8)[None], ordered, ranks)
        null = [_apart(members, ordered, ranks) for members in self._blocks(places)]
        distance, ks, auc = (np.concatenate(one) for one in zip(*null, strict=True))
        return Contrast(float(own[0][0]), float(own[1][0]), float(own[2][0]), distance, ks, auc)

    def words(self, words: Sequence[str]) -> tuple[Floats, Floats]:
        """Counts of each word in the first and in the second group.

        Returns:
            Two arrays (1 + permutations, k): row 0 is the true division, columns are the words in alphabetical order.
        """
        _, codes = np.unique(np.asarray(words, dtype=str), return_inverse=True)
        table = np.eye(int(codes.max()) + 1)[codes]
        own = self.first[None].astype(np.float64) @ table
        null = [members.astype(np.float64) @ table for members in self._blocks(np.arange(len(words)))]
        first = np.concatenate([own, *null])
        return first, table.sum(axis=0) - first

    def _blocks(self, places: NDArray[np.int64]) -> Iterator[NDArray[np.uint8]]:
        """(some permutations, n): 1 where the photograph at that place is a member of the first group."""
        units = self._units[places]
        rows = max(1, _BLOCK_CELLS // max(1, places.size))
        for start in range(0, len(self._sides), rows):
            yield self._sides[start : start + rows, units]


def _apart(members: NDArray[np.uint8], ordered: Floats, ranks: Floats) -> tuple[Floats, Floats, Floats]:
    """Distance in standard deviations, KS's D and AUC for each row of `members`, (b, n).

    Args:
        ordered: The values, (n,), sorted, with mean 0 and standard deviation 1 (0 where all are equal).
        ranks: Their ranks.
    """
    total = members.shape[1]
    counted = np.cumsum(members, axis=1, dtype=np.int32)
    size = counted[:, -1].astype(np.float64)
    rest = total - size
    gaps = np.diff(ordered)
    sums = members @ np.stack([ranks, ordered, np.square(ordered)], axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        gap = counted / size[:, None] - (np.arange(1, total + 1) - counted) / rest[:, None]
        auc = (sums[:, 0] - size * (size + 1) / 2) / (size * rest)
        variance = [
            square / number - np.square(one / number)
            for one, square, number in (
                (sums[:, 1], sums[:, 2], size),
                (ordered.sum() - sums[:, 1], np.square(ordered).sum() - sums[:, 2], rest),
            )
        ]
        within = np.sqrt(np.maximum(variance[0] + variance[1], 0.0) / 2)
    np.abs(gap, out=gap)
    distance = (gap[:, :-1] @ gaps) / np.where(within > _NO_SPREAD, within, 1.0)
    # Between equal values the functions have not yet risen to their level.
    ks = np.where(np.append(gaps > 0, True), gap, 0.0).max(axis=1)
    empty = (size == 0) | (rest == 0)
    return np.where(empty, np.inf, distance), np.where(empty, 1.0, ks), np.where(empty, 1.0, auc)


def _middle_ranks(ordered: Floats) -> Floats:
    """Ranks from 1 of sorted values, equal ones sharing the mean of theirs."""
    _, where, counts = np.unique(ordered, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return np.asarray((ends - (counts - 1) / 2)[where], dtype=np.float64)


def permutations_needed(tests: int, significance: float) -> int:
    """The fewest shuffles by which one of `tests` can be significant after Holm's correction: (0 + 1) / (n + 1)."""
    return math.ceil(tests / significance) - 1


def holm(p_values: Floats) -> Floats:
    """Holm's step-down correction: p-values (k,) that hold together, in the given order."""
    order = np.argsort(p_values, kind="stable")
    factors = np.arange(len(p_values), 0, -1)
    stepped = np.minimum(np.maximum.accumulate(p_values[order] * factors), 1.0) if len(p_values) else p_values
    corrected = np.empty_like(p_values, dtype=np.float64)
    corrected[order] = stepped
    return corrected
