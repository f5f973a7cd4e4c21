"""The nearest of many pairs of photographs, few of them kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from glaucoma.datasets.lookalikes import Near, together

MOST_PAIRS = 5000


@dataclass(frozen=True)
class NearPair:
    """Two photographs, by image_id in alphabetical order, that look alike.

    Args:
        distance: Bits in which their perceptual hashes differ.
        mirrored: Whether one is like the other's mirror image.
    """

    first: str
    second: str
    distance: int
    mirrored: bool


class Nearest:
    """Takes in pairs and keeps the 5,000 nearest, whatever their number and order.

    Attributes:
        total: Pairs taken in.
    """

    def __init__(self, image_ids: Sequence[str], most: int = MOST_PAIRS) -> None:
        self.total = 0
        self._most = most
        self._ids = image_ids
        self._rank = np.empty(len(image_ids), np.int64)
        self._rank[np.argsort(np.array(image_ids), kind="stable")] = np.arange(len(image_ids))
        self._kept: list[Near] = []
        self._waiting = 0

    def add(self, found: Near) -> None:
        """Takes `found` in; whether any of it is kept depends on how near the others are."""
        self.total += len(found)
        self._waiting += len(found)
        self._kept.append(found)
        if self._waiting > 4 * self._most:
            self._kept = [self._nearest()]
            self._waiting = len(self._kept[0])

    def pairs(self) -> tuple[NearPair, ...]:
        """Nearest first, then by image_id."""
        found = []
        for i, j, distance, turned in self._nearest().rows():
            first, second = sorted((self._ids[i], self._ids[j]))
            found.append(NearPair(first, second, distance, turned))
        return tuple(found)

    def _nearest(self) -> Near:
        all_of_them = together(self._kept)
        one, other = self._rank[all_of_them.first], self._rank[all_of_them.second]
        order = np.lexsort((np.maximum(one, other), np.minimum(one, other), all_of_them.distance))
        return all_of_them.where(order[: self._most])
