"""Links between photographs, the rungs they stand on, and the groups that grow from them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from glaucoma.datasets.lookalikes import Near, Places
from glaucoma.datasets.nearest import Nearest
from glaucoma.datasets.perceptual import HASH_BITS

Members = list[int]


class Rung(StrEnum):
    """Why two photographs are linked; the first that holds is told."""

    PATIENT = "patient"
    BYTES = "bytes"
    PIXELS = "pixels"
    ORIGINAL_NAME = "original_name"
    """One gathers photographs of others and names the file in the collection that the other comes from."""
    JUDGED = "judged"
    """A person said that they are the same."""
    LOOKS = "looks"
    """Perceptual hashes within 16 of 256 bits, the mirror image included."""


_SENTENCES = {
    Rung.PATIENT: "the same patient",
    Rung.BYTES: "the same bytes",
    Rung.PIXELS: "the same pixels",
    Rung.ORIGINAL_NAME: "the same file by its original name",
    Rung.JUDGED: "judged to be the same",
}


@dataclass(frozen=True)
class Link:
    """Two photographs, by image_id, that belong together.

    Args:
        distance: Bits in which the perceptual hashes differ; None on another rung.
        mirrored: Whether one is like the other's mirror image.
    """

    first: str
    second: str
    rung: Rung
    distance: int | None = None
    mirrored: bool = False

    def __str__(self) -> str:
        if self.rung is not Rung.LOOKS:
            return _SENTENCES[self.rung]
        return f"they look the same, {self.distance} of {HASH_BITS} bits apart{', mirrored' * self.mirrored}"


def places_of_equal(values: Sequence[str] | Sequence[tuple[str, str] | str]) -> list[Members]:
    """Places of each value that is not empty."""
    places: dict[object, Members] = {}
    for place, value in enumerate(values):
        if value:
            places.setdefault(value, []).append(place)
    return list(places.values())


class Linking:
    """Groups while they grow, and the links that made them.

    Attributes:
        links: Those that joined two groups: one fewer than photographs in each.
        counts: Of `links` by rung.
    """

    def __init__(self, image_ids: Sequence[str], patient_ids: Sequence[str]) -> None:
        self.sets = _DisjointSets(len(image_ids))
        self.links: list[Link] = []
        self.counts: Counter[Rung] = Counter()
        self._ids = image_ids
        self._patients = patient_ids
        self._across: dict[tuple[str, str], Link] = {}
        self._alike_across = Nearest(image_ids)
        number: dict[str, int] = {}
        self._patient_numbers = np.array([number.setdefault(one, len(number)) if one else -1 for one in patient_ids])

    def roots(self) -> Places:
        """A number for each photograph's group as it stands."""
        return np.array([self.sets.root(place) for place in range(len(self._ids))], np.int64)

    def join_equal(self, rung: Rung, values: Sequence[str]) -> None:
        """Links photographs of equal `values`; an empty one says nothing."""
        for members in places_of_equal(values):
            self.join(rung, members)

    @property
    def across_patients(self) -> tuple[Link, ...]:
        """Links between photographs of which the source names two patients, joined before or not; of those by their
        looks the nearest 5,000."""
        alike = [
            Link(one.first, one.second, Rung.LOOKS, one.distance, one.mirrored) for one in self._alike_across.pairs()
        ]
        return tuple(sorted([*self._across.values(), *alike], key=lambda link: (link.first, link.second)))

    @property
    def across_patients_total(self) -> int:
        """How many there are of them in all."""
        return len(self._across) + self._alike_across.total

    def join_alike(self, pairs: Near) -> None:
        """Links pairs that look alike and that no other rung has linked, each given once.

        A thousand photographs that all look alike are half a million pairs: few of them join anything or are kept.
        """
        one, other = self._patient_numbers[pairs.first], self._patient_numbers[pairs.second]
        self._alike_across.add(pairs.where((one != other) & (one >= 0) & (other >= 0)))
        if len(pairs) > len(self._ids):
            roots = self.roots()
            pairs = pairs.where(roots[pairs.first] != roots[pairs.second])
        for first, second, distance, mirrored in pairs.rows():
            self._join_two(Rung.LOOKS, first, second, distance, mirrored=mirrored)

    def join(self, rung: Rung, members: Members) -> None:
        """Links all `members` to the first of them."""
        for other in members[1:]:
            self._join_two(rung, members[0], other)
        first_of: dict[str, int] = {}
        for place in members:
            if self._patients[place]:
                first_of.setdefault(self._patients[place], place)
        one, *others = first_of.values() or [0]
        for other in others:
            link = self._link(one, other, rung)
            self._across.setdefault((link.first, link.second), link)

    def _join_two(
        self, rung: Rung, one: int, other: int, distance: int | None = None, *, mirrored: bool = False
    ) -> None:
        if self.sets.join(one, other):
            self.counts[rung] += 1
            self.links.append(self._link(one, other, rung, distance, mirrored=mirrored))

    def _link(self, one: int, other: int, rung: Rung, distance: int | None = None, *, mirrored: bool = False) -> Link:
        first, second = sorted((self._ids[one], self._ids[other]))
        return Link(first, second, rung, distance, mirrored)


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

    def join(self, one: int, other: int) -> bool:
        """Puts both into one set; whether they were in two before."""
        first, second = self.root(one), self.root(other)
        self._parent[max(first, second)] = min(first, second)
        return first != second

    def names(self, ids: Sequence[str]) -> Iterable[str]:
        """For each item the alphabetically first id of its set."""
        first: dict[int, str] = {}
        for item, name in enumerate(ids):
            root = self.root(item)
            first[root] = min(first.get(root, name), name)
        return [first[self.root(item)] for item in range(len(ids))]
