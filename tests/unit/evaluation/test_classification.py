from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
from sklearn import metrics as sk
from sklearn.linear_model import LogisticRegression

from glaucoma.evaluation.classification import (
    auc_score,
    average_precision_score,
    calibration,
    checked,
    confusion,
    roc_curve,
    sensitivity_at_specificity,
)


def cases() -> list[tuple[np.ndarray, np.ndarray]]:
    rng = np.random.default_rng(3)
    found = []
    for n, decimals in ((7, 1), (50, 1), (50, 6), (400, 2), (400, 9)):
        labels = np.concatenate([[0, 1], rng.integers(0, 2, n - 2)])
        scores = np.clip(rng.normal(0.45 + 0.12 * labels, 0.15), 0, 1).round(decimals)
        found.append((labels, scores))
    return found


@pytest.mark.parametrize(("labels", "scores"), cases())
def test_the_auc_and_average_precision_are_those_of_scikit_learn(labels: np.ndarray, scores: np.ndarray) -> None:
    assert auc_score(labels, scores) == pytest.approx(sk.roc_auc_score(labels, scores), abs=1e-12)
    assert average_precision_score(labels, scores) == pytest.approx(
        sk.average_precision_score(labels, scores), abs=1e-12
    )


@pytest.mark.parametrize(("labels", "scores"), cases())
def test_the_curve_is_that_of_scikit_learn(labels: np.ndarray, scores: np.ndarray) -> None:
    false, true, thresholds = sk.roc_curve(labels, scores, drop_intermediate=False)
    curve = roc_curve(labels, scores)
    np.testing.assert_allclose(curve.false_positive_rate, false, atol=1e-12)
    np.testing.assert_allclose(curve.sensitivity, true, atol=1e-12)
    np.testing.assert_array_equal(curve.thresholds, thresholds)


@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.5, 0.7, 1.1])
@pytest.mark.parametrize(("labels", "scores"), cases())
def test_what_follows_from_a_threshold_is_what_scikit_learn_says(
    labels: np.ndarray, scores: np.ndarray, threshold: float
) -> None:
    called = scores >= threshold
    counts = confusion(labels, scores, threshold)
    nan = float("nan")
    expected = {
        "sensitivity": sk.recall_score(labels, called, zero_division=nan),
        "specificity": sk.recall_score(labels, called, pos_label=0, zero_division=nan),
        "accuracy": sk.accuracy_score(labels, called),
        "precision": sk.precision_score(labels, called, zero_division=nan),
        "negative_predictive_value": sk.precision_score(labels, called, pos_label=0, zero_division=nan),
        "f1": sk.f1_score(labels, called, zero_division=nan),
    }
    for name, value in expected.items():
        assert getattr(counts, name) == pytest.approx(value, nan_ok=True), name


@pytest.mark.parametrize(("labels", "scores"), cases())
def test_torchmetrics_gives_the_same_auc_and_shares(labels: np.ndarray, scores: np.ndarray) -> None:
    import torch
    from torchmetrics.functional.classification import binary_auroc, binary_f1_score, binary_specificity

    guess, truth = torch.from_numpy(scores), torch.from_numpy(labels)
    assert auc_score(labels, scores) == pytest.approx(float(binary_auroc(guess, truth)), abs=1e-6)
    counts = confusion(labels, scores, np.nextafter(0.5, 1))  # torchmetrics calls from above 0.5
    assert counts.specificity == pytest.approx(float(binary_specificity(guess, truth)), abs=1e-6)
    assert counts.f1 == pytest.approx(float(binary_f1_score(guess, truth)), abs=1e-6)


@pytest.mark.parametrize("specificity", [0.5, 0.85, 0.95, 1.0])
@pytest.mark.parametrize(("labels", "scores"), cases())
def test_sensitivity_at_a_specificity_is_the_best_point_of_the_curve(
    labels: np.ndarray, scores: np.ndarray, specificity: float
) -> None:
    false, true, _ = sk.roc_curve(labels, scores, drop_intermediate=False)
    best = max(t for f, t in zip(false, true, strict=True) if 1 - f >= specificity - 1e-12)
    assert sensitivity_at_specificity(labels, scores, specificity) == pytest.approx(best)


def test_one_class_leaves_the_auc_undefined() -> None:
    for label in (0, 1):
        assert math.isnan(auc_score([label] * 3, [0.1, 0.5, 0.9]))
        assert math.isnan(sensitivity_at_specificity([label] * 3, [0.1, 0.5, 0.9], 0.9))
    assert math.isnan(average_precision_score([0, 0], [0.1, 0.2]))
    assert math.isnan(auc_score([], []))


def test_a_share_without_a_denominator_is_undefined_and_not_zero() -> None:
    counts = confusion([0, 0], [0.1, 0.2], 0.5)
    assert math.isnan(counts.sensitivity)
    assert math.isnan(counts.precision)
    assert math.isnan(counts.f1)
    assert counts.specificity == 1.0


def test_scores_that_are_nan_and_labels_that_are_no_labels_are_refused() -> None:
    with pytest.raises(ValueError, match="1 scores are NaN"):
        checked([0, 1], [0.5, float("nan")])
    with pytest.raises(ValueError, match="0 or 1"):
        checked([0, 2], [0.5, 0.5])
    with pytest.raises(ValueError, match="2 labels for 3 scores"):
        checked([0, 1], [0.1, 0.2, 0.3])


def test_brier_is_that_of_scikit_learn_and_the_refit_that_of_an_unpenalised_logistic_regression() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, 500)
    labels = (rng.random(500) < 1 / (1 + np.exp(-(0.6 * logits - 0.3)))).astype(int)
    probabilities = 1 / (1 + np.exp(-logits))
    found = calibration(labels, probabilities)
    assert found.brier_error == pytest.approx(sk.brier_score_loss(labels, probabilities))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        reference = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000).fit(logits[:, None], labels)
    assert found.slope == pytest.approx(float(reference.coef_[0, 0]), abs=1e-4)
    assert found.intercept == pytest.approx(float(reference.intercept_[0]), abs=1e-4)


def test_the_calibration_error_is_the_written_out_sum_over_bins_of_equal_mass() -> None:
    rng = np.random.default_rng(1)
    probabilities = rng.random(157)
    labels = (rng.random(157) < probabilities**2).astype(int)
    order = np.argsort(probabilities)
    expected = 0.0
    for part in np.array_split(order, 15):
        expected += len(part) / 157 * abs(probabilities[part].mean() - labels[part].mean())
    found = calibration(labels, probabilities, 15)
    assert found.expected_error == pytest.approx(expected)
    assert sum(n for *_, n in found.bins) == 157


def test_separated_classes_have_no_finite_calibration_slope() -> None:
    found = calibration([0, 0, 1, 1], [0.1, 0.2, 0.8, 0.9])
    assert math.isnan(found.slope)
    assert math.isnan(found.intercept)
    assert found.brier_error == pytest.approx(0.025)


def test_a_calibrated_model_has_slope_one_and_intercept_zero() -> None:
    rng = np.random.default_rng(5)
    probabilities = rng.uniform(0.02, 0.98, 60_000)
    labels = (rng.random(60_000) < probabilities).astype(int)
    found = calibration(labels, probabilities)
    assert found.slope == pytest.approx(1, abs=0.03)
    assert found.intercept == pytest.approx(0, abs=0.03)
    assert found.expected_error < 0.01
