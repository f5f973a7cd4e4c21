from __future__ import annotations

import cv2
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from glaucoma.datasets.field_of_view import FieldOfView
from glaucoma.preprocessing.chain import run_chain
from glaucoma.preprocessing.disc import disc_box
from glaucoma.preprocessing.geometry import Geometry, cut, square_around, to_original
from glaucoma.preprocessing.resample import resize_mask
from glaucoma.preprocessing.settings import CentreCrop, DiscCrop, FieldCrop, PreprocessSettings, Resize, Step

sides = st.integers(min_value=1, max_value=300)
CHAINS: tuple[tuple[Step, ...], ...] = (
    (Resize(),),
    (FieldCrop(), Resize()),
    (FieldCrop(), CentreCrop(share=0.15), Resize()),
    (FieldCrop(), DiscCrop(side_disc_diameters=2.5), Resize()),
)


def field_of(left: int, top: int, width: int, height: int) -> FieldOfView:
    corners = [[left, top], [left + width, top], [left + width, top + height], [left, top + height]]
    return FieldOfView(np.array(corners, dtype=np.float64), has_border=True, share=0.5)


@given(left=st.integers(0, 100), top=st.integers(0, 100), width=sides, height=sides, size=st.integers(64, 128))
def test_without_centre_crop_the_square_holds_the_whole_box(
    left: int, top: int, width: int, height: int, size: int
) -> None:
    field = field_of(left, top, width, height)
    corners = square_around(field).scaled_to(size).to_prepared(field.outline)
    slack = size / max(width, height)  # the square's corner is a whole pixel of the photograph
    assert corners.min() >= -slack
    assert corners.max() <= size + slack


@settings(max_examples=50)
@given(seed=st.integers(0, 2**32 - 1), height=sides, width=sides, size=st.integers(1, 200))
def test_preparing_a_mask_invents_no_value(seed: int, height: int, width: int, size: int) -> None:
    mask = np.random.default_rng(seed).integers(0, 3, (height, width), dtype=np.uint8)
    prepared = resize_mask(cut(mask, square_around(field_of(0, 0, width, height))), size)
    assert prepared.shape == (size, size)
    assert set(np.unique(prepared)) <= set(np.unique(mask)) | {0}


@settings(max_examples=60, deadline=None)
@given(
    height=st.integers(120, 400),
    width=st.integers(120, 400),
    place=st.tuples(st.floats(0.35, 0.65), st.floats(0.35, 0.65)),
    radius=st.integers(12, 30),
    size=st.integers(64, 200),
    chain=st.sampled_from(CHAINS),
)
def test_a_disc_and_its_mask_land_on_the_same_pixels(
    height: int, width: int, place: tuple[float, float], radius: int, size: int, chain: tuple[Step, ...]
) -> None:
    """The disc as the photograph's pixels show it, the prepared mask, and the geometry's word agree to half a pixel."""
    centre = (round(place[0] * width), round(place[1] * height))
    mask = np.zeros((height, width), np.uint8)
    cv2.circle(mask, centre, radius, 1, -1)
    photograph = np.full((height, width, 3), 40, np.uint8)
    photograph[mask == 1] = 240
    field = field_of(0, 0, width, height)
    made = run_chain(
        photograph, field, PreprocessSettings(image_size_px=size, steps=chain), lambda: disc_box(mask, "the mask")
    )
    prepared = resize_mask(cut(mask, made.geometry), size) == 1
    seen = np.clip(made.picture[..., 1].astype(float) - 40, 0, None)
    from_mask, from_picture = centre_of(prepared.astype(float)), centre_of(seen)
    stated = made.geometry.to_prepared(np.array([[centre[0] + 0.5, centre[1] + 0.5]]))[0]
    assert np.abs(from_mask - from_picture).max() < 0.5
    assert np.abs(from_mask - stated).max() < 0.5


@settings(max_examples=100)
@given(
    x=st.integers(-200, 200),
    y=st.integers(-200, 200),
    side=st.integers(1, 3000),
    size=st.integers(64, 2048),
    point=st.tuples(st.floats(-1e4, 1e4), st.floats(-1e4, 1e4)),
)
def test_a_point_that_goes_there_and_back_is_where_it_was(
    x: int, y: int, side: int, size: int, point: tuple[float, float]
) -> None:
    geometry = Geometry(x, y, side).scaled_to(size)
    points = np.array([point])
    assert np.allclose(geometry.to_original(geometry.to_prepared(points)), points, atol=1e-6)
    assert Geometry.from_row({str(k): v for k, v in geometry.columns().items()}) == geometry


@settings(max_examples=60, deadline=None)
@given(
    height=st.integers(40, 200),
    width=st.integers(40, 200),
    x=st.integers(-60, 60),
    y=st.integers(-60, 60),
    side=st.integers(20, 200),
    size=st.integers(20, 300),
    seed=st.integers(0, 2**32 - 1),
)
def test_a_prediction_drawn_back_has_at_each_pixel_the_value_that_the_geometry_names(
    height: int, width: int, x: int, y: int, side: int, size: int, seed: int
) -> None:
    geometry = Geometry(x, y, side).scaled_to(size)
    prepared = np.random.default_rng(seed).integers(0, 3, (size, size), dtype=np.uint8)
    back = to_original(prepared, geometry, (height, width), nearest=True)
    rows, columns = np.indices((height, width))
    middles = np.stack([columns.ravel() + 0.5, rows.ravel() + 0.5], axis=1)
    exact = geometry.to_prepared(middles)
    there = np.floor(exact).astype(int)
    inside = ((exact > 0) & (exact < size)).all(axis=1)
    expected = np.zeros(height * width, np.uint8)
    expected[inside] = prepared[there[inside, 1], there[inside, 0]]
    clear = (np.abs(exact - np.rint(exact)) > 0.02).all(axis=1)  # a middle on the border of two may go to either
    assert (expected[clear] == back.ravel()[clear]).all()


def centre_of(weights: np.ndarray) -> np.ndarray:
    """x and y of the centre of mass, pixel i spanning i to i + 1."""
    rows, columns = np.indices(weights.shape)
    return np.array([((columns + 0.5) * weights).sum(), ((rows + 0.5) * weights).sum()]) / weights.sum()
