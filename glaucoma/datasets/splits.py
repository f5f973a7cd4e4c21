"""Splits by group: made so that each class stands in each part, and refused where a group stands on two sides."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from glaucoma.datasets.settings import SplitSettings
from glaucoma.errors import DatasetError, LeakageError
from glaucoma.schema import Label, Split

_SHOWN = 10
_ATTEMPTS = 50
"""Draws before a dataset is said to be too small: patients with two labels can make one draw fail and the next not."""

Counts = dict[Split, Counter[str]]


@dataclass(frozen=True)
class Splits:
    """Where each image stands. Made only if no group is cut: code after that need not ask again.

    Args:
        image_ids: Names, for messages.
        groups: What may not be cut; as many.
        of_image: The split of each image; as many.

    Raises:
        LeakageError: A group stands in two splits; up to ten are named with their images.
        DatasetError: The three differ in length.
    """

    image_ids: tuple[str, ...]
    groups: tuple[str, ...]
    of_image: tuple[Split, ...]

    def __post_init__(self) -> None:
        if not len(self.image_ids) == len(self.groups) == len(self.of_image):
            raise DatasetError(
                f"{len(self.image_ids)} images, {len(self.groups)} groups and {len(self.of_image)} splits",
                expected="as many of each",
            )
        members: dict[str, dict[Split, str]] = {}
        for image_id, group, split in zip(self.image_ids, self.groups, self.of_image, strict=True):
            members.setdefault(group, {}).setdefault(split, image_id)
        cut = {group: sides for group, sides in members.items() if len(sides) > 1}
        if cut:
            raise _leak(cut)

    def counts(self, labels: Sequence[str]) -> Counts:
        """Images by split and label."""
        counts: Counts = {split: Counter() for split in Split}
        for split, label in zip(self.of_image, labels, strict=True):
            counts[split][str(label)] += 1
        return counts


def assign(
    image_ids: Sequence[str],
    groups: Sequence[str],
    labels: Sequence[Label],
    given: Sequence[Split | None],
    settings: SplitSettings,
) -> Splits:
    """Puts every image into train, val or test.

    The source's splits are kept where it gives any and the settings say so; a part that it lacks is carved out of its
    training part. Else all is drawn anew. Groups go whole, each label gets its share in each part (counted in groups,
    at least one), and the draw follows from the seed and the groups' names, not from the order of the images.

    Raises:
        LeakageError: The source's own splits cut a group.
        DatasetError: Too few groups for every class to stand in every part that is asked for.
    """
    fixed: dict[str, Split] = {}
    if settings.keep_given and any(split is not None for split in given):
        fixed = _given_by_group(image_ids, groups, given)
    there = set(fixed.values())
    if fixed and Split.TRAIN not in there:
        raise DatasetError(
            f"The source gives the splits {_named(there)} and nothing to train on",
            expected="a part for training",
            remedy="set split.keep_given to false to split anew",
        )
    shares = {
        split: share
        for split, share in ((Split.VAL, settings.val_share), (Split.TEST, settings.test_share))
        if split not in there
    }
    wanted = there | {Split.TRAIN} | {split for split, share in shares.items() if share > 0}
    pool = sorted({group for group in groups if fixed.get(group, Split.TRAIN) is Split.TRAIN})
    labels_of = _labels_by_group(groups, labels)
    splits = None
    for attempt in range(_ATTEMPTS):
        drawn = _draw(
            {group: labels_of[group] for group in pool}, shares, np.random.default_rng([settings.seed, attempt])
        )
        of_group = {**fixed, **drawn}
        splits = Splits(tuple(image_ids), tuple(groups), tuple(of_group[group] for group in groups))
        if not _absent(splits, labels, wanted, there - {Split.TRAIN}):
            return splits
        if len(wanted) == 1 or not shares:
            break
    assert splits is not None  # noqa: S101  # one attempt at least was made
    raise _too_small(splits, labels, groups, wanted, there - {Split.TRAIN})


def _given_by_group(image_ids: Sequence[str], groups: Sequence[str], given: Sequence[Split | None]) -> dict[str, Split]:
    """The split that the source gives each group; images that it leaves out follow their group, or train."""
    members: dict[str, dict[Split, str]] = {}
    for image_id, group, split in zip(image_ids, groups, given, strict=True):
        if split is not None:
            members.setdefault(group, {}).setdefault(split, image_id)
    cut = {group: sides for group, sides in members.items() if len(sides) > 1}
    if cut:
        raise _leak(cut, remedy="take the repeated photographs out, or set split.keep_given to false to split anew")
    return {group: next(iter(sides)) for group, sides in members.items()}


def _labels_by_group(groups: Sequence[str], labels: Sequence[Label]) -> dict[str, frozenset[Label]]:
    found: dict[str, set[Label]] = {}
    for group, label in zip(groups, labels, strict=True):
        found.setdefault(group, set()).add(label)
    return {group: frozenset(of) for group, of in found.items()}


def _draw(
    labels_of: Mapping[str, frozenset[Label]], shares: Mapping[Split, float], rng: np.random.Generator
) -> dict[str, Split]:
    """Shares groups out label by label, the rarest first, each to the part that lacks most groups of that label.

    Source: iterative stratification (Sechidis et al. 2011), which also serves groups with several labels.
    """
    names = sorted(labels_of)
    order = [names[i] for i in rng.permutation(len(names))]
    with_label = {label: [name for name in order if label in labels_of[name]] for label in Label}
    lacking = {label: _quota(len(members), shares) for label, members in with_label.items()}
    drawn: dict[str, Split] = {}
    for label in sorted(with_label, key=lambda one: (len(with_label[one]), one)):
        for name in with_label[label]:
            if name in drawn:
                continue
            lack = lacking[label]
            split = max(lack, key=lambda one: lack[one])
            drawn[name] = split
            for other in labels_of[name]:
                lacking[other][split] -= 1
    return drawn


def _quota(groups: int, shares: Mapping[Split, float]) -> dict[Split, int]:
    """Groups for each part: at least one each where there are enough, and the rest, at least one, to train."""
    quota = {split: max(1, round(groups * share)) for split, share in shares.items() if share > 0}
    while quota and sum(quota.values()) >= groups:
        largest = max(quota, key=lambda one: quota[one])
        if quota[largest] > 1:
            quota[largest] -= 1
        else:
            quota = {}  # too few to share out: all to train
    return {Split.TRAIN: groups - sum(quota.values()), **quota}


def required_labels(labels: Sequence[Label]) -> set[Label]:
    """The labels that must stand in every part: normal and glaucoma where there are any, else whatever there is."""
    there = set(labels)
    return there & {Label.NORMAL, Label.GLAUCOMA} or there


def _absent(
    splits: Splits, labels: Sequence[Label], wanted: set[Split], given: set[Split]
) -> list[tuple[Split, Label]]:
    """Which required label lacks where; a part of the source's own that has no labels at all passes."""
    counts, required = splits.counts(labels), required_labels(labels)
    asked = [split for split in sorted(wanted) if split not in given or any(counts[split][label] for label in required)]
    return [(split, label) for split in asked for label in sorted(required) if not counts[split][label]]


def _too_small(
    splits: Splits, labels: Sequence[Label], groups: Sequence[str], wanted: set[Split], given: set[Split]
) -> DatasetError:
    absent = ", ".join(f"no {label} in {split}" for split, label in _absent(splits, labels, wanted, given))
    have = Counter(label for of in _labels_by_group(groups, labels).values() for label in of)
    found = ", ".join(f"{label} {have[label]}" for label in sorted(have))
    return DatasetError(
        f"The dataset is too small to split by patient: {absent} ({len(set(groups))} groups of photographs in all; "
        f"with each label: {found})",
        expected=f"each of {_named(required_labels(labels))} in each of {_named(wanted)}, "
        f"so at least {len(wanted)} patients or groups with each label",
        consequence="The dataset was not made",
        remedy="add patients, set split.val_share or split.test_share to 0, or set split.keep_given to false "
        "if the source's own splits are to blame",
    )


def _leak(cut: Mapping[str, Mapping[Split, str]], remedy: str = "split by group") -> LeakageError:
    shown = "; ".join(
        f"{group}: " + ", ".join(f"{image_id} in {split}" for split, image_id in sides.items())
        for group, sides in sorted(cut.items())[:_SHOWN]
    )
    more = f"; and {len(cut) - _SHOWN} more" if len(cut) > _SHOWN else ""
    return LeakageError(
        f"{len(cut)} patients or groups of one and the same photograph stand in more than one split: {shown}{more}",
        expected="each in one split only",
        consequence="The splits were not made: a model would be tested on what it was trained on",
        remedy=remedy,
    )


def _named(words: set[Split] | set[Label]) -> str:
    return ", ".join(sorted(str(word) for word in words))
