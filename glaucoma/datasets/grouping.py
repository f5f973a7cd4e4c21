"""Which photographs are of one eye or one and the same: the rungs that link them into groups no split may cut."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from glaucoma.datasets.identity import Fingerprint
from glaucoma.datasets.links import Link, Linking, Members, Rung, places_of_equal
from glaucoma.datasets.lookalikes import Near, Places, near_pairs
from glaucoma.datasets.nearest import Nearest, NearPair
from glaucoma.datasets.pair_judgements import Judged, Sameness, pair_of
from glaucoma.datasets.perceptual import DUPLICATE_DISTANCE, REVIEW_DISTANCE


@dataclass(frozen=True)
class Publication:
    """Where a photograph was first published.

    Args:
        origin: The collection.
        file: Its file's name there.
        by_another: Whether this photograph comes from a source that gathers others' photographs.
    """

    origin: str
    file: str
    by_another: bool

    @property
    def key(self) -> tuple[str, str]:
        """What two photographs share that were published as one; a part is empty where it is not known."""
        stem = self.file.replace("\\", "/").rsplit("/", 1)[-1].rsplit(".", 1)[0]
        return _plain(self.origin), _plain(stem)


def _plain(text: str) -> str:
    return "".join(letter for letter in text.casefold() if letter.isalnum())


@dataclass(frozen=True)
class Grouping:
    """Who belongs together.

    Args:
        groups: A name for each photograph's group: the first of its members' ids, so it stays while the members do.
        links: So many that they hold every group together, by image_id; one fewer than its members for each group.
        linked: How many of the links each rung gave, in the order of `Rung`.
        shared_patients: Patients with more than one photograph.
        across_patients: Links, of any rung but the first, between photographs of which the source names two patients;
            of those by their looks the nearest 5,000.
        lookalikes: Pairs linked by their looks alone, the nearest 5,000: a person may say that they differ.
        suspects: Pairs of two groups that look alike, 17 to 28 bits apart, the nearest 5,000: a person should look.
        lookalikes_total: Of which the above are the first.
        suspects_total: Likewise.
        across_patients_total: Likewise.
        judged: Pairs of photographs, by image_id, of which a person has said something.
        overruled: Those among them that were said to differ and are in one group all the same, by way of others.
    """

    groups: tuple[str, ...]
    links: tuple[Link, ...]
    linked: dict[Rung, int]
    shared_patients: int
    across_patients: tuple[Link, ...] = ()
    lookalikes: tuple[NearPair, ...] = ()
    suspects: tuple[NearPair, ...] = ()
    lookalikes_total: int = 0
    suspects_total: int = 0
    across_patients_total: int = 0
    judged: tuple[tuple[str, str, Sameness], ...] = ()
    overruled: tuple[tuple[str, str], ...] = ()

    def described(self, *, named_by_files: bool) -> str:
        """How photographs were grouped, in a line for people."""
        ways = []
        if self.shared_patients:
            ways.append("patient (from file names)" if named_by_files else "patient")
        if any(self.linked[rung] for rung in Rung if rung not in (Rung.PATIENT, Rung.JUDGED)):
            ways.append("content")
        if self.linked[Rung.JUDGED]:
            ways.append("a person's judgement")
        if ways:
            return " and ".join(ways)
        return "none: the source names no patients and no two photographs are alike, so each stands for itself"


def group(
    image_ids: Sequence[str],
    patient_ids: Sequence[str],
    fingerprints: Sequence[Fingerprint],
    *,
    published: Sequence[Publication] = (),
    judged: Judged | None = None,
) -> Grouping:
    """Joins photographs rung by rung, transitively; memory grows with the photographs, not with their pairs.

    One patient id at two sites is taken for one patient: the split gets coarser by it, and never leaks. Looks link
    photographs within 16 bits unless a person said that they differ; bytes and pixels link them whatever anybody said.

    Args:
        patient_ids: Empty where the source names no patient.
        published: As many as there are photographs, or none.
        judged: What people have said of pairs of photographs.
    """
    judged = judged or {}
    work = Linking(image_ids, patient_ids)
    work.join_equal(Rung.PATIENT, patient_ids)
    work.join_equal(Rung.BYTES, [one.sha256 for one in fingerprints])
    work.join_equal(Rung.PIXELS, [one.pixel_sha256 for one in fingerprints])
    for members in _published_together(published):
        work.join(Rung.ORIGINAL_NAME, members)
    said = list(_judged_places([one.pixel_sha256 for one in fingerprints], judged))
    for first, second, verdict in said:
        if verdict is Sameness.SAME:
            work.join(Rung.JUDGED, [first, second])
    firm = work.roots()
    for pairs in _looking_alike(fingerprints, judged, firm, DUPLICATE_DISTANCE):
        work.join_alike(pairs)
    roots = work.roots()
    lookalikes, suspects = Nearest(image_ids), Nearest(image_ids)
    for pairs in _looking_alike(fingerprints, judged, firm, REVIEW_DISTANCE):
        lookalikes.add(pairs.where(pairs.distance <= DUPLICATE_DISTANCE))
        suspects.add(pairs.where(roots[pairs.first] != roots[pairs.second]))
    return Grouping(
        groups=tuple(work.sets.names(image_ids)),
        links=tuple(sorted(work.links, key=lambda link: (link.first, link.second))),
        linked={rung: work.counts[rung] for rung in Rung},
        shared_patients=sum(len(members) > 1 for members in places_of_equal(patient_ids)),
        across_patients=work.across_patients,
        lookalikes=lookalikes.pairs(),
        suspects=suspects.pairs(),
        lookalikes_total=lookalikes.total,
        suspects_total=suspects.total,
        across_patients_total=work.across_patients_total,
        judged=tuple(sorted((*pair_of(image_ids[i], image_ids[j]), verdict) for i, j, verdict in said)),
        overruled=tuple(
            sorted(
                pair_of(image_ids[i], image_ids[j])
                for i, j, verdict in said
                if verdict is Sameness.DIFFERENT and roots[i] == roots[j]
            )
        ),
    )


def _looking_alike(fingerprints: Sequence[Fingerprint], judged: Judged, firm: Places, limit: int) -> Iterator[Near]:
    """Pairs within `limit` bits that nothing but their looks links, and of which nobody has said anything."""
    pixels = [one.pixel_sha256 for one in fingerprints]
    hashes, mirrored = [one.perceptual_hash for one in fingerprints], [one.mirrored_hash for one in fingerprints]
    for near in near_pairs(hashes, mirrored, limit):
        pairs = near.where(firm[near.first] != firm[near.second])
        if judged:
            unsaid = [pair_of(pixels[i], pixels[j]) not in judged for i, j, _, _ in pairs.rows()]
            pairs = pairs.where(np.array(unsaid, np.bool_))
        yield pairs


def _published_together(published: Sequence[Publication]) -> Iterator[Members]:
    """Photographs published under one name in one collection, where at least one source gathers others' photographs.

    Within a collection names may repeat (`1_A.png` in a training and in a test folder), so names alone link nothing.
    """
    for members in places_of_equal([one.key if all(one.key) else "" for one in published]):
        if any(published[place].by_another for place in members):
            yield members


def _judged_places(pixels: Sequence[str], judged: Judged) -> Iterator[tuple[int, int, Sameness]]:
    """The pairs of places whose pixels were judged; copies of a photograph share what was said of it."""
    if not judged:
        return
    places: dict[str, Members] = {}
    for place, one in enumerate(pixels):
        places.setdefault(one, []).append(place)
    for (first, second), verdict in sorted(judged.items()):
        for i, j in product(places.get(first, []), places.get(second, [])):
            yield i, j, verdict
