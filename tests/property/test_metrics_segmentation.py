from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from glaucoma.evaluation.cup_disc_ratio import vertical_cdr
from glaucoma.evaluation.segmentation import Outcome, score_structure

masks = hnp.arrays(bool, (9, 12), elements=st.booleans())


@settings(max_examples=150, deadline=None)
@given(masks, masks)
def test_scores_are_symmetric_bounded_and_tied_to_each_other(a: np.ndarray, b: np.ndarray) -> None:
    one, two = score_structure(a, b), score_structure(b, a)
    for name in ("dice_score", "iou_score", "hd95_px", "assd_px"):
        assert getattr(one, name) == pytest.approx(getattr(two, name), nan_ok=True)
    if one.outcome is Outcome.ABSENT:
        return
    assert 0 <= one.iou_score <= one.dice_score <= 1
    assert one.dice_score == pytest.approx(2 * one.iou_score / (1 + one.iou_score))
    assert one.assd_px >= 0
    assert one.hd95_px <= np.hypot(9, 12)


@settings(max_examples=100, deadline=None)
@given(masks, masks, st.integers(0, 3), st.booleans())
def test_scores_turn_and_flip_with_the_image(a: np.ndarray, b: np.ndarray, turns: int, flip: bool) -> None:
    def moved(mask: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(np.rot90(mask[:, ::-1] if flip else mask, turns))

    one, two = score_structure(a, b), score_structure(moved(a), moved(b))
    for name in ("dice_score", "iou_score", "hd95_px", "assd_px"):
        assert getattr(one, name) == pytest.approx(getattr(two, name), nan_ok=True)


@settings(max_examples=100, deadline=None)
@given(masks, masks, st.integers(1, 4))
def test_a_margin_of_background_changes_no_score_of_a_found_structure(
    a: np.ndarray, b: np.ndarray, margin: int
) -> None:
    one, two = score_structure(a, b), score_structure(np.pad(a, margin), np.pad(b, margin))
    assert two.dice_score == pytest.approx(one.dice_score, nan_ok=True)
    if one.outcome is Outcome.FOUND:
        assert two.hd95_px == pytest.approx(one.hd95_px)
        assert two.assd_px == pytest.approx(one.assd_px)


@settings(max_examples=100, deadline=None)
@given(masks, masks)
def test_a_ratio_lies_between_0_and_1_and_is_undefined_exactly_without_a_disc(
    disc: np.ndarray, cup: np.ndarray
) -> None:
    ratio = vertical_cdr(disc, cup)
    assert np.isnan(ratio) == (not disc.any())
    assert np.isnan(ratio) or 0 <= ratio <= 1
    assert vertical_cdr(disc, disc) == 1 or not disc.any()
