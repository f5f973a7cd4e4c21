from __future__ import annotations

import cv2
import numpy as np
import pytest

from glaucoma.preprocessing.field_of_view import FieldOfView, find_field
from glaucoma.preprocessing.settings import Clahe
from glaucoma.preprocessing.steps import (
    Geometry,
    cut,
    draw_field,
    enhance,
    resize_mask,
    resize_photograph,
    square_around,
)


def whole(height: int, width: int) -> FieldOfView:
    outline = np.array([[0, 0], [width, 0], [width, height], [0, height]], dtype=np.float64)
    return FieldOfView(outline, has_border=False, share=1.0)


def test_the_square_holds_the_longer_side_and_keeps_one_scale() -> None:
    geometry = square_around(whole(200, 400), centre_crop_share=0.1, size_px=128)
    assert (geometry.x_px, geometry.y_px, geometry.side_px) == (0, -100, 400)
    assert geometry.scale == 128 / 400


def test_the_centre_crop_narrows_round_fields_only() -> None:
    picture = np.zeros((500, 500, 3), np.uint8)
    cv2.circle(picture, (250, 250), 200, (200, 100, 50), -1)
    field = find_field(picture)
    full = square_around(field, centre_crop_share=0.0, size_px=100).side_px
    assert square_around(field, centre_crop_share=0.1, size_px=100).side_px == pytest.approx(0.9 * full, abs=1)
    assert square_around(whole(300, 300), centre_crop_share=0.5, size_px=100).side_px == 300


def test_cutting_beyond_the_photograph_gives_black() -> None:
    picture = np.full((10, 20, 3), 7, np.uint8)
    square = cut(picture, Geometry(0, -5, 20, 1.0))
    assert square.shape == (20, 20, 3)
    assert (square[5:15] == 7).all()
    assert not square[:5].any()
    assert not square[15:].any()


def test_cutting_inside_is_plain_slicing() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    assert (cut(picture, Geometry(3, 5, 20, 1.0)) == picture[5:25, 3:23]).all()


def test_a_point_of_the_photograph_lies_where_the_geometry_says() -> None:
    picture = np.zeros((400, 600, 3), np.uint8)
    picture[96:104, 296:304] = 255  # centred on (300, 100)
    geometry = Geometry(100, -50, 500, 125 / 500)
    prepared = resize_photograph(cut(picture, geometry), 125)[..., 0]
    rows, columns = np.nonzero(prepared > 127)
    seen = np.array([columns.mean() + 0.5, rows.mean() + 0.5])
    assert seen == pytest.approx(geometry.to_prepared(np.array([[300.0, 100.0]]))[0], abs=0.5)


@pytest.mark.parametrize(("source", "target"), [(300, 100), (317, 96), (100, 256), (97, 512)])
def test_mask_and_photograph_stay_aligned(source: int, target: int) -> None:
    mask = np.zeros((source, source), np.uint8)
    cv2.circle(mask, (source // 3, source // 2), source // 8, 1, -1)
    photograph = np.repeat((mask * 200)[..., None], 3, axis=2)
    small_mask, small = resize_mask(mask, target), resize_photograph(photograph, target)[..., 0].astype(float)
    centre_mask = np.argwhere(small_mask > 0).mean(axis=0)
    centre = (np.indices(small.shape).reshape(2, -1) * small.ravel()).sum(axis=1) / small.sum()
    assert centre_mask == pytest.approx(centre, abs=0.25)
    assert set(np.unique(small_mask)) <= {0, 1}


def test_the_drawn_field_matches_the_photograph_s_lit_pixels() -> None:
    picture = np.zeros((600, 700, 3), np.uint8)
    cv2.circle(picture, (330, 290), 240, (200, 100, 50), -1)
    field = find_field(picture)
    geometry = square_around(field, centre_crop_share=0.1, size_px=256)
    lit = resize_photograph(cut(picture, geometry), 256)[..., 0] > 100
    drawn = draw_field(field, geometry, 256) > 0
    assert (lit & drawn).sum() / (lit | drawn).sum() > 0.985


@pytest.mark.parametrize("how", list(Clahe))
def test_outside_the_field_is_black_and_inside_is_not(how: Clahe) -> None:
    rng = np.random.default_rng(1)
    picture = rng.integers(40, 200, (96, 96, 3), dtype=np.uint8)
    inside = np.zeros((96, 96), np.uint8)
    cv2.circle(inside, (48, 48), 40, 1, -1)
    result = enhance(picture, inside, how, clip_limit=2.0, tiles=4)
    assert not result[inside == 0].any()
    assert (result[inside == 1].max(axis=1) > 0).all()


def test_no_clahe_leaves_the_field_s_pixels_alone() -> None:
    picture = np.random.default_rng(2).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    inside = np.ones((64, 64), np.uint8)
    assert (enhance(picture, inside, Clahe.NONE, clip_limit=2.0, tiles=8) == picture).all()


def test_clahe_on_green_touches_green_alone_and_equals_opencv_s() -> None:
    picture = np.random.default_rng(3).integers(60, 120, (64, 64, 3), dtype=np.uint8)
    result = enhance(picture, np.ones((64, 64), np.uint8), Clahe.GREEN, clip_limit=3.0, tiles=4)
    assert (result[..., [0, 2]] == picture[..., [0, 2]]).all()
    expected = cv2.createCLAHE(clipLimit=3.0, tileGridSize=(4, 4)).apply(np.ascontiguousarray(picture[..., 1]))
    assert (result[..., 1] == expected).all()


@pytest.mark.parametrize("how", [Clahe.GREEN, Clahe.LIGHTNESS])
def test_clahe_raises_a_flat_picture_s_contrast(how: Clahe) -> None:
    rng = np.random.default_rng(4)
    picture = np.clip(rng.normal(100, 5, (128, 128, 1)).repeat(3, axis=2), 0, 255).astype(np.uint8)
    result = enhance(picture, np.ones((128, 128), np.uint8), how, clip_limit=4.0, tiles=4)
    assert result[..., 1].std() > 1.3 * picture[..., 1].std()


def test_clahe_puts_no_ring_around_the_field() -> None:
    picture = np.zeros((256, 256, 3), np.uint8)
    inside = np.zeros((256, 256), np.uint8)
    cv2.circle(inside, (128, 128), 110, 1, -1)
    picture[inside == 1] = (120, 80, 40)
    noise = np.random.default_rng(5).normal(0, 4, (256, 256, 1))
    picture = np.where(inside[..., None] == 1, np.clip(picture + noise, 0, 255), 0).astype(np.uint8)
    green = enhance(picture, inside, Clahe.GREEN, clip_limit=2.0, tiles=8)[..., 1].astype(float)
    core = cv2.erode(inside, np.ones((41, 41), np.uint8)) == 1
    ring = (inside == 1) & (cv2.erode(inside, np.ones((9, 9), np.uint8)) == 0)
    assert abs(green[ring].mean() - green[core].mean()) < 6
