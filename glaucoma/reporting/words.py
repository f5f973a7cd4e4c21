"""Numbers and times as people read them, and what each metric is called and means."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from glaucoma.evaluation.result import Metric


@dataclass(frozen=True)
class MetricName:
    """A metric for people."""

    name: str
    meaning: str
    better: str = "higher"


NAMES: dict[str, MetricName] = {
    "auc": MetricName("AUC", "chance that a glaucoma image scores above a normal one"),
    "sensitivity": MetricName("Sensitivity", "share of glaucoma images called glaucoma"),
    "specificity": MetricName("Specificity", "share of normal images called normal"),
    "sensitivity_at_85_specificity": MetricName("Sensitivity at 85 % specificity", ""),
    "sensitivity_at_95_specificity": MetricName("Sensitivity at 95 % specificity", ""),
    "accuracy": MetricName("Accuracy", "share of images called rightly"),
    "balanced_accuracy": MetricName("Balanced accuracy", "mean of sensitivity and specificity"),
    "precision": MetricName("Precision", "share of glaucoma among images called glaucoma"),
    "negative_predictive_value": MetricName("Negative predictive value", "share of normal among images called normal"),
    "f1": MetricName("F1", "harmonic mean of precision and sensitivity"),
    "average_precision": MetricName("Average precision", "area under the precision-recall curve"),
    "brier_error": MetricName("Brier score", "mean squared error of the probability", "lower"),
    "calibration_error": MetricName("Calibration error", "expected, equal-mass bins", "lower"),
    "calibration_slope": MetricName("Calibration slope", "1 is right", "1"),
    "calibration_intercept": MetricName("Calibration intercept", "0 is right", "0"),
    "mean_dice": MetricName("Mean Dice", "mean of disc and cup Dice"),
    "disc_dice": MetricName("Disc Dice", "overlap with the reader's disc"),
    "disc_iou": MetricName("Disc IoU", "intersection over union"),
    "disc_hd95_dd": MetricName("Disc HD95", "boundary distance, 95th percentile, in disc diameters", "lower"),
    "disc_assd_dd": MetricName("Disc ASSD", "mean boundary distance in disc diameters", "lower"),
    "disc_found": MetricName("Discs found", "share of discs of which anything was marked"),
    "cup_dice": MetricName("Cup Dice", "overlap with the reader's cup"),
    "cup_iou": MetricName("Cup IoU", "intersection over union"),
    "cup_hd95_dd": MetricName("Cup HD95", "boundary distance, 95th percentile, in disc diameters", "lower"),
    "cup_assd_dd": MetricName("Cup ASSD", "mean boundary distance in disc diameters", "lower"),
    "cup_found": MetricName("Cups found", "share of cups of which anything was marked"),
    "vcdr_mae": MetricName("Vertical CDR, mean error", "mean absolute difference from the reader", "lower"),
    "vcdr_bias": MetricName("Vertical CDR, bias", "model less reader: above 0, larger cups", "0"),
    "vcdr_limit_low": MetricName("Vertical CDR, lower limit", "of agreement (Bland-Altman)", "0"),
    "vcdr_limit_high": MetricName("Vertical CDR, upper limit", "of agreement (Bland-Altman)", "0"),
    "vcdr_close": MetricName("Vertical CDR within 0.1", "share of images, a disc not found counting as not close"),
    "vcdr_auc": MetricName("AUC of the model's vertical CDR", "as a sign of glaucoma, without a classifier"),
    "vcdr_true_auc": MetricName("AUC of the reader's vertical CDR", "what the ratio could reach at best"),
}
"""Metrics in the order in which a table shows them."""


def metric_name(key: str) -> MetricName:
    """What people call the metric; its own name made readable where it is not known here."""
    return NAMES.get(key) or MetricName(key.replace("_", " ").capitalize(), "", "")


def number_text(value: float | None, digits: int = 3) -> str:
    """Fixed digits, from 2 upwards at most two, with a true minus sign; a dash where there is no number."""
    if value is None:
        return "–"
    digits = min(digits, 2) if abs(value) >= 2 else digits
    return f"{value:.{digits}f}".replace("-", "−")


def interval_text(metric: Metric) -> str:
    """`0.851 to 0.964`; empty where there is none."""
    if metric.low is None or metric.high is None:
        return ""
    return f"{number_text(metric.low)} to {number_text(metric.high)}"


def count_text(metric: Metric) -> str:
    """`48 images`, or `45 of 48 images`."""
    images = "image" if metric.n_expected == 1 else "images"
    return f"{metric.n} {images}" if metric.n == metric.n_expected else f"{metric.n} of {metric.n_expected} {images}"


def duration_text(seconds: float | None) -> str:
    """`1 h 12 min`, `3 min 20 s`, `45 s`, `0.8 s`."""
    if seconds is None:
        return "–"
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    parts = [(days, "d"), (hours, "h"), (minutes, "min"), (rest, "s")]
    kept = [f"{n} {unit}" for n, unit in parts if n]
    return " ".join(kept[:2])


def moment_text(moment: datetime) -> str:
    """`5 January 2026, 08:00 UTC`."""
    zone = moment.strftime("%Z") or "local time"
    return f"{moment.day} {moment.strftime('%B %Y, %H:%M')} {zone}"
