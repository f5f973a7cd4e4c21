from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glaucoma.evaluation.classification import auc_score, confusion, roc_curve
from glaucoma.evaluation.intervals import share_interval, wilson_interval
from glaucoma.evaluation.thresholds import choose_threshold

tables = st.lists(
    st.tuples(st.integers(0, 1), st.integers(0, 20).map(lambda k: k / 20)), min_size=2, max_size=60
).filter(lambda rows: {label for label, _ in rows} == {0, 1})


@settings(max_examples=150, deadline=None)
@given(tables)
def test_the_auc_is_the_share_of_pairs_in_the_right_order(rows: list[tuple[int, float]]) -> None:
    positive = [s for label, s in rows if label]
    negative = [s for label, s in rows if not label]
    wins = sum((p > n) + 0.5 * (p == n) for p in positive for n in negative)
    assert auc_score(*zip(*rows, strict=True)) == pytest.approx(wins / (len(positive) * len(negative)))


@settings(max_examples=100, deadline=None)
@given(tables, st.floats(0.1, 5), st.floats(-3, 3))
def test_the_auc_knows_only_the_order_and_turns_around_with_the_labels(
    rows: list[tuple[int, float]], scale: float, shift: float
) -> None:
    labels, scores = (np.array(column) for column in zip(*rows, strict=True))
    value = auc_score(labels, scores)
    assert auc_score(labels, scores * scale + shift) == pytest.approx(value)
    assert auc_score(1 - labels, scores) == pytest.approx(1 - value)
    assert auc_score(labels, -scores) == pytest.approx(1 - value)
    assert auc_score(np.tile(labels, 3), np.tile(scores, 3)) == pytest.approx(value)


@settings(max_examples=100, deadline=None)
@given(tables)
def test_the_area_under_the_curve_is_the_auc_and_the_curve_only_rises(rows: list[tuple[int, float]]) -> None:
    labels, scores = zip(*rows, strict=True)
    curve = roc_curve(labels, scores)
    assert np.trapezoid(curve.sensitivity, curve.false_positive_rate) == pytest.approx(auc_score(labels, scores))
    assert (np.diff(curve.sensitivity) >= 0).all()
    assert (np.diff(curve.thresholds) < 0).all()


@settings(max_examples=100, deadline=None)
@given(tables, st.floats(-0.1, 1.1))
def test_no_threshold_beats_the_chosen_one(rows: list[tuple[int, float]], other: float) -> None:
    labels, scores = zip(*rows, strict=True)
    chosen = choose_threshold(labels, scores)
    assert chosen.value is not None
    rival = confusion(labels, scores, other)
    assert chosen.sensitivity + chosen.specificity >= rival.sensitivity + rival.specificity - 1e-9


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 12)), min_size=1, max_size=40))
def test_an_interval_of_a_share_holds_it_and_clusters_never_narrow_it(rows: list[tuple[bool, int]]) -> None:
    hits, groups = zip(*rows, strict=True)
    found = share_interval(hits, groups)
    mean = float(np.mean(hits))
    assert 0 <= found.low <= mean + 1e-12
    assert mean - 1e-12 <= found.high <= 1
    plain = wilson_interval(sum(hits), len(hits))
    assert found.high - found.low >= plain.high - plain.low - 1e-9
