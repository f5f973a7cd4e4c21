from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from glaucoma.evaluation.classification import auc_score, average_precision_score, sensitivity_at_specificity
from glaucoma.evaluation.delong import delong_comparison, delong_variance
from glaucoma.evaluation.intervals import (
    bootstrap_interval,
    group_weights,
    newcombe_auc_interval,
    share_interval,
    wilson_interval,
)
from glaucoma.evaluation.statistics import (
    weighted_auc,
    weighted_average_precision,
    weighted_mean,
    weighted_ratio,
    weighted_sensitivity_at,
)


def sample(n: int = 60, seed: int = 0, decimals: int = 2) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = (rng.random(n) < 0.4).astype(int)
    return labels, rng.normal(labels, 1.0).round(decimals)


def test_a_weighted_statistic_is_the_plain_one_on_repeated_images() -> None:
    labels, scores = sample(decimals=1)
    weights = np.random.default_rng(1).integers(0, 4, size=(20, labels.size)).astype(float)
    functions = {
        weighted_auc(labels, scores): auc_score,
        weighted_average_precision(labels, scores): average_precision_score,
        weighted_sensitivity_at(labels, scores, 0.8): lambda a, b: sensitivity_at_specificity(a, b, 0.8),
    }
    for statistic, plain in functions.items():
        for row, value in zip(weights.astype(int), statistic(weights), strict=True):
            assert value == pytest.approx(plain(np.repeat(labels, row), np.repeat(scores, row)), abs=1e-12)


def test_weighted_means_and_ratios_leave_out_what_is_undefined() -> None:
    weights = np.array([[1.0, 1, 1], [0, 2, 1], [0, 3, 0]])
    np.testing.assert_allclose(weighted_mean([1.0, np.nan, 4.0])(weights), [2.5, 4.0, np.nan])
    np.testing.assert_allclose(weighted_ratio([1, 0, 1], [1, 0, 2])(weights), [2 / 3, 0.5, np.nan])


def test_a_replicate_without_a_class_is_undefined() -> None:
    assert np.isnan(weighted_auc([0, 1], [0.1, 0.9])(np.array([[2.0, 0.0]])))[0]


def test_whole_groups_are_drawn_and_as_many_as_there_are() -> None:
    groups = np.array([0, 0, 1, 2, 2, 2])
    weights = np.concatenate(list(group_weights(groups, 3, 500, seed=4)))
    assert weights.shape == (500, 6)
    assert (weights[:, 0] == weights[:, 1]).all()
    assert (weights[:, 3] == weights[:, 5]).all()
    assert (weights[:, [0, 2, 3]].sum(axis=1) == 3).all()
    assert weights[:, [0, 2, 3]].mean(axis=0) == pytest.approx([1, 1, 1], abs=0.1)


def test_the_interval_is_scipys_bca_up_to_the_noise_of_the_replicates() -> None:
    values = np.random.default_rng(2).exponential(size=80)
    ours = bootstrap_interval(weighted_mean(values), np.arange(80), replicates=20_000, seed=1)
    theirs = stats.bootstrap(
        (values,), np.mean, n_resamples=20_000, method="BCa", rng=np.random.default_rng(3)
    ).confidence_interval
    assert ours.low == pytest.approx(theirs.low, abs=0.01)
    assert ours.high == pytest.approx(theirs.high, abs=0.01)


def test_without_clusters_the_bootstrap_of_an_auc_agrees_with_delong() -> None:
    labels, scores = sample(300, seed=5, decimals=8)
    auc, variance = delong_variance(labels, scores)
    interval = bootstrap_interval(weighted_auc(labels, scores), np.arange(300), replicates=4000)
    assert interval.low == pytest.approx(auc - 1.96 * math.sqrt(variance), abs=0.012)
    assert interval.high == pytest.approx(auc + 1.96 * math.sqrt(variance), abs=0.012)


def test_two_equal_eyes_of_a_patient_make_the_interval_no_narrower() -> None:
    values = np.random.default_rng(6).normal(size=50)
    one = bootstrap_interval(weighted_mean(values), np.arange(50), seed=2)
    both = bootstrap_interval(weighted_mean(np.repeat(values, 2)), np.repeat(np.arange(50), 2), seed=2)
    assert (both.low, both.high) == pytest.approx((one.low, one.high))


def test_a_seed_gives_the_same_interval_again() -> None:
    labels, scores = sample()
    runs = [bootstrap_interval(weighted_auc(labels, scores), np.arange(60), seed=s) for s in (7, 7, 8)]
    assert runs[0] == runs[1]
    assert runs[0] != runs[2]


def test_about_95_of_100_intervals_hold_the_truth() -> None:
    rng = np.random.default_rng(0)
    held = 0
    for run in range(200):
        patients = rng.normal(size=40)
        values = np.repeat(patients, 2) + rng.normal(0, 0.3, 80)
        found = bootstrap_interval(weighted_mean(values), np.repeat(np.arange(40), 2), replicates=400, seed=run)
        held += found.low <= 0 <= found.high
    assert 180 <= held <= 198


def test_where_a_bootstrap_can_say_nothing_it_says_why() -> None:
    labels, scores = np.array([0, 0, 1, 1]), np.array([0.1, 0.2, 0.8, 0.9])
    perfect = bootstrap_interval(weighted_mean([1.0, 1, 1, 1]), np.arange(4))
    assert perfect.reason == "all replicates give the same value"
    rare = bootstrap_interval(weighted_auc(labels, scores), np.arange(4))
    assert rare.reason is not None
    assert "leave the value undefined" in rare.reason
    alone = bootstrap_interval(weighted_mean([0.2, 0.4]), ["p", "p"])
    assert alone.reason is not None
    assert math.isnan(alone.low)


@pytest.mark.parametrize(("k", "n"), [(0, 10), (10, 10), (3, 17), (45, 50)])
@pytest.mark.parametrize("confidence", [0.9, 0.95])
def test_wilson_is_that_of_scipy(k: int, n: int, confidence: float) -> None:
    theirs = stats.binomtest(k, n).proportion_ci(confidence, method="wilson")
    ours = wilson_interval(k, n, confidence)
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=1e-12)


def test_a_share_of_independent_images_has_nearly_wilsons_interval_and_of_pairs_a_wider_one() -> None:
    hits = np.random.default_rng(1).random(100) < 0.8
    alone, plain = share_interval(hits, np.arange(100)), wilson_interval(hits.sum(), 100)
    assert (alone.low, alone.high) == pytest.approx((plain.low, plain.high), abs=1e-3)
    pairs = share_interval(np.repeat(hits, 2), np.repeat(np.arange(100), 2))
    assert (pairs.low, pairs.high) == pytest.approx((alone.low, alone.high), abs=1e-3)


def test_all_right_counts_each_group_once() -> None:
    found = share_interval(np.ones(20), np.repeat(np.arange(10), 2))
    plain = wilson_interval(10, 10)
    assert (found.low, found.high) == (plain.low, plain.high)
    assert found.low < 0.75
    assert math.isnan(share_interval([], []).low)


def test_a_perfect_auc_still_has_a_lower_end_that_rises_with_the_number_of_images() -> None:
    small, large = newcombe_auc_interval(1.0, 8, 12), newcombe_auc_interval(1.0, 80, 120)
    assert small.high == large.high == 1.0
    assert 0.6 < small.low < large.low < 1.0
    mirrored = newcombe_auc_interval(0.0, 8, 12)
    assert mirrored.high == pytest.approx(1 - small.low, abs=1e-9)


def test_newcombes_ends_solve_his_equation() -> None:
    found = newcombe_auc_interval(0.85, 30, 50)
    for end in (found.low, found.high):
        mean = (30 + 50) / 2 - 1
        variance = end * (1 - end) * (1 + mean * (1 - end) / (2 - end) + mean * end / (1 + end)) / (30 * 50)
        assert abs(0.85 - end) == pytest.approx(1.959963985 * math.sqrt(variance), abs=1e-8)
    assert found.low < 0.85 < found.high


def written_out_delong(labels: np.ndarray, first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """DeLong 1988, equations 4 to 6, by the kernel over all pairs."""
    aucs, tens, ones = [], [], []
    for scores in (first, second):
        x, y = scores[labels == 1][:, None], scores[labels == 0][None, :]
        kernel = (x > y) + 0.5 * (x == y)
        aucs.append(kernel.mean())
        tens.append(kernel.mean(axis=1))
        ones.append(kernel.mean(axis=0))
    m, n = (labels == 1).sum(), (labels == 0).sum()
    return np.array(aucs), np.cov(np.array(tens)) / m + np.cov(np.array(ones)) / n


@pytest.mark.parametrize("decimals", [1, 8])
def test_delong_is_the_formula_over_all_pairs(decimals: int) -> None:
    labels, first = sample(70, seed=1, decimals=decimals)
    second = sample(70, seed=2, decimals=decimals)[1] + 0.5 * first
    aucs, covariance = written_out_delong(labels, first, second)
    assert delong_variance(labels, first) == pytest.approx((aucs[0], covariance[0, 0]))
    found = delong_comparison(labels, first, second)
    error = math.sqrt(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    assert found.difference == pytest.approx(aucs[0] - aucs[1])
    assert found.z == pytest.approx((aucs[0] - aucs[1]) / error)
    assert found.p == pytest.approx(2 * stats.norm.sf(abs(found.z)))
    assert found.high - found.low == pytest.approx(2 * stats.norm.ppf(0.975) * error)


def test_delong_of_a_score_against_itself_has_no_test() -> None:
    labels, scores = sample()
    found = delong_comparison(labels, scores, scores)
    assert found.difference == 0
    assert math.isnan(found.p)
    assert math.isnan(delong_variance([0, 0], [0.1, 0.2])[0])
