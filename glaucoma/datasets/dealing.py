"""Sharing groups out: into parts of given shares, or into equal folds, each label and each site to every part.

What is dealt are groups of images. A group may carry several labels and come from several sites; it goes whole.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from glaucoma.schema import Label, Split

Cell = tuple[Label, str]
"""A label at a site."""


@dataclass(frozen=True)
class Dealt:
    """A group of images as it is dealt.

    Args:
        images: Of each label at each site.
    """

    images: Mapping[Cell, int]

    @property
    def labels(self) -> frozenset[Label]:
        return frozenset(label for label, _ in self.images)

    def of(self, label: Label) -> int:
        """Images with that label."""
        return sum(count for (one, _), count in self.images.items() if one is label)


def dealt_groups(groups: Sequence[str], labels: Sequence[Label], sites: Sequence[str]) -> dict[str, Dealt]:
    """The groups by name, from one entry for each image."""
    cells: dict[str, Counter[Cell]] = {}
    for group, label, site in zip(groups, labels, sites, strict=True):
        cells.setdefault(group, Counter())[label, site] += 1
    return {group: Dealt(cells[group]) for group in sorted(cells)}


def share_out(groups: Mapping[str, Dealt], shares: Mapping[Split, float], rng: np.random.Generator) -> dict[str, Split]:
    """Shares groups out label by label, the rarest first; the rest goes to train.

    Each label gets its share in each part, counted in groups and at least one. Among the parts that still lack a label,
    a group goes to the one that lacks most of this label from its site. So sites are shared out as evenly as the
    labels' shares allow.

    Source: iterative stratification (Sechidis et al. 2011), which also serves groups with several labels.
    """
    order = _shuffled(sorted(groups), rng)
    with_label = {label: [name for name in order if label in groups[name].labels] for label in Label}
    lacking = {label: quota(len(members), shares) for label, members in with_label.items()}
    with_cell = _by_cell(groups, order)
    wanted = {
        cell: {part: len(members) * lack / len(with_label[cell[0]]) for part, lack in lacking[cell[0]].items()}
        for cell, members in with_cell.items()
    }
    drawn: dict[str, Split] = {}
    for label in sorted(with_label, key=lambda one: (len(with_label[one]), one)):
        for cell in sorted((one for one in with_cell if one[0] is label), key=lambda one: (len(with_cell[one]), one)):
            for name in with_cell[cell]:
                if name in drawn:
                    continue
                lack, here = lacking[label], wanted[cell]
                parts = [part for part in lack if lack[part] > 0] or list(lack)
                drawn[name] = max(parts, key=lambda part: (here[part], lack[part]))
                _count_off(groups[name], drawn[name], lacking, wanted)
    return drawn


def _count_off(
    group: Dealt, part: Split, lacking: Mapping[Label, dict[Split, int]], wanted: Mapping[Cell, dict[Split, float]]
) -> None:
    for label in group.labels:
        lacking[label][part] -= 1
    for cell in group.images:
        wanted[cell][part] -= 1


def quota(groups: int, shares: Mapping[Split, float]) -> dict[Split, int]:
    """Groups for each part: at least one each where there are enough, and the rest, at least one, to train."""
    quotas = {split: max(1, round(groups * share)) for split, share in shares.items() if share > 0}
    while quotas and sum(quotas.values()) >= groups:
        largest = max(quotas, key=lambda one: quotas[one])
        if quotas[largest] > 1:
            quotas[largest] -= 1
        else:
            quotas = {}  # too few to share out: all to train
    return {Split.TRAIN: groups - sum(quotas.values()), **quotas}


def deal_folds(groups: Mapping[str, Dealt], folds: int, rng: np.random.Generator) -> dict[str, int]:
    """Deals groups into `folds` parts that hold as nearly as can be the same number of images of each label.

    The rarest label comes first, and of each label the largest groups. A group goes to the fold with the fewest images
    of its label; between folds that are level to within the group's own size, to the one with the fewest of that label
    from its sites, and then to the one with the fewest images.
    """
    order = _shuffled(sorted(groups), rng)
    of_label = {label: sum(group.of(label) for group in groups.values()) for label in Label}
    loads: dict[Label, list[int]] = {label: [0] * folds for label in Label}
    cells: dict[Cell, list[int]] = {cell: [0] * folds for group in groups.values() for cell in group.images}
    whole = [0] * folds
    dealt: dict[str, int] = {}
    for label in sorted(Label, key=lambda one: (of_label[one], one)):
        load = loads[label]
        members = [name for name in order if label in groups[name].labels and name not in dealt]
        for name in sorted(members, key=lambda one: -groups[one].of(label)):
            group = groups[name]
            own = [cells[cell] for cell in group.images if cell[0] is label]
            rank = [(load[fold] > 0, sum(at[fold] for at in own), load[fold], whole[fold]) for fold in range(folds)]
            level = [fold for fold in range(folds) if load[fold] < min(load) + group.of(label)]
            dealt[name] = fold = min(level, key=rank.__getitem__)
            for cell, count in group.images.items():
                loads[cell[0]][fold] += count
                cells[cell][fold] += count
                whole[fold] += count
    return dealt


def _shuffled(names: Sequence[str], rng: np.random.Generator) -> list[str]:
    return [names[i] for i in rng.permutation(len(names))]


def _by_cell(groups: Mapping[str, Dealt], order: Sequence[str]) -> dict[Cell, list[str]]:
    found: dict[Cell, list[str]] = {}
    for name in order:
        for cell in sorted(groups[name].images):
            found.setdefault(cell, []).append(name)
    return found
