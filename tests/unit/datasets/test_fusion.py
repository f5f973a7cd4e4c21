from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from glaucoma.datasets.fusion import between, majority
from glaucoma.errors import DatasetError


def circle(radius: float, x: float = 60, y: float = 50) -> np.ndarray:
    rows, columns = np.mgrid[:100, :120]
    return (columns - x) ** 2 + (rows - y) ** 2 <= radius**2


def test_a_majority_is_half_of_the_readers_or_more() -> None:
    readers = np.array([[1, 1, 1, 0], [1, 1, 0, 0], [1, 0, 0, 0]], bool)[:, None, :]
    np.testing.assert_array_equal(majority(list(readers)), [[True, True, False, False]])
    np.testing.assert_array_equal(majority(list(readers[:2])), [[True, True, True, False]])
    np.testing.assert_array_equal(majority([readers[1]]), readers[1])


@given(arrays(bool, st.tuples(st.integers(1, 7), st.integers(1, 5), st.integers(1, 5))))
def test_a_majority_counts_votes_whatever_their_order(masks: np.ndarray) -> None:
    expected = masks.mean(axis=0) >= 0.5
    np.testing.assert_array_equal(majority(list(masks)), expected)
    np.testing.assert_array_equal(majority(list(masks[::-1])), expected)


@pytest.mark.parametrize(("first", "second"), [(20, 30), (10, 12), (25, 25), (5, 40)])
def test_between_two_concentric_circles_lies_the_one_of_the_mean_radius(first: float, second: float) -> None:
    fused = between([circle(first), circle(second)])
    mean = (first + second) / 2
    assert abs(fused.sum() - np.pi * mean**2) <= 0.6 * 2 * np.pi * mean
    assert abs(int(fused.any(axis=1).sum()) - 2 * mean) <= 1.5
    assert (circle(min(first, second)) <= fused).all()
    assert (fused <= circle(max(first, second))).all()


@given(
    arrays(bool, (2, 9, 11), elements=st.booleans()),
)
def test_between_lies_within_the_union_and_holds_the_intersection(masks: np.ndarray) -> None:
    fused = between(list(masks))
    both = [mask for mask in masks if mask.any()]
    if both:
        assert (fused <= np.logical_or.reduce(both)).all()
        assert (np.logical_and.reduce(both) <= fused).all()
    else:
        assert not fused.any()


def test_a_reader_who_marked_nothing_has_no_boundary_and_the_edge_of_the_picture_is_none() -> None:
    np.testing.assert_array_equal(between([circle(10), np.zeros((100, 120), bool)]), circle(10))
    corner = circle(30, 0, 0)
    np.testing.assert_array_equal(between([corner, corner]), corner)


def test_masks_of_several_sizes_or_none_are_refused() -> None:
    for fuse in (majority, between):
        with pytest.raises(DatasetError, match="sizes"):
            fuse([np.ones((2, 3), bool), np.ones((3, 2), bool)])
        with pytest.raises(DatasetError, match="No reader"):
            fuse([])
