from __future__ import annotations

from collections import Counter

import pytest
from pydantic import ValidationError

from glaucoma.datasets.settings import SplitSettings
from glaucoma.datasets.splits import Splits, assign
from glaucoma.errors import DatasetError, LeakageError
from glaucoma.schema import Label, Split

N, G, U = Label.NORMAL, Label.GLAUCOMA, Label.UNKNOWN
TRAIN, VAL, TEST = Split.TRAIN, Split.VAL, Split.TEST


def split(
    labels: list[Label],
    groups: list[str] | None = None,
    given: list[Split | None] | None = None,
    **settings: object,
) -> Splits:
    ids = [f"i{n:03d}" for n in range(len(labels))]
    return assign(ids, groups or ids, labels, given or [None] * len(ids), SplitSettings.model_validate(settings))


def test_each_label_gets_its_share_in_each_part() -> None:
    labels = [N] * 100 + [G] * 50
    counts = split(labels).counts(labels)
    assert {one: dict(counts[one]) for one in Split} == {
        TRAIN: {N: 60, G: 30},
        VAL: {N: 20, G: 10},
        TEST: {N: 20, G: 10},
    }


def test_the_seed_decides_and_nothing_else() -> None:
    labels = [N, G] * 30
    assert split(labels, seed=1) == split(labels, seed=1)
    assert split(labels, seed=1).of_image != split(labels, seed=2).of_image


def test_the_order_of_the_images_does_not_matter() -> None:
    ids, labels = [f"i{n}" for n in range(40)], [N, G] * 20
    forward = assign(ids, ids, labels, [None] * 40, SplitSettings())
    backward = assign(ids[::-1], ids[::-1], labels[::-1], [None] * 40, SplitSettings())
    assert dict(zip(ids, forward.of_image, strict=True)) == dict(zip(ids[::-1], backward.of_image, strict=True))


def test_a_share_of_nothing_makes_no_such_part() -> None:
    labels = [N] * 10 + [G] * 10
    assert Counter(split(labels, test_share=0).of_image) == {TRAIN: 16, VAL: 4}


def test_patients_with_two_labels_go_whole_and_every_class_is_still_everywhere() -> None:
    groups = [f"p{n // 2}" for n in range(20)]
    labels = [N, G] * 10
    splits = split(labels, groups)
    assert all(splits.of_image[n] == splits.of_image[n + 1] for n in range(0, 20, 2))
    assert all(splits.counts(labels)[part][label] for part in Split for label in (N, G))


def test_three_patients_of_each_class_are_enough_and_two_are_not() -> None:
    labels = [N] * 3 + [G] * 3
    assert Counter(split(labels).of_image) == {TRAIN: 2, VAL: 2, TEST: 2}
    with pytest.raises(DatasetError, match=r"too small to split by patient: .*glaucoma 2, normal 3.*at least 3"):
        split([N] * 3 + [G] * 2)


def test_many_photographs_of_few_patients_are_too_few() -> None:
    with pytest.raises(DatasetError, match="2 groups of photographs in all"):
        split([N] * 50 + [G] * 50, ["a"] * 50 + ["b"] * 50)


def test_rare_other_labels_are_no_reason_to_refuse() -> None:
    labels = [N] * 5 + [G] * 5 + [Label.SUSPECT]
    assert split(labels).of_image[-1] is TRAIN


def test_a_dataset_without_labels_is_split_all_the_same() -> None:
    assert Counter(split([U] * 10).of_image) == {TRAIN: 6, VAL: 2, TEST: 2}


def test_the_sources_splits_are_kept() -> None:
    given = [TRAIN, VAL, TEST] * 4
    assert list(split([N, N, N, G, G, G] * 2, given=list(given)).of_image) == given


def test_a_part_that_the_source_lacks_is_carved_out_of_its_training_part() -> None:
    labels = [N, G] * 20
    given: list[Split | None] = [TRAIN] * 30 + [TEST] * 10
    splits = split(labels, given=given)
    assert splits.of_image[30:] == (TEST,) * 10
    assert Counter(splits.of_image[:30]) == {TRAIN: 24, VAL: 6}


def test_images_without_a_given_split_follow_their_group_or_train() -> None:
    groups = ["a", "a", *"bcdefg"]
    given = [TEST, None, TEST, VAL, VAL, TRAIN, None, TRAIN]
    labels = [N, N, G, N, G, N, G, G]
    assert split(labels, groups, given).of_image == (TEST, TEST, TEST, VAL, VAL, TRAIN, TRAIN, TRAIN)


def test_given_splits_are_dropped_when_the_settings_say_so() -> None:
    labels = [N, G] * 15
    given: list[Split | None] = [TRAIN] * 30
    assert split(labels, given=given, keep_given=False) == split(labels)


def test_given_splits_that_cut_a_patient_are_refused_by_name() -> None:
    with pytest.raises(LeakageError, match=r"1 patients.*p: i000 in train, i001 in test.*keep_given to false"):
        split([N, N, G], ["p", "p", "q"], [TRAIN, TEST, VAL])


def test_given_splits_without_training_are_refused() -> None:
    with pytest.raises(DatasetError, match="nothing to train on"):
        split([N, G], given=[TEST, TEST])


def test_a_given_part_without_any_labels_is_accepted_and_one_with_one_class_is_not() -> None:
    given: list[Split | None] = [TRAIN, TRAIN, VAL, VAL, TEST]
    assert split([N, G, N, G, U], given=list(given)).of_image == tuple(given)
    with pytest.raises(DatasetError, match="no glaucoma in test"):
        split([N, G, N, G, N], given=list(given))


def test_splits_that_cut_a_group_cannot_be_made() -> None:
    with pytest.raises(LeakageError, match=r"12 patients.*and 2 more"):
        Splits(
            tuple(f"i{n}" for n in range(24)),
            tuple(f"g{n // 2}" for n in range(24)),
            (TRAIN, TEST) * 12,
        )
    with pytest.raises(DatasetError, match="as many of each"):
        Splits(("a",), ("a", "b"), (TRAIN,))


def test_shares_that_leave_nothing_to_train_on_are_refused() -> None:
    with pytest.raises(ValidationError, match="leave too little for training"):
        SplitSettings(val_share=0.5, test_share=0.5)
