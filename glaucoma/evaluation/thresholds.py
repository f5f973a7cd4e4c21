"""The operating point: chosen on validation by a rule, stored, and used unchanged on every other split."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from glaucoma.evaluation.classification import confusion, roc_curve
from glaucoma.evaluation.result import ThresholdChoice
from glaucoma.evaluation.settings import ThresholdRule


def choose_threshold(
    labels: ArrayLike, scores: ArrayLike, rule: ThresholdRule = ThresholdRule.YOUDEN, target: float | None = None
) -> ThresholdChoice:
    """The threshold that `rule` asks for among all that tell these images apart.

    It lies half-way between two neighbouring scores, so that a score that moves by rounding stays on its side; of
    equally good ones the more sensitive is taken. Undefined (None, with the reason) where a class is missing.
    """
    target = None if rule is ThresholdRule.YOUDEN else target
    curve = roc_curve(labels, scores)
    sensitivity, specificity = curve.sensitivity, 1 - curve.false_positive_rate
    if np.isnan(sensitivity[-1]) or np.isnan(specificity[-1]):
        missing = "glaucoma" if np.isnan(sensitivity[-1]) else "normal"
        return ThresholdChoice(value=None, rule=rule, target=target, reason=f"the split holds no {missing} image")
    best, reached = _best(sensitivity, specificity, rule, target)
    value = _between(curve.thresholds, best)
    counts = confusion(labels, scores, value)
    return ThresholdChoice(
        value=value,
        rule=rule,
        target=target,
        sensitivity=counts.sensitivity,
        specificity=counts.specificity,
        reached=reached,
        reason=None if reached else f"no threshold that calls any image glaucoma reaches a {rule} of {target}",
    )


def _best(
    sensitivity: NDArray[np.float64], specificity: NDArray[np.float64], rule: ThresholdRule, target: float | None
) -> tuple[int, bool]:
    """Index of the chosen point (never the first: there nobody is positive), and whether the target is reached."""
    quality = sensitivity + specificity - 1
    reached = np.ones_like(quality, dtype=bool)
    if rule is not ThresholdRule.YOUDEN:
        if target is None:
            raise ValueError(f"the rule {rule} needs a target")
        reached = (sensitivity if rule is ThresholdRule.SENSITIVITY_AT else specificity) >= target - 1e-12
        quality = specificity if rule is ThresholdRule.SENSITIVITY_AT else sensitivity
    reached[0] = False
    if not reached.any():
        # specificity alone can fail: the highest score is shared with a normal image
        return 1, False
    ranked = np.where(reached, np.round(quality, 12), -np.inf)
    tied = np.flatnonzero(ranked == ranked.max())
    return int(tied[np.argmax(sensitivity[tied])]), True


def _between(thresholds: NDArray[np.float64], index: int) -> float:
    """Half-way from the score at `index` down to the next one; the lowest score itself where none is below."""
    here = float(thresholds[index])
    if index + 1 == thresholds.size:
        return here
    middle = (here + float(thresholds[index + 1])) / 2
    return middle if middle > thresholds[index + 1] else here  # two neighbouring floats have nothing between them
