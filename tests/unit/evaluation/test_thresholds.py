from __future__ import annotations

import numpy as np
import pytest

from glaucoma.evaluation.classification import confusion
from glaucoma.evaluation.settings import EvaluateSettings, ThresholdRule
from glaucoma.evaluation.thresholds import choose_threshold

YOUDEN, AT_SENSITIVITY, AT_SPECIFICITY = ThresholdRule


def sample(seed: int = 0, n: int = 200) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, n)
    return labels, np.round(rng.normal(0.4 + 0.2 * labels, 0.15), 2)


@pytest.mark.parametrize("seed", range(5))
def test_no_other_threshold_has_a_larger_youden_index(seed: int) -> None:
    labels, scores = sample(seed)
    chosen = choose_threshold(labels, scores)
    assert chosen.value is not None
    best = max((c := confusion(labels, scores, t)).sensitivity + c.specificity for t in np.linspace(-1, 2, 3001))
    assert chosen.sensitivity + chosen.specificity == pytest.approx(best)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("target", [0.5, 0.9, 1.0])
def test_the_target_is_reached_and_nothing_is_given_away(seed: int, target: float) -> None:
    labels, scores = sample(seed)
    for rule, kept, other in (
        (AT_SENSITIVITY, "sensitivity", "specificity"),
        (AT_SPECIFICITY, "specificity", "sensitivity"),
    ):
        chosen = choose_threshold(labels, scores, rule, target)
        points = [confusion(labels, scores, t) for t in np.linspace(-1, scores.max(), 3001)]
        allowed = [getattr(p, other) for p in points if getattr(p, kept) >= target]
        if not allowed:
            assert not chosen.reached
            continue
        assert chosen.reached
        assert getattr(chosen, kept) >= target
        assert getattr(chosen, other) == pytest.approx(max(allowed))


def test_separated_classes_are_parted_in_the_middle_of_the_gap() -> None:
    chosen = choose_threshold([0, 0, 1, 1], [0.1, 0.2, 0.6, 0.9])
    assert chosen.value == pytest.approx(0.4)
    assert (chosen.sensitivity, chosen.specificity) == (1.0, 1.0)


@pytest.mark.parametrize(("label", "name"), [(0, "glaucoma"), (1, "normal")])
def test_without_a_class_there_is_no_threshold_and_the_reason_names_it(label: int, name: str) -> None:
    chosen = choose_threshold([label] * 4, [0.1, 0.2, 0.3, 0.4])
    assert chosen.value is None
    assert chosen.reason is not None
    assert name in chosen.reason


def test_equal_scores_give_the_one_threshold_that_there_is() -> None:
    chosen = choose_threshold([0, 1, 0], [0.5, 0.5, 0.5])
    assert (chosen.value, chosen.sensitivity, chosen.specificity) == (0.5, 1.0, 0.0)


def test_a_specificity_that_no_threshold_reaches_is_said() -> None:
    chosen = choose_threshold([1, 0], [0.2, 0.8], AT_SPECIFICITY, 0.9)
    assert not chosen.reached
    assert chosen.reason is not None
    assert "0.9" in chosen.reason


def test_neighbouring_floats_are_still_told_apart() -> None:
    low = 0.5
    high = np.nextafter(low, 1)
    chosen = choose_threshold([0, 1], [low, high])
    assert (chosen.sensitivity, chosen.specificity) == (1.0, 1.0)


def test_a_rising_change_of_scale_chooses_the_same_images() -> None:
    labels, scores = sample(9)
    first, second = choose_threshold(labels, scores), choose_threshold(labels, np.exp(3 * scores))
    assert (scores >= first.value).tolist() == (np.exp(3 * scores) >= second.value).tolist()


def test_settings_refuse_what_is_out_of_bounds_or_unknown() -> None:
    from pydantic import ValidationError

    assert EvaluateSettings.for_preset("smoke").replicates == 500
    assert EvaluateSettings.for_preset("base").replicates == 2000
    for wrong in ({"replicates": 5}, {"confidence": 1.0}, {"treshold_rule": "youden"}, {"threshold_rule": "best"}):
        with pytest.raises(ValidationError):
            EvaluateSettings(**wrong)
