from __future__ import annotations

import io
import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from glaucoma.explanation.overlay import (
    DISC,
    Outline,
    Panel,
    draw,
    encode_png,
    heat_colours,
    opacity_level,
    paint,
    view_around,
    warm,
)


def photograph(size: int = 128) -> np.ndarray:
    rng = np.random.default_rng(0)
    return (np.full((size, size, 3), (180, 90, 40)) + rng.normal(0, 20, (size, size, 3))).clip(0, 255).astype(np.uint8)


def disc(size: int = 128) -> np.ndarray:
    y, x = np.mgrid[:size, :size]
    return np.hypot(y - 64, x - 40) < 15


def test_where_there_is_no_relevance_the_photograph_is_untouched() -> None:
    image = photograph()
    level = np.zeros((128, 128), np.float32)
    np.testing.assert_array_equal(warm(image, level), image)
    level[30:60, 30:60] = 1
    changed = (warm(image, level) != image).any(axis=2)
    np.testing.assert_array_equal(changed, level > 0)


def test_an_empty_negative_or_undefined_map_leaves_the_photograph_as_it_is() -> None:
    image = photograph()
    plain = paint(Panel(image, ""), 128)
    for heat in (np.zeros((4, 4)), -np.ones((4, 4)), np.full((4, 4), np.nan)):
        np.testing.assert_array_equal(paint(Panel(image, "", heat=heat), 128), plain)


def test_heat_stays_inside_the_field_of_view_and_reaches_one() -> None:
    level = opacity_level(np.random.default_rng(0).random((5, 5)), (128, 128), disc())
    assert level.max() == pytest.approx(1)
    assert (level[~disc()] == 0).all()


def test_the_colours_grow_lighter_from_little_to_much() -> None:
    lightness = cv2.cvtColor(heat_colours()[None], cv2.COLOR_RGB2LAB)[0, :, 0].astype(int)
    assert (np.diff(lightness) >= -1).all()
    assert lightness[-1] - lightness[0] > 150


def test_an_outline_follows_the_border_and_leaves_the_inside_alone() -> None:
    image = photograph()
    plain = paint(Panel(image, ""), 128).astype(int)
    lined = paint(Panel(image, "", outlines=[Outline(disc(), DISC, "disc")]), 128).astype(int)
    rows, columns = np.nonzero(np.abs(lined - plain).max(axis=2) > 8)
    distance = np.hypot(rows - 64, columns - 40)
    assert distance.min() > 11
    assert distance.max() < 19


def test_a_view_is_square_holds_its_structure_and_stays_in_the_image() -> None:
    for mask in (disc(), np.roll(disc(), -50, axis=0), np.ones((128, 128), bool)):
        view = view_around(mask, 0.9)
        assert view is not None
        assert view.of(mask).sum() == mask.sum()
        assert view.of(mask).shape == (view.side, view.side)
    assert view_around(np.zeros((128, 128), bool)) is None


@pytest.mark.parametrize("limit", [200_000, 60_000, 8_000])
def test_a_picture_never_exceeds_its_size(limit: int) -> None:
    image = photograph(512)
    picture = draw([Panel(image, "a"), Panel(image, "b", heat=np.eye(4))], "title", "detail")
    content = encode_png(picture, limit)
    assert len(content) <= limit
    with Image.open(io.BytesIO(content)) as opened:
        opened.load()
        assert opened.format == "PNG"


def test_the_same_picture_comes_out_every_time() -> None:
    panels = [Panel(photograph(), "a", heat=np.eye(4), outlines=[Outline(disc(), DISC, "disc", dashed=True)])]
    assert encode_png(draw(panels, "t", "d"), 200_000) == encode_png(draw(panels, "t", "d"), 200_000)


def test_a_title_that_is_too_long_is_cut_off_inside_the_picture() -> None:
    picture = draw([Panel(photograph(), "caption " * 40)], "a very long name " * 30, "d", panel_px=160)
    assert picture.shape[1] == 160 + 28
    assert (picture[:40, -14:] == picture[0, 0]).all()


@pytest.mark.real
@pytest.mark.skipif("ARC_REAL_DATA" not in os.environ, reason="ARC_REAL_DATA names no photographs")
def test_real_photographs_of_any_size_can_be_drawn() -> None:
    paths = sorted(Path(os.environ["ARC_REAL_DATA"]).glob("acrima-sample/Database/Images/*"))[:3]
    assert paths
    for path in paths:
        image = np.ascontiguousarray(cv2.imread(str(path))[:, :, ::-1])
        side = min(image.shape[:2])
        square = np.ascontiguousarray(image[:side, :side])
        content = encode_png(draw([Panel(square, "photograph", heat=np.eye(7))], path.name, ""), 200_000)
        assert 10_000 < len(content) <= 200_000
