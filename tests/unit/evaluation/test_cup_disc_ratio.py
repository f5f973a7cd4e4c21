from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import ndimage

from glaucoma.evaluation.cup_disc_ratio import agreement, largest_piece, predicted_structures, vertical_cdr


def box(top: int, bottom: int, left: int = 10, right: int = 30, size: int = 64) -> np.ndarray:
    mask = np.zeros((size, size), bool)
    mask[top:bottom, left:right] = True
    return mask


def test_the_ratio_is_that_of_the_heights() -> None:
    assert vertical_cdr(box(10, 50), box(20, 40)) == 0.5
    assert vertical_cdr(box(10, 50), box(20, 40, left=12, right=14)) == 0.5


def test_without_a_disc_there_is_no_ratio_and_without_a_cup_it_is_zero() -> None:
    empty = np.zeros((64, 64), bool)
    assert math.isnan(vertical_cdr(empty, box(20, 40)))
    assert vertical_cdr(box(10, 50), empty) == 0


def test_a_cup_outside_the_disc_counts_only_as_far_as_it_is_inside() -> None:
    assert vertical_cdr(box(10, 50), box(40, 64)) == 0.25


@pytest.mark.parametrize("scale", [2, 3])
def test_the_ratio_does_not_change_with_the_scale(scale: int) -> None:
    disc, cup = box(10, 50), box(20, 37)
    grown = [np.kron(m, np.ones((scale, scale), bool)) for m in (disc, cup)]
    assert vertical_cdr(*grown) == pytest.approx(vertical_cdr(disc, cup))


def test_the_largest_piece_is_that_of_scipy() -> None:
    rng = np.random.default_rng(0)
    for share in (0.2, 0.5):
        mask = rng.random((40, 40)) < share
        labels, n = ndimage.label(mask, structure=np.ones((3, 3)))
        sizes = ndimage.sum_labels(mask, labels, range(1, n + 1))
        np.testing.assert_array_equal(largest_piece(mask), labels == 1 + int(np.argmax(sizes)))
    assert not largest_piece(np.zeros((4, 4), bool)).any()


def test_a_second_piece_does_not_stretch_the_disc_and_the_cup_lies_within_it() -> None:
    probability = np.zeros((2, 64, 64), np.float32)
    probability[0][box(10, 50)] = 0.9
    probability[0, 60:63, 60:63] = 0.9
    probability[1][box(20, 40)] = 0.8
    probability[1][box(56, 58)] = 0.8
    disc, cup = predicted_structures(probability)
    np.testing.assert_array_equal(disc, box(10, 50))
    np.testing.assert_array_equal(cup, box(20, 40))


def test_what_is_called_cup_is_part_of_the_disc() -> None:
    probability = np.zeros((2, 64, 64), np.float32)
    probability[0][box(10, 50) & ~box(20, 40)] = 0.9
    probability[1][box(20, 40)] = 0.9
    assert vertical_cdr(*predicted_structures(probability)) == 0.5


def test_agreement_is_the_written_out_one_and_counts_what_was_not_found() -> None:
    guess = np.array([0.5, 0.62, np.nan, 0.3, 0.9])
    truth = np.array([0.4, 0.60, 0.7, np.nan, 0.6])
    found = agreement(guess, truth)
    difference = np.array([0.1, 0.02, 0.3])
    assert found.mae_error == pytest.approx(difference.mean())
    assert found.bias == pytest.approx(0.14)
    assert found.limit_high - found.bias == pytest.approx(1.96 * difference.std(ddof=1))
    assert found.limit_low == pytest.approx(2 * found.bias - found.limit_high)
    assert found.close_share == 0.5  # two of four, the missed one among them
    assert (found.n, found.n_expected) == (3, 4)


def test_agreement_of_nothing_is_undefined() -> None:
    found = agreement([np.nan], [np.nan])
    assert math.isnan(found.mae_error)
    assert math.isnan(found.close_share)
    assert (found.n, found.n_expected) == (0, 0)
