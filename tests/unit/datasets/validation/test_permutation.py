from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from glaucoma.datasets.permutation import Shuffles, holm, share_as_large, unit_codes


def shuffles(n_first: int, n_second: int, permutations: int = 199, seed: int = 0) -> Shuffles:
    side = np.arange(n_first + n_second) < n_first
    return Shuffles(side, np.arange(n_first + n_second), permutations=permutations, seed=seed)


values = st.lists(st.integers(-5, 5).map(float), min_size=2, max_size=25)


@settings(deadline=None)
@given(values, values)
def test_d_distance_and_auc_equal_scipy_s_ties_or_not(first: list[float], second: list[float]) -> None:
    found = shuffles(len(first), len(second), permutations=3).numbers(np.array([*first, *second]))
    assert found.ks == pytest.approx(stats.ks_2samp(first, second, method="asymp").statistic, abs=1e-9)
    u = stats.mannwhitneyu(first, second).statistic
    assert found.auc == pytest.approx(u / (len(first) * len(second)), abs=1e-9)
    within = np.sqrt((np.var(first) + np.var(second)) / 2)
    spread = within if within > 1e-6 else np.std([*first, *second]) or 1.0
    expected = stats.wasserstein_distance(first, second) / spread
    assert found.distance_sd == pytest.approx(expected, abs=1e-9)


def test_the_p_value_of_d_is_near_scipy_s_for_independent_values() -> None:
    for shift in (0.0, 0.3, 0.5):
        rng = np.random.default_rng(11)
        first, second = rng.normal(0, 1, 80), rng.normal(shift, 1, 120)
        found = shuffles(80, 120, permutations=1999).numbers(np.concatenate([first, second]))
        assert found.ks_p == pytest.approx(stats.ks_2samp(first, second).pvalue, rel=0.35, abs=0.02)
        assert found.auc_p == pytest.approx(stats.mannwhitneyu(first, second).pvalue, rel=0.35, abs=0.02)


def test_the_unit_of_measurement_and_its_zero_change_nothing() -> None:
    rng = np.random.default_rng(2)
    numbers = np.concatenate([rng.gamma(2, 1, 40), rng.gamma(2, 1.5, 50)])
    plain, other = (shuffles(40, 50).numbers(one) for one in (numbers, 1000 * numbers - 7))
    for name in ("distance_sd", "ks", "auc", "ks_p", "auc_p"):
        assert getattr(other, name) == pytest.approx(getattr(plain, name), abs=1e-9)
    assert other.null_distance_sd == pytest.approx(plain.null_distance_sd)


def test_swapping_the_groups_mirrors_the_auc_and_leaves_the_distance() -> None:
    rng = np.random.default_rng(3)
    first, second = rng.normal(0, 1, 30), rng.normal(1, 1, 30)
    one = shuffles(30, 30).numbers(np.concatenate([first, second]))
    two = shuffles(30, 30).numbers(np.concatenate([second, first]))
    assert (two.distance_sd, two.ks, two.auc) == pytest.approx((one.distance_sd, one.ks, 1 - one.auc))


def test_two_different_constants_lie_apart_and_equal_ones_do_not() -> None:
    apart = shuffles(20, 20).numbers(np.repeat([500.0, 512.0], 20))
    assert apart.ks == 1
    assert 1 < apart.distance_sd < np.inf
    same = shuffles(20, 20).numbers(np.full(40, 3.0))
    assert (same.distance_sd, same.ks, same.auc, same.ks_p) == (0, 0, 0.5, 1)


def test_what_is_missing_is_left_out() -> None:
    rng = np.random.default_rng(4)
    numbers = rng.normal(0, 1, 60)
    holes = np.concatenate([numbers[:30], [np.nan] * 5, numbers[30:], [np.nan] * 5])
    side = np.r_[np.ones(35, bool), np.zeros(35, bool)]
    found = Shuffles(side, np.arange(70), permutations=99, seed=0).numbers(holes)
    assert found.ks == pytest.approx(shuffles(30, 30).numbers(numbers).ks)


def test_photographs_of_one_patient_are_shuffled_together() -> None:
    """Ten patients a side with twenty equal photographs each are twenty observations, not four hundred."""
    alarms = {"patients": 0, "photographs": 0}
    for seed in range(40):
        per_patient = np.random.default_rng(seed).normal(0, 1, 20)
        numbers, side = np.repeat(per_patient, 20), np.arange(400) < 200
        units = np.repeat(np.arange(20), 20)
        for name, codes in (("patients", units), ("photographs", np.arange(400))):
            alarms[name] += Shuffles(side, codes, permutations=199, seed=seed).numbers(numbers).ks_p <= 0.05
    assert alarms["patients"] <= 6
    assert alarms["photographs"] >= 25


def test_a_group_on_both_sides_is_two_units() -> None:
    codes = unit_codes(["a", "a", "b", "a"], np.array([True, True, False, False]))
    assert codes.tolist() == [0, 0, 1, 2]


def test_counts_of_words_add_up_in_every_shuffle() -> None:
    first, second = shuffles(6, 4, permutations=50).words(["x", "x", "y", "y", "y", "y", "x", "x", "x", "z"])
    assert first[0].tolist() == [2, 4, 0]
    assert second[0].tolist() == [3, 0, 1]
    assert (first + second == [5, 4, 1]).all()
    assert (first.sum(axis=1) == 6).all()


def test_blocks_give_the_same_as_one_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = np.random.default_rng(0).normal(0, 1, 50)
    whole = shuffles(20, 30).numbers(numbers)
    monkeypatch.setattr("glaucoma.datasets.permutation._BLOCK_CELLS", 50 * 7)
    assert (shuffles(20, 30).numbers(numbers).null_ks == whole.null_ks).all()


def test_a_p_value_is_never_nought() -> None:
    assert share_as_large(5.0, np.zeros(99)) == 0.01
    assert share_as_large(0.0, np.zeros(99)) == 1.0


def test_holm_s_correction_equals_the_textbook_s_example() -> None:
    corrected = holm(np.array([0.01, 0.04, 0.03, 0.005]))
    assert corrected == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm(np.array([])).size == 0
