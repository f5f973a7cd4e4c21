from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from glaucoma.explanation.dri import REGIONS, relevance

maps = st.tuples(st.integers(1, 9), st.integers(1, 9)).flatmap(
    lambda shape: hnp.arrays(float, shape, elements=st.floats(-3, 3, width=16))
)
masks = hnp.arrays(np.uint8, (24, 30), elements=st.sampled_from([0, 0, 0, 1, 2]))
fields = hnp.arrays(bool, (24, 30), elements=st.booleans())


@settings(max_examples=150, deadline=None)
@given(maps, masks, fields)
def test_shares_are_shares_or_undefined_with_a_reason(heat: np.ndarray, mask: np.ndarray, field: np.ndarray) -> None:
    found = relevance(heat, mask, field)
    if found.reason is not None:
        assert np.isnan(found.dri)
        return
    shares = [getattr(found, name) for name in REGIONS]
    assert all(-1e-12 <= share <= 1 + 1e-12 for share in shares)
    assert sum(shares) == pytest.approx(1)
    assert found.dri <= found.ceiling + 1e-9
    assert 0 <= found.rank_accuracy <= 1
    assert 0 <= found.hot_iou <= 1


@settings(max_examples=80, deadline=None)
@given(maps, masks, fields, st.floats(0.01, 100))
def test_scale_says_nothing_and_upside_down_nothing_either(
    heat: np.ndarray, mask: np.ndarray, field: np.ndarray, scale: float
) -> None:
    found = relevance(heat, mask, field)
    flipped = relevance(heat[::-1], np.ascontiguousarray(mask[::-1]), np.ascontiguousarray(field[::-1]))
    for other in (relevance(heat * scale, mask, field), flipped):
        assert other.dri == pytest.approx(found.dri, nan_ok=True, abs=1e-9)
        assert other.ceiling == pytest.approx(found.ceiling, nan_ok=True)
