from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glaucoma.datasets.dealing import deal_folds, dealt_groups
from glaucoma.datasets.split_settings import SplitSettings
from glaucoma.datasets.splits import Splits, assign, required_labels
from glaucoma.errors import DatasetError, LeakageError, SettingsError
from glaucoma.schema import Label, Split

images = st.lists(
    st.tuples(st.integers(0, 25), st.sampled_from(Label), st.sampled_from([None, *Split])), min_size=1, max_size=80
)
shares = st.sampled_from([0.0, 0.1, 0.2, 0.4])


@given(images, shares, shares, st.integers(0, 2**32 - 1), st.booleans())
def test_no_group_is_ever_cut_and_no_part_lacks_a_class(
    rows: list[tuple[int, Label, Split | None]], val: float, test: float, seed: int, keep: bool
) -> None:
    ids = [f"i{n}" for n in range(len(rows))]
    groups, labels = [f"g{row[0]}" for row in rows], [row[1] for row in rows]
    chosen = SplitSettings(val_share=val, test_share=test, seed=seed, keep_given=keep)
    stated = [row[2] for row in rows]
    try:
        splits = assign(ids, groups, labels, stated, chosen)
    except DatasetError:
        return
    sides: dict[str, set[Split]] = {}
    for group, split in zip(groups, splits.of_image, strict=True):
        sides.setdefault(group, set()).add(split)
    assert all(len(of) == 1 for of in sides.values())
    if not keep or not any(stated):
        counts = splits.counts(labels)
        parts = [Split.TRAIN, *([Split.VAL] if val else []), *([Split.TEST] if test else [])]
        assert all(counts[part][label] for part in parts for label in required_labels(labels))
        assert {*splits.of_image} <= {*parts}
    else:
        assert all(
            split is one for split, one in zip(splits.of_image, stated, strict=True) if one in (Split.VAL, Split.TEST)
        )


@given(st.integers(3, 60), st.integers(3, 60), shares, shares, st.integers(0, 1000))
def test_one_photograph_a_patient_is_shared_out_to_within_one(
    normal: int, glaucoma: int, val: float, test: float, seed: int
) -> None:
    labels = [Label.NORMAL] * normal + [Label.GLAUCOMA] * glaucoma
    ids = [f"i{n}" for n in range(len(labels))]
    splits = assign(ids, ids, labels, [None] * len(ids), SplitSettings(val_share=val, test_share=test, seed=seed))
    counts = splits.counts(labels)
    for split, share in ((Split.VAL, val), (Split.TEST, test)):
        for label, total in ((Label.NORMAL, normal), (Label.GLAUCOMA, glaucoma)):
            assert abs(counts[split][label] - share * total) <= 1


@given(st.lists(st.tuples(st.integers(0, 10), st.sampled_from(Split)), max_size=30))
def test_splits_exist_only_if_no_group_is_cut(rows: list[tuple[int, Split]]) -> None:
    groups, of_image = tuple(f"g{row[0]}" for row in rows), tuple(row[1] for row in rows)
    ids = tuple(f"i{n}" for n in range(len(rows)))
    if len(set(zip(groups, of_image, strict=True))) > len(set(groups)):
        with pytest.raises(LeakageError):
            Splits(ids, groups, of_image)
    else:
        assert Splits(ids, groups, of_image).of_image == of_image


@settings(max_examples=30)
@given(st.permutations(range(24)), st.integers(0, 100))
def test_the_draw_does_not_depend_on_the_order_of_images(order: list[int], seed: int) -> None:
    labels = [Label.NORMAL, Label.GLAUCOMA] * 12
    groups = [f"g{n // 2}" for n in range(24)]
    ids = [f"i{n}" for n in range(24)]

    def drawn(places: list[int]) -> dict[str, Split]:
        splits = assign(
            [ids[n] for n in places],
            [groups[n] for n in places],
            [labels[n] for n in places],
            [None] * 24,
            SplitSettings(seed=seed),
        )
        return dict(zip(splits.image_ids, splits.of_image, strict=True))

    assert drawn(order) == drawn(list(range(24)))


rows_at_sites = st.lists(
    st.tuples(st.integers(0, 30), st.sampled_from(Label), st.sampled_from(["", "a", "b", "c"])), min_size=1, max_size=90
)


def sides_of(splits: Splits) -> dict[str, set[Split]]:
    sides: dict[str, set[Split]] = {}
    for group, split in zip(splits.groups, splits.of_image, strict=True):
        sides.setdefault(group, set()).add(split)
    return sides


@given(rows_at_sites, st.integers(2, 6), st.data(), st.integers(0, 2**32 - 1))
def test_folds_cut_no_group_and_hold_every_class_and_each_image_is_tested_once(
    rows: list[tuple[int, Label, str]], folds: int, data: st.DataObject, seed: int
) -> None:
    ids, groups = [f"i{n}" for n in range(len(rows))], [f"g{row[0]}" for row in rows]
    labels, sites = [row[1] for row in rows], [row[2] for row in rows]
    fold = data.draw(st.integers(0, folds - 1))
    chosen = SplitSettings.model_validate({"scheme": "k_fold", "folds": folds, "fold": fold, "seed": seed})
    try:
        splits = assign(ids, groups, labels, [None] * len(ids), chosen, sites=sites)
    except DatasetError:
        required = required_labels(labels)
        enough = {label: len({row[0] for row in rows if row[1] is label}) for label in required}
        assert not all(count >= 2 * folds + 2 for count in enough.values()) or any(
            len({row[1] for row in rows if row[0] == group}) > 1 for group in {row[0] for row in rows}
        )
        return
    assert all(len(of) == 1 for of in sides_of(splits).values())
    assert [split is Split.TEST for split in splits.of_image] == [of == fold for of in splits.folds]
    for one in range(folds):
        here = {label for label, of in zip(labels, splits.folds, strict=True) if of == one}
        assert required_labels(labels) <= here
    assert all(splits.counts(labels)[part][label] for part in Split for label in required_labels(labels))


@given(rows_at_sites, st.sampled_from(["a", "b", "c"]), st.integers(0, 1000))
def test_a_held_out_site_is_in_no_other_part(rows: list[tuple[int, Label, str]], site: str, seed: int) -> None:
    ids, groups = [f"i{n}" for n in range(len(rows))], [f"g{row[0]}" for row in rows]
    labels, sites = [row[1] for row in rows], [row[2] for row in rows]
    chosen = SplitSettings.model_validate({"scheme": "leave_one_site_out", "held_out_site": site, "seed": seed})
    try:
        splits = assign(ids, groups, labels, [None] * len(ids), chosen, sites=sites)
    except (DatasetError, SettingsError):
        return
    assert all(len(of) == 1 for of in sides_of(splits).values())
    there = {group for group, one in zip(groups, sites, strict=True) if one == site}
    assert {group for group, of in sides_of(splits).items() if of == {Split.TEST}} == there


def worst_fold(labels: list[Label], folds: np.ndarray, count: int) -> float:
    """By how many images the worst fold misses its share of some label."""
    of_label = Counter(labels)
    found = Counter(zip(labels, folds.tolist(), strict=True))
    return max(abs(found[label, fold] - of_label[label] / count) for label in of_label for fold in range(count))


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 7), st.sampled_from([1, 2, 4]))
def test_folds_are_about_as_even_as_scikit_learns(seed: int, folds: int, mean_size: int) -> None:
    from sklearn.model_selection import StratifiedGroupKFold

    rng = np.random.default_rng(seed)
    number = int(rng.integers(60, 200))
    group = np.repeat(np.arange(number), rng.geometric(1 / mean_size, number))
    own = rng.choice(3, number, p=[0.6, 0.3, 0.1])
    kinds = [Label.NORMAL, Label.GLAUCOMA, Label.SUSPECT]
    labels = [kinds[own[one]] if rng.random() < 0.9 else kinds[rng.integers(3)] for one in group]
    names = [f"g{one:04d}" for one in group]
    dealt = deal_folds(dealt_groups(names, labels, [""] * len(names)), folds, np.random.default_rng(seed))
    ours = np.array([dealt[name] for name in names])
    theirs = np.empty(len(names), int)
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed % 2**31)
    for fold, (_, test) in enumerate(splitter.split(names, [str(one) for one in labels], names)):
        theirs[test] = fold
    largest = max(Counter(names).values())
    assert worst_fold(labels, ours, folds) <= worst_fold(labels, theirs, folds) + largest


@settings(max_examples=60)
@given(st.lists(st.tuples(st.integers(1, 40), st.integers(1, 40)), min_size=1, max_size=4), st.integers(0, 1000))
def test_sites_get_their_share_to_within_two_and_labels_to_within_one(sizes: list[tuple[int, int]], seed: int) -> None:
    labels: list[Label] = []
    sites: list[str] = []
    for number, (normal, glaucoma) in enumerate(sizes):
        labels += [Label.NORMAL] * normal + [Label.GLAUCOMA] * glaucoma
        sites += [f"s{number}"] * (normal + glaucoma)
    ids = [f"i{n}" for n in range(len(labels))]
    try:
        splits = assign(ids, ids, labels, [None] * len(ids), SplitSettings(seed=seed), sites=sites)
    except DatasetError:
        assert min(labels.count(Label.NORMAL), labels.count(Label.GLAUCOMA)) < 3
        return
    for part, share in ((Split.VAL, 0.2), (Split.TEST, 0.2)):
        for label in (Label.NORMAL, Label.GLAUCOMA):
            assert abs(splits.counts(labels)[part][label] - share * labels.count(label)) <= 1
        found = Counter(
            (label, site) for label, site, of in zip(labels, sites, splits.of_image, strict=True) if of is part
        )
        whole = Counter(zip(labels, sites, strict=True))
        assert all(abs(found[cell] - share * count) <= 2 for cell, count in whole.items())
