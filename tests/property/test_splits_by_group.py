from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glaucoma.datasets.settings import SplitSettings
from glaucoma.datasets.splits import Splits, assign, required_labels
from glaucoma.errors import DatasetError, LeakageError
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
