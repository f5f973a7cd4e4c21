"""Splits by group: made so that each class stands in each part, and refused where a group stands on two sides."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from glaucoma.datasets.dealing import Dealt, deal_folds, dealt_groups, share_out
from glaucoma.datasets.links import Link
from glaucoma.datasets.split_errors import cut_groups, given_splits_leak, too_few_for_folds, too_small, which_site
from glaucoma.datasets.split_settings import SplitScheme, SplitSettings
from glaucoma.errors import DatasetError
from glaucoma.schema import Label, Split

_ATTEMPTS = 50
"""Draws before a dataset is said to be too small: patients with two labels can make one draw fail and the next not."""
_FOLDS, _PARTS = 0, 1
"""Which draw a random generator is for: folds do not depend on which of them is the test."""

Counts = dict[Split, Counter[str]]


@dataclass(frozen=True)
class Splits:
    """Where each image stands. Made only if no group is cut: code after that need not ask again.

    Args:
        image_ids: Names, for messages.
        groups: What may not be cut; as many.
        of_image: The split of each image; as many.
        folds: The fold of each image, from 0; empty where there are none.

    Raises:
        LeakageError: A group stands in two splits; up to ten are named with their images.
        DatasetError: They differ in length.
    """

    image_ids: tuple[str, ...]
    groups: tuple[str, ...]
    of_image: tuple[Split, ...]
    folds: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if len({len(self.image_ids), len(self.groups), len(self.of_image), len(self.folds or self.groups)}) > 1:
            raise DatasetError(
                f"{len(self.image_ids)} images, {len(self.groups)} groups and {len(self.of_image)} splits",
                expected="as many of each",
            )
        for sides in (self.of_image, self.folds):
            if cut := _cut(self.image_ids, self.groups, sides):
                raise cut_groups(cut)

    def counts(self, labels: Sequence[str]) -> Counts:
        """Images by split and label."""
        counts: Counts = {split: Counter() for split in Split}
        for split, label in zip(self.of_image, labels, strict=True):
            counts[split][str(label)] += 1
        return counts


def _cut(
    image_ids: Sequence[str], groups: Sequence[str], sides: Sequence[Split | int | None]
) -> dict[str, dict[str, str]]:
    """The groups on several sides, each with the first image on every side; images on no side are left out."""
    members: dict[str, dict[str, str]] = {}
    for image_id, group, side in zip(image_ids, groups, sides, strict=False):
        if side is not None:
            members.setdefault(group, {}).setdefault(str(side), image_id)
    return {group: of for group, of in members.items() if len(of) > 1}


@dataclass(frozen=True)
class _Fixed:
    """What is settled before anything is carved out: splits by group, and which of them nobody may find fault with."""

    of_group: Mapping[str, Split]
    accepted: frozenset[Split] = frozenset()
    folds: Mapping[str, int] | None = None


def assign(
    image_ids: Sequence[str],
    groups: Sequence[str],
    labels: Sequence[Label],
    given: Sequence[Split | None],
    settings: SplitSettings,
    *,
    sites: Sequence[str] | None = None,
    links: Iterable[Link] = (),
) -> Splits:
    """Puts every image into train, val or test.

    With `hold_out` the source's splits are kept where it gives any and the settings say so; a part that it lacks is
    carved out of its training part. With `k_fold` and `leave_one_site_out` the test is a fold or a site, and validation
    is carved out of the rest. Groups go whole: one that has images of the held-out site and of others goes to the test.
    Each label gets its share in each part (counted in groups, at least one; in images for folds), and each site within
    it as far as that allows. The draw follows from the seed and the groups' names, not from the order of the images.

    Args:
        sites: Of each image; None where none is known.
        links: Why images are of one group, to be named where the source's splits cut it.

    Raises:
        LeakageError: The source's own splits cut a group; the photographs are named with what links them.
        DatasetError: Too few groups for every class to stand in every part that is asked for.
        SettingsError: The held-out site is none of the dataset's.
    """
    places = list(sites or [""] * len(labels))
    dealt = dealt_groups(groups, labels, places if settings.by_site else [""] * len(labels))
    if settings.scheme is SplitScheme.K_FOLD:
        fixed = _one_fold(dealt, required_labels(labels), settings)
    elif settings.scheme is SplitScheme.LEAVE_ONE_SITE_OUT:
        fixed = _one_site(groups, places, settings)
    else:
        fixed = _given(image_ids, groups, given, links, settings)
    return _carved(tuple(image_ids), tuple(groups), labels, dealt, fixed, settings)


def _given(
    image_ids: Sequence[str],
    groups: Sequence[str],
    given: Sequence[Split | None],
    links: Iterable[Link],
    settings: SplitSettings,
) -> _Fixed:
    """The split that the source gives each group; images that it leaves out follow their group, or train."""
    if not settings.keep_given or not any(given):
        return _Fixed({})
    if cut := _cut(image_ids, groups, given):
        raise given_splits_leak(cut, image_ids, groups, given, links)
    of_group = {group: split for group, split in zip(groups, given, strict=True) if split is not None}
    there = set(of_group.values())
    if Split.TRAIN not in there:
        raise DatasetError(
            f"The source gives the splits {', '.join(sorted(there))} and nothing to train on",
            expected="a part for training",
            remedy="set split.keep_given to false to split anew",
        )
    return _Fixed(of_group, frozenset(there - {Split.TRAIN}))


def _one_fold(dealt: Mapping[str, Dealt], required: set[Label], settings: SplitSettings) -> _Fixed:
    """All groups dealt into folds, of which one is the test; each fold has images of each required label."""
    for attempt in range(_ATTEMPTS):
        folds = deal_folds(dealt, settings.folds, np.random.default_rng([settings.seed, attempt, _FOLDS]))
        there = {(folds[name], label) for name, group in dealt.items() for label in group.labels}
        if len([one for one in there if one[1] in required]) == settings.folds * len(required):
            test = {name: Split.TEST for name, fold in folds.items() if fold == settings.fold}
            return _Fixed(test, frozenset(), folds)
    raise too_few_for_folds(dealt, required, settings.folds)


def _one_site(groups: Sequence[str], sites: Sequence[str], settings: SplitSettings) -> _Fixed:
    """Groups with an image of the held-out site are the test. A site without labels passes, as a given part does."""
    counts = Counter(sites)
    if settings.held_out_site not in counts or len(counts) < 2 or not settings.held_out_site:
        raise which_site(settings.held_out_site, counts)
    test = {group: Split.TEST for group, site in zip(groups, sites, strict=True) if site == settings.held_out_site}
    return _Fixed(test, frozenset({Split.TEST}))


def _carved(
    image_ids: tuple[str, ...],
    groups: tuple[str, ...],
    labels: Sequence[Label],
    dealt: Mapping[str, Dealt],
    fixed: _Fixed,
    settings: SplitSettings,
) -> Splits:
    """The parts that are not fixed, drawn until every class stands in every one of them."""
    there = set(fixed.of_group.values())
    shares = {
        split: share
        for split, share in ((Split.VAL, settings.val_share), (Split.TEST, settings.test_share))
        if split not in there
    }
    wanted = there | {Split.TRAIN} | {split for split, share in shares.items() if share > 0}
    pool = {name: group for name, group in dealt.items() if fixed.of_group.get(name, Split.TRAIN) is Split.TRAIN}
    absent: list[tuple[Split, Label]] = []
    for attempt in range(_ATTEMPTS):
        rng = np.random.default_rng([settings.seed, attempt, _PARTS, settings.fold])
        of_group = {**fixed.of_group, **share_out(pool, shares, rng)}
        folds = () if fixed.folds is None else tuple(fixed.folds[group] for group in groups)
        splits = Splits(image_ids, groups, tuple(of_group[group] for group in groups), folds)
        absent = _absent(splits, labels, wanted, fixed.accepted)
        if not absent:
            return splits
        if len(wanted) == 1 or not shares:
            break
    raise too_small(absent, dealt, required_labels(labels), wanted, settings)


def required_labels(labels: Sequence[Label]) -> set[Label]:
    """The labels that must stand in every part: normal and glaucoma where there are any, else whatever there is."""
    there = set(labels)
    return there & {Label.NORMAL, Label.GLAUCOMA} or there


def _absent(
    splits: Splits, labels: Sequence[Label], wanted: set[Split], accepted: frozenset[Split]
) -> list[tuple[Split, Label]]:
    """Which required label lacks where; an accepted part that has no labels at all passes."""
    counts, required = splits.counts(labels), required_labels(labels)
    asked = [
        split for split in sorted(wanted) if split not in accepted or any(counts[split][label] for label in required)
    ]
    return [(split, label) for split in asked for label in sorted(required) if not counts[split][label]]
