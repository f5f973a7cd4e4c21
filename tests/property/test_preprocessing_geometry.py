from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from glaucoma.preprocessing.field_of_view import FieldOfView
from glaucoma.preprocessing.steps import cut, resize_mask, square_around

sides = st.integers(min_value=1, max_value=300)


def field_of(left: int, top: int, width: int, height: int) -> FieldOfView:
    corners = [[left, top], [left + width, top], [left + width, top + height], [left, top + height]]
    return FieldOfView(np.array(corners, dtype=np.float64), has_border=True, share=0.5)


@given(left=st.integers(0, 100), top=st.integers(0, 100), width=sides, height=sides, size=st.integers(64, 128))
def test_without_centre_crop_the_square_holds_the_whole_box(
    left: int, top: int, width: int, height: int, size: int
) -> None:
    field = field_of(left, top, width, height)
    corners = square_around(field, centre_crop_share=0.0, size_px=size).to_prepared(field.outline)
    slack = size / max(width, height)  # the square's corner is a whole pixel of the photograph
    assert corners.min() >= -slack
    assert corners.max() <= size + slack


@settings(max_examples=50)
@given(seed=st.integers(0, 2**32 - 1), height=sides, width=sides, size=st.integers(1, 200))
def test_preparing_a_mask_invents_no_value(seed: int, height: int, width: int, size: int) -> None:
    mask = np.random.default_rng(seed).integers(0, 3, (height, width), dtype=np.uint8)
    geometry = square_around(field_of(0, 0, width, height), centre_crop_share=0.0, size_px=size)
    prepared = resize_mask(cut(mask, geometry), size)
    assert prepared.shape == (size, size)
    assert set(np.unique(prepared)) <= set(np.unique(mask)) | {0}
