from __future__ import annotations

from collections import Counter

import pytest
from pydantic import ValidationError

from glaucoma.datasets.links import Link, Rung
from glaucoma.datasets.split_settings import SplitSettings
from glaucoma.datasets.splits import Splits, assign
from glaucoma.errors import DatasetError, LeakageError, SettingsError
from glaucoma.schema import Label, Split

N, G, U = Label.NORMAL, Label.GLAUCOMA, Label.UNKNOWN
TRAIN, VAL, TEST = Split.TRAIN, Split.VAL, Split.TEST


def split(
    labels: list[Label],
    groups: list[str] | None = None,
    given: list[Split | None] | None = None,
    *,
    sites: list[str] | None = None,
    links: list[Link] | None = None,
    **settings: object,
) -> Splits:
    ids = [f"i{n:03d}" for n in range(len(labels))]
    chosen = SplitSettings.model_validate(settings)
    return assign(ids, groups or ids, labels, given or [None] * len(ids), chosen, sites=sites, links=links or ())


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


def shares_of_sites(splits: Splits, sites: list[str], part: Split) -> dict[str, int]:
    return dict(Counter(site for site, one in zip(sites, splits.of_image, strict=True) if one is part))


def test_each_part_has_each_site_in_its_share_and_each_label_too() -> None:
    labels = ([N] * 20 + [G] * 10) * 3
    sites = ["zeiss"] * 30 + ["canon"] * 30 + ["topcon"] * 30
    for seed in range(5):
        splits = split(labels, sites=sites, seed=seed)
        assert shares_of_sites(splits, sites, TEST) == {"zeiss": 6, "canon": 6, "topcon": 6}
        assert shares_of_sites(splits, sites, VAL) == {"zeiss": 6, "canon": 6, "topcon": 6}
        assert splits.counts(labels)[TEST] == {N: 12, G: 6}


def test_sites_too_small_to_share_out_leave_the_labels_shares_as_they_are() -> None:
    labels = [N, G] * 30
    sites = [f"camera {n // 2}" for n in range(60)]
    assert {one: dict(split(labels, sites=sites).counts(labels)[one]) for one in Split} == {
        TRAIN: {N: 18, G: 18},
        VAL: {N: 6, G: 6},
        TEST: {N: 6, G: 6},
    }


def test_without_by_site_sites_do_not_count() -> None:
    labels = [N, G] * 30
    sites = ["a"] * 20 + ["b"] * 40
    assert split(labels, sites=sites, by_site=False) == split(labels)
    assert split(labels, sites=sites) != split(labels)


def test_folds_are_each_the_test_once_and_the_same_whichever_is_asked_for() -> None:
    labels = [N] * 40 + [G] * 20
    groups = [f"p{n // 2:02d}" for n in range(60)]
    made = [split(labels, groups, scheme="k_fold", folds=4, fold=fold, seed=3) for fold in range(4)]
    assert len({one.folds for one in made}) == 1
    for fold, one in enumerate(made):
        tested = {place for place, part in enumerate(one.of_image) if part is TEST}
        assert tested == {place for place, of in enumerate(one.folds) if of == fold}
        assert one.counts(labels)[TEST] == {N: 10, G: 5} or one.counts(labels)[TEST].total() in (14, 16)
        assert all(one.counts(labels)[part][label] for part in Split for label in (N, G))
    assert split(labels, groups).folds == ()


def test_folds_share_out_each_site() -> None:
    labels, sites = [N, G] * 30, ["a"] * 24 + ["b"] * 36
    splits = split(labels, sites=sites, scheme="k_fold", folds=3)
    for fold in range(3):
        here = Counter((label, site) for label, site, of in zip(labels, sites, splits.folds, strict=True) if of == fold)
        assert here == {(N, "a"): 4, (G, "a"): 4, (N, "b"): 6, (G, "b"): 6}


def test_folds_drop_the_sources_splits_and_validation_is_carved_out_of_the_rest() -> None:
    labels = [N, G] * 20
    splits = split(labels, given=[TRAIN] * 20 + [TEST] * 20, scheme="k_fold", folds=4, val_share=0.2)
    assert Counter(splits.of_image) == {TRAIN: 24, VAL: 6, TEST: 10}
    assert Counter(split(labels, scheme="k_fold", folds=4, val_share=0).of_image) == {TRAIN: 30, TEST: 10}


def test_too_few_patients_for_the_folds_are_refused_with_the_numbers() -> None:
    with pytest.raises(DatasetError, match=r"too small for 5 folds.*glaucoma 4, normal 20.*at least 5.*fewer folds"):
        split([N] * 20 + [G] * 4, scheme="k_fold", folds=5)


def test_the_held_out_site_is_the_test_and_nothing_else_is() -> None:
    labels, sites = [N, G] * 30, ["a", "a", "b", "b", "c", "c"] * 10
    splits = split(labels, sites=sites, scheme="leave_one_site_out", held_out_site="b")
    assert [part is TEST for part in splits.of_image] == [site == "b" for site in sites]
    assert shares_of_sites(splits, sites, VAL) == {"a": 4, "c": 4}
    assert splits.folds == ()


def test_a_patient_seen_at_the_held_out_site_goes_there_whole() -> None:
    labels, sites = [N, G] * 10, ["a"] * 14 + ["b"] * 6
    groups = [f"p{n}" for n in range(20)]
    groups[0] = groups[19]
    splits = split(labels, groups, sites=sites, scheme="leave_one_site_out", held_out_site="b")
    assert [n for n, part in enumerate(splits.of_image) if part is TEST] == [0, *range(14, 20)]


@pytest.mark.parametrize(
    ("asked", "said"),
    [("", "No site is named to be held out"), ("zeis", "No site is called 'zeis'"), ("zeiss ", "No site is called")],
)
def test_a_site_that_is_none_is_refused_and_the_sites_are_listed(asked: str, said: str) -> None:
    with pytest.raises(SettingsError, match=rf"{said}.*'canon' \(6 images\), 'zeiss' \(3 images\); 1 images name none"):
        split(
            [N, G] * 5,
            sites=["canon"] * 6 + ["zeiss"] * 3 + [""],
            scheme="leave_one_site_out",
            held_out_site=asked,
        )


def test_a_site_of_one_class_and_the_only_site_cannot_be_held_out() -> None:
    sites = ["a"] * 6 + ["b"] * 2
    with pytest.raises(DatasetError, match=r"no glaucoma in test.*hold out another site"):
        split([N, G] * 3 + [N, N], sites=sites, scheme="leave_one_site_out", held_out_site="b")
    with pytest.raises(SettingsError, match="There is no site but 'a'"):
        split([N, G] * 5, sites=["a"] * 10, scheme="leave_one_site_out", held_out_site="a")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"folds": 4}, "folds 4 has no effect with scheme hold_out"),
        ({"fold": 1}, "it belongs to k_fold"),
        ({"held_out_site": "a"}, "it belongs to leave_one_site_out"),
        ({"scheme": "k_fold", "test_share": 0.1}, "test_share 0.1 has no effect with scheme k_fold"),
        ({"scheme": "k_fold", "folds": 3, "fold": 3}, "fold 3 is none of 3 folds: they are 0 to 2"),
        ({"scheme": "k_fold", "folds": 1}, "greater than or equal to 2"),
        ({"scheme": "leave_one_site_out", "fold": 2}, "fold 2 has no effect"),
    ],
)
def test_settings_that_would_have_no_effect_are_refused(settings: dict[str, object], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        SplitSettings.model_validate(settings)


def test_a_leak_names_the_pairs_with_what_links_them() -> None:
    links = [
        Link("i000", "i001", Rung.LOOKS, 7, mirrored=True),
        Link("i002", "i003", Rung.BYTES),
        Link("i003", "i004", Rung.PATIENT),
    ]
    with pytest.raises(LeakageError) as caught:
        split(
            [N, N, G, G, G, N],
            ["p", "p", "q", "q", "q", "r"],
            [TRAIN, TEST, VAL, None, TRAIN, TRAIN],
            links=links,
        )
    said = str(caught.value)
    assert "2 patients or groups" in said
    assert "2 pairs of photographs" in said
    assert "i000 in train and i001 in test (they look the same, 7 of 256 bits apart, mirrored)" in said
    assert "i002 in val and i004 in train (the same bytes, to i003; the same patient)" in said


def test_folds_that_cut_a_group_cannot_be_made() -> None:
    with pytest.raises(LeakageError, match="g: a in 0, b in 1"):
        Splits(("a", "b"), ("g", "g"), (TRAIN, TRAIN), (0, 1))
