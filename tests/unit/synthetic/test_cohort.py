from __future__ import annotations

from collections import Counter, defaultdict
from itertools import combinations

import imagehash
import numpy as np
import pytest
from PIL import Image

from glaucoma.schema import Eye, Label, Split
from glaucoma.synthetic.cohort import DECISION_CDR, Sitting, draw_nerve, plan_cohort, take_photograph
from glaucoma.synthetic.settings import SyntheticLayout, SyntheticSettings


def by_patient(sittings: list[Sitting]) -> dict[int, list[Sitting]]:
    grouped = defaultdict(list)
    for sitting in sittings:
        grouped[sitting.patient].append(sitting)
    return grouped


def test_each_patient_has_two_eyes_one_site_and_one_split() -> None:
    settings = SyntheticSettings(patients=40, layout=SyntheticLayout.REFUGE)
    for sittings in by_patient(plan_cohort(settings)).values():
        assert [s.eye for s in sittings] == [Eye.OD, Eye.OS]
        assert len({s.site for s in sittings}) == 1
        assert len({s.split for s in sittings}) == 1


def test_labels_come_in_the_asked_shares_and_a_few_patients_differ_between_eyes() -> None:
    patients = by_patient(plan_cohort(SyntheticSettings(patients=200, glaucoma_share=0.4, suspect_share=0.1)))
    worst = Counter(
        max((s.label for s in pair), key=lambda label: label is not Label.NORMAL) for pair in patients.values()
    )
    assert worst == {Label.GLAUCOMA: 80, Label.SUSPECT: 20, Label.NORMAL: 100}
    one_sided = sum(len({s.label for s in pair}) == 2 for pair in patients.values())
    assert 2 <= one_sided <= 30


def test_a_vertical_cdr_parts_normal_from_glaucoma_without_an_error() -> None:
    for sitting in plan_cohort(SyntheticSettings(patients=300)):
        assert (sitting.nerve.vertical_cdr > DECISION_CDR) == (sitting.label is Label.GLAUCOMA)


@pytest.mark.parametrize(("label", "mean"), [(Label.NORMAL, 0.42), (Label.SUSPECT, 0.58), (Label.GLAUCOMA, 0.72)])
def test_cdrs_lie_about_the_stated_mean(label: Label, mean: float) -> None:
    rng = np.random.default_rng(0)
    assert np.mean([draw_nerve(rng, label).vertical_cdr for _ in range(400)]) == pytest.approx(mean, abs=0.02)


def test_in_refuge_the_camera_changes_between_training_and_the_rest() -> None:
    sittings = plan_cohort(SyntheticSettings(patients=40, layout=SyntheticLayout.REFUGE))
    assert {(s.split is Split.TRAIN, s.site) for s in sittings} == {(True, 0), (False, 1)}


def test_every_split_has_both_classes() -> None:
    sittings = plan_cohort(SyntheticSettings(patients=20, layout=SyntheticLayout.REFUGE))
    assert len({(s.split, s.label) for s in sittings}) == 6


def test_the_site_does_not_tell_the_label() -> None:
    sittings = plan_cohort(SyntheticSettings(patients=2000))
    ill = [np.mean([s.label is Label.GLAUCOMA for s in sittings if s.site == site]) for site in (0, 1)]
    assert abs(ill[0] - ill[1]) < 0.06


def test_a_photograph_does_not_depend_on_the_others() -> None:
    few = SyntheticSettings(patients=3, photo_height_px=96)
    sitting = plan_cohort(few)[4]
    again = take_photograph(sitting, few.model_copy(update={"patients": 900}))
    np.testing.assert_array_equal(take_photograph(sitting, few).image, again.image)


def test_the_eyes_of_one_patient_are_two_photographs() -> None:
    settings = SyntheticSettings(patients=1, photo_height_px=96)
    right, left = (take_photograph(sitting, settings).image for sitting in plan_cohort(settings))
    assert (right[:, ::-1] != left).mean() > 0.3


def test_no_two_photographs_pass_for_one_and_the_same() -> None:
    """Photographs of one camera must differ enough that the search for duplicates does not join their patients."""
    settings = SyntheticSettings(patients=40, photo_height_px=128, sites=1)
    photographs = (take_photograph(sitting, settings).image for sitting in plan_cohort(settings))
    hashes = [imagehash.phash(Image.fromarray(image), hash_size=16) for image in photographs]
    assert min(one - other for one, other in combinations(hashes, 2)) > 16
