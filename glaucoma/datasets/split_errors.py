"""What is said where splits cannot be made: who stands on two sides and why, and what the dataset is too small for."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence

from glaucoma.datasets.dealing import Dealt
from glaucoma.datasets.links import Link
from glaucoma.datasets.split_settings import SplitScheme, SplitSettings
from glaucoma.errors import DatasetError, LeakageError, SettingsError
from glaucoma.schema import Label, Split

_SHOWN = 10
_SITES_SHOWN = 40


_Cut = Mapping[str, Mapping[str, str]]


def cut_groups(cut: _Cut, remedy: str = "split by group") -> LeakageError:
    """Groups that stand on several sides: group -> side -> an image there."""
    shown = "; ".join(
        f"{group}: " + ", ".join(f"{image_id} in {side}" for side, image_id in sides.items())
        for group, sides in sorted(cut.items())[:_SHOWN]
    )
    return LeakageError(
        f"{len(cut)} patients or groups of one and the same photograph stand in more than one split: {shown}"
        f"{_and_more(len(cut))}",
        expected="each in one split only",
        consequence="The splits were not made: a model would be tested on what it was trained on",
        remedy=remedy,
    )


def given_splits_leak(
    cut: _Cut,
    image_ids: Sequence[str],
    groups: Sequence[str],
    given: Sequence[Split | None],
    links: Iterable[Link],
) -> LeakageError:
    """The source's splits cut groups: the pairs of photographs on two sides, each with what links the two."""
    split_of = {
        image_id: split
        for image_id, group, split in zip(image_ids, groups, given, strict=True)
        if group in cut and split is not None
    }
    members = {image_id for image_id, group in zip(image_ids, groups, strict=True) if group in cut}
    neighbours: dict[str, list[tuple[str, Link]]] = {}
    for link in links:
        if link.first in members:
            neighbours.setdefault(link.first, []).append((link.second, link))
            neighbours.setdefault(link.second, []).append((link.first, link))
    pairs: dict[tuple[str, str], str] = {}
    for image_id in sorted(split_of):
        for other, why in _on_other_sides(image_id, split_of, neighbours):
            first, second = sorted([image_id, other])
            pairs.setdefault((first, second), why)
    remedy = (
        "set split.keep_given to false to split anew by patient (--no-normalize.split.keep-given at the command line); "
        "or take the repeated photographs out, or say with the flow judge which of them only look alike"
    )
    if not pairs:  # nobody said what links them
        return cut_groups(cut, remedy)
    shown = "; ".join(
        f"{first} in {split_of[first]} and {second} in {split_of[second]} ({why})"
        for (first, second), why in sorted(pairs.items())[:_SHOWN]
    )
    return LeakageError(
        f"{len(cut)} patients or groups of one and the same photograph stand in more than one split, "
        f"{len(pairs)} pairs of photographs between them: {shown}{_and_more(len(pairs))}",
        expected="each patient, and each photograph with its copies, in one split only",
        consequence="The splits were not made: a model would be tested on what it was trained on",
        remedy=remedy,
    )


def _on_other_sides(
    start: str, split_of: Mapping[str, Split], neighbours: Mapping[str, list[tuple[str, Link]]]
) -> list[tuple[str, str]]:
    """The images of other splits that links lead to, straight or by way of images that no split is given for."""
    found: list[tuple[str, str]] = []
    seen = {start}
    waiting: deque[tuple[str, list[str]]] = deque([(start, [])])
    while waiting:
        here, way = waiting.popleft()
        for other, link in neighbours.get(here, []):
            if other in seen:
                continue
            seen.add(other)
            if other not in split_of:
                waiting.append((other, [*way, f"{link}, to {other}"]))
            elif split_of[other] is not split_of[start]:
                found.append((other, "; ".join([*way, str(link)])))
    return found


def too_few_for_folds(dealt: Mapping[str, Dealt], required: set[Label], folds: int) -> DatasetError:
    """Some fold would lack a class."""
    return DatasetError(
        f"The dataset is too small for {folds} folds by patient ({_with_each_label(dealt)})",
        expected=f"at least {folds} patients or groups with each of {_named(required)}",
        consequence="The dataset was not made",
        remedy="ask for fewer folds, or add patients",
    )


def which_site(asked: str, counts: Mapping[str, int]) -> SettingsError:
    """No site of that name, or none named; the message lists those that there are."""
    named = sorted((site for site in counts if site), key=lambda site: (-counts[site], site))
    there = ", ".join(f"{site!r} ({counts[site]} images)" for site in named[:_SITES_SHOWN]) or "none"
    more = f" and {len(named) - _SITES_SHOWN} more" if len(named) > _SITES_SHOWN else ""
    nameless = f"; {counts['']} images name none" if counts.get("") else ""
    found = f"No site is called {asked!r}" if asked not in counts else f"There is no site but {asked!r}"
    return SettingsError(
        found if asked else "No site is named to be held out",
        expected=f"split.held_out_site is one of two sites or more; there are: {there}{more}{nameless}",
        consequence="The dataset was not made",
        remedy="name one of them, or choose another split.scheme",
    )


def too_small(
    absent: Sequence[tuple[Split, Label]],
    dealt: Mapping[str, Dealt],
    required: set[Label],
    wanted: set[Split],
    settings: SplitSettings,
) -> DatasetError:
    """Some part would lack a class."""
    lacking = ", ".join(f"no {label} in {split}" for split, label in absent)
    remedies = {
        SplitScheme.HOLD_OUT: "set split.val_share or split.test_share to 0, or set split.keep_given to false if the "
        "source's own splits are to blame",
        SplitScheme.K_FOLD: "ask for fewer folds, or set split.val_share to 0",
        SplitScheme.LEAVE_ONE_SITE_OUT: "hold out another site, or set split.val_share to 0",
    }
    return DatasetError(
        f"The dataset is too small to split by patient: {lacking} ({_with_each_label(dealt)})",
        expected=f"each of {_named(required)} in each of {_named(wanted)}, "
        f"so at least {len(wanted)} patients or groups with each label",
        consequence="The dataset was not made",
        remedy=f"add patients, {remedies[settings.scheme]}",
    )


def _with_each_label(dealt: Mapping[str, Dealt]) -> str:
    have = Counter(label for group in dealt.values() for label in group.labels)
    found = ", ".join(f"{label} {have[label]}" for label in sorted(have))
    return f"{len(dealt)} groups of photographs in all; with each label: {found}"


def _and_more(count: int) -> str:
    return f"; and {count - _SHOWN} more" if count > _SHOWN else ""


def _named(words: set[Split] | set[Label]) -> str:
    return ", ".join(sorted(str(word) for word in words))
