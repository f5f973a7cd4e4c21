"""From a classifier's predictions on a split to its metrics with intervals."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from glaucoma.evaluation.classification import (
    Calibration,
    Confusion,
    auc_score,
    average_precision_score,
    calibration,
    confusion,
    sensitivity_at_specificity,
)
from glaucoma.evaluation.intervals import (
    Interval,
    Statistic,
    bootstrap_interval,
    newcombe_auc_interval,
    no_interval,
    share_interval,
)
from glaucoma.evaluation.result import Metric, ThresholdChoice
from glaucoma.evaluation.settings import EvaluateSettings
from glaucoma.evaluation.statistics import (
    weighted_auc,
    weighted_average_precision,
    weighted_mean,
    weighted_ratio,
    weighted_sensitivity_at,
)

PRIMARY = "auc"
_SPECIFICITIES = (85, 95)


@dataclass(frozen=True)
class Scored:
    """Predictions with a number each, as arrays of one length."""

    labels: NDArray[np.int64]
    probabilities: NDArray[np.float64]
    groups: NDArray[Any]
    expected: dict[int, int]
    """Images of each label, 0 and 1, that should have a prediction."""

    @classmethod
    def from_frame(cls, frame: pd.DataFrame) -> Scored:
        """From columns label, probability, group; a probability that is no number is left out and counted."""
        known = frame[np.isfinite(frame["probability"].to_numpy(dtype=float))]
        return cls(
            labels=known["label"].to_numpy(dtype=np.int64),
            probabilities=known["probability"].to_numpy(dtype=np.float64),
            groups=known["group"].to_numpy(),
            expected={value: int((frame["label"] == value).sum()) for value in (0, 1)},
        )

    @property
    def total(self) -> int:
        return self.expected[0] + self.expected[1]

    @property
    def missing_reason(self) -> str | None:
        absent = self.total - self.labels.size
        return f"{absent} of {self.total} images have no finite value" if absent else None

    @property
    def class_reason(self) -> str | None:
        """Why a number that needs both classes cannot be had."""
        missing = [name for value, name in ((1, "glaucoma"), (0, "normal")) if not (self.labels == value).any()]
        return f"the split holds no {' and no '.join(missing)} image" if missing else None


def measure_classifier(
    scored: Scored, threshold: ThresholdChoice, settings: EvaluateSettings
) -> tuple[dict[str, Metric], Calibration]:
    """All metrics of a classifier on one split, and the calibration's bins."""
    labels, scores = scored.labels, scored.probabilities
    metrics = {PRIMARY: auc_metric(scored, settings)}
    if scored.class_reason:
        for name in ("average_precision", *(f"sensitivity_at_{s}_specificity" for s in _SPECIFICITIES)):
            metrics[name] = undefined(scored, scored.class_reason)
    else:
        metrics["average_precision"] = _bootstrapped(
            scored, average_precision_score(labels, scores), weighted_average_precision(labels, scores), settings
        )
        for percent in _SPECIFICITIES:
            metrics[f"sensitivity_at_{percent}_specificity"] = _bootstrapped(
                scored,
                sensitivity_at_specificity(labels, scores, percent / 100),
                weighted_sensitivity_at(labels, scores, percent / 100),
                settings,
            )
    metrics.update(threshold_metrics(scored, threshold, settings))
    fit = calibration(labels, scores, settings.calibration_bins)
    metrics.update(_calibration_metrics(scored, fit, settings))
    return metrics, fit


def auc_metric(scored: Scored, settings: EvaluateSettings) -> Metric:
    """The AUC; where the bootstrap sees no spread (all right or all wrong), Newcombe's interval over groups."""
    if scored.class_reason:
        return undefined(scored, scored.class_reason)
    labels, scores = scored.labels, scored.probabilities
    value = auc_score(labels, scores)
    interval = _bootstrap(weighted_auc(labels, scores), scored.groups, settings)
    if np.isnan(interval.low):
        positives, negatives = (np.unique(scored.groups[labels == c]).size for c in (1, 0))
        fallback = newcombe_auc_interval(value, positives, negatives, settings.confidence)
        interval = Interval(fallback.low, fallback.high, f"Newcombe by group, as in the bootstrap {interval.reason}")
    return metric(value, interval, labels.size, scored.total, scored.missing_reason)


def threshold_metrics(scored: Scored, threshold: ThresholdChoice, settings: EvaluateSettings) -> dict[str, Metric]:
    """What follows from calling images glaucoma from the threshold upwards."""
    names = (
        "sensitivity",
        "specificity",
        "accuracy",
        "balanced_accuracy",
        "precision",
        "negative_predictive_value",
        "f1",
    )
    if threshold.value is None:
        reason = f"no threshold could be chosen on {threshold.chosen_on}: {threshold.reason}"
        return {name: undefined(scored, reason) for name in names}
    truth, called = scored.labels == 1, scored.probabilities >= threshold.value
    counts = confusion(scored.labels, scored.probabilities, threshold.value)
    return {
        "sensitivity": _share(scored, called, truth, settings, 1),
        "specificity": _share(scored, ~called, ~truth, settings, 0),
        "accuracy": _share(scored, called == truth, np.ones_like(truth), settings),
        "balanced_accuracy": _balanced(scored, called == truth, counts, settings),
        "precision": _share(scored, truth, called, settings, what="image is called glaucoma"),
        "negative_predictive_value": _share(scored, ~truth, ~called, settings, what="image is called normal"),
        "f1": _f1(scored, called, counts, settings),
    }


def by_site(
    frame: pd.DataFrame, threshold: ThresholdChoice, settings: EvaluateSettings
) -> dict[str, dict[str, Metric]]:
    """AUC, sensitivity and specificity per site; empty where there are fewer than two sites."""
    sites = sorted(set(frame["site"]) - {""})
    found: dict[str, dict[str, Metric]] = {}
    for site in sites if len(sites) > 1 else []:
        scored = Scored.from_frame(frame[frame["site"] == site])
        counts = [int((scored.labels == value).sum()) for value in (1, 0)]
        if min(counts) < settings.min_positives:
            reason = (
                f"insufficient: {counts[0]} glaucoma and {counts[1]} normal photographs, "
                f"{settings.min_positives} of each needed"
            )
            found[site] = {name: undefined(scored, reason) for name in (PRIMARY, "sensitivity", "specificity")}
        else:
            shares = threshold_metrics(scored, threshold, settings)
            found[site] = {
                PRIMARY: auc_metric(scored, settings),
                "sensitivity": shares["sensitivity"],
                "specificity": shares["specificity"],
            }
    return found


def metric(value: float, interval: Interval, n: int, expected: int, reason: str | None = None) -> Metric:
    """A metric from numbers that may be NaN, which become None with their reasons."""
    if np.isnan(value):
        return Metric(value=None, n=n, n_expected=expected, reason=reason or interval.reason or "undefined")
    missing = np.isnan(interval.low) or np.isnan(interval.high)
    why = "; ".join(filter(None, [reason, f"no interval: {interval.reason}" if missing and interval.reason else None]))
    return Metric(
        value=float(value),
        low=None if missing else interval.low,
        high=None if missing else interval.high,
        n=n,
        n_expected=expected,
        method=None if missing else interval.method,
        reason=why or None,
    )


def undefined(scored: Scored, reason: str) -> Metric:
    """A metric that has no value."""
    return Metric(value=None, n=0, n_expected=scored.total, reason=reason)


def _bootstrap(statistic: Statistic, groups: NDArray[Any], settings: EvaluateSettings) -> Interval:
    return bootstrap_interval(
        statistic, groups, replicates=settings.replicates, confidence=settings.confidence, seed=settings.seed
    )


def _bootstrapped(scored: Scored, value: float, statistic: Statistic, settings: EvaluateSettings) -> Metric:
    interval = _bootstrap(statistic, scored.groups, settings)
    return metric(value, interval, scored.labels.size, scored.total, scored.missing_reason)


def _share(
    scored: Scored,
    hits: NDArray[np.bool_],
    among: NDArray[np.bool_],
    settings: EvaluateSettings,
    label: int | None = None,
    what: str | None = None,
) -> Metric:
    """Share of `hits` among the chosen images.

    Args:
        label: The label that the choice is made by: then the images expected are all of that label.
        what: The choice in words, where it is made by the prediction: then the images expected are those chosen.
    """
    n = int(among.sum())
    expected = n if what else scored.total if label is None else scored.expected[label]
    if not n:
        words = what or (
            "glaucoma image is there" if label == 1 else "normal image is there" if label == 0 else "image"
        )
        return Metric(value=None, n=0, n_expected=expected, reason=f"no {words}")
    interval = share_interval(hits[among], scored.groups[among], settings.confidence)
    return metric(float(hits[among].mean()), interval, n, expected, scored.missing_reason)


def _balanced(scored: Scored, right: NDArray[np.bool_], counts: Confusion, settings: EvaluateSettings) -> Metric:
    """Mean of sensitivity and specificity."""
    if scored.class_reason:
        return undefined(scored, scored.class_reason)
    parts = [weighted_ratio(right & (scored.labels == value), scored.labels == value) for value in (1, 0)]
    value = (counts.sensitivity + counts.specificity) / 2
    return _bootstrapped(scored, value, lambda weights: (parts[0](weights) + parts[1](weights)) / 2, settings)


def _f1(scored: Scored, called: NDArray[np.bool_], counts: Confusion, settings: EvaluateSettings) -> Metric:
    truth = scored.labels == 1
    if np.isnan(counts.f1):
        return undefined(scored, "no image is glaucoma and none is called so")
    numerator = 2.0 * (called & truth)
    statistic = weighted_ratio(numerator, called.astype(float) + truth)
    return _bootstrapped(scored, counts.f1, statistic, settings)


def _calibration_metrics(scored: Scored, fit: Calibration, settings: EvaluateSettings) -> dict[str, Metric]:
    n, total = scored.labels.size, scored.total
    if not n:
        reason = scored.class_reason or "no image"
        names = ("brier_error", "calibration_error", "calibration_slope", "calibration_intercept")
        return {name: undefined(scored, reason) for name in names}
    squared = weighted_mean((scored.probabilities - scored.labels) ** 2)
    none = no_interval("", "")
    why = scored.class_reason or "the logits separate the classes or are all alike: no finite fit exists"
    return {
        "brier_error": _bootstrapped(scored, fit.brier_error, squared, settings),
        "calibration_error": metric(fit.expected_error, none, n, total, scored.missing_reason),
        "calibration_slope": metric(fit.slope, none, n, total, why if np.isnan(fit.slope) else scored.missing_reason),
        "calibration_intercept": metric(
            fit.intercept, none, n, total, why if np.isnan(fit.intercept) else scored.missing_reason
        ),
    }
