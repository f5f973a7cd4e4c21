from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from glaucoma.datasets.field_of_view import FieldOfView, find_field
from glaucoma.datasets.imagefile import read_photograph
from glaucoma.preprocessing.chain import run_chain
from glaucoma.preprocessing.disc import Box, NoDiscError, disc_box
from glaucoma.preprocessing.geometry import (
    Geometry,
    cut,
    narrowed,
    square_around,
    square_around_disc,
    to_original,
    whole_square,
)
from glaucoma.preprocessing.resample import resize_mask, resize_photograph
from glaucoma.preprocessing.settings import PreprocessSettings


def test_the_square_holds_the_longer_side() -> None:
    assert whole_square(200, 400) == Geometry(0, -100, 400)
    outline = np.array([[10.0, 20.0], [110.0, 20.0], [60.0, 80.0]])
    assert square_around(FieldOfView(outline, has_border=True, share=0.2)) == Geometry(10, 0, 100)


def test_narrowing_takes_half_of_the_share_from_each_edge() -> None:
    assert narrowed(Geometry(0, -100, 400), 0.1) == Geometry(20, -80, 360)
    assert narrowed(Geometry(7, 9, 100), 0.0) == Geometry(7, 9, 100)


def test_the_square_around_a_disc_is_so_many_of_its_longer_sides_wide() -> None:
    assert square_around_disc((100, 50, 40, 60), 2.0) == Geometry(60, 20, 120)


def test_cutting_beyond_the_photograph_gives_black() -> None:
    picture = np.full((10, 20, 3), 7, np.uint8)
    square = cut(picture, Geometry(0, -5, 20))
    assert square.shape == (20, 20, 3)
    assert (square[5:15] == 7).all()
    assert not square[:5].any()
    assert not square[15:].any()


@pytest.mark.parametrize("origin", [(50, 0), (-40, 3), (0, -30), (3, 90)])
def test_a_square_that_misses_the_photograph_is_black(origin: tuple[int, int]) -> None:
    assert not cut(np.full((10, 20, 3), 7, np.uint8), Geometry(*origin, 20)).any()


def test_cutting_inside_is_plain_slicing() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    assert (cut(picture, Geometry(3, 5, 20)) == picture[5:25, 3:23]).all()


def test_a_point_of_the_photograph_lies_where_the_geometry_says() -> None:
    picture = np.zeros((400, 600, 3), np.uint8)
    picture[96:104, 296:304] = 255  # centred on (300, 100)
    geometry = Geometry(100, -50, 500).scaled_to(125)
    prepared = resize_photograph(cut(picture, geometry), 125)[..., 0]
    rows, columns = np.nonzero(prepared > 127)
    seen = np.array([columns.mean() + 0.5, rows.mean() + 0.5])
    assert seen == pytest.approx(geometry.to_prepared(np.array([[300.0, 100.0]]))[0], abs=0.5)


def test_a_manifest_row_gives_the_geometry_back() -> None:
    geometry = Geometry(-3, 17, 2011).scaled_to(512)
    assert Geometry.from_row(geometry.columns()) == geometry


def test_a_prepared_mask_drawn_back_lies_on_the_photograph_s_own() -> None:
    mask = np.zeros((700, 900), np.uint8)
    cv2.circle(mask, (300, 350), 90, 1, -1)
    cv2.circle(mask, (310, 355), 40, 2, -1)
    geometry = Geometry(50, -20, 740).scaled_to(512)
    back = to_original(resize_mask(cut(mask, geometry), 512), geometry, (700, 900), nearest=True)
    assert back.shape == mask.shape
    for value in (1, 2):
        there, here = mask >= value, back >= value
        assert (there & here).sum() / (there | here).sum() > 0.97
        assert np.argwhere(here).mean(axis=0) == pytest.approx(np.argwhere(there).mean(axis=0), abs=0.2)


def test_enlarging_and_drawing_back_gives_the_same_mask() -> None:
    mask = np.random.default_rng(1).integers(0, 3, (60, 80), dtype=np.uint8)
    geometry = Geometry(10, 5, 50).scaled_to(200)
    back = to_original(resize_mask(cut(mask, geometry), 200), geometry, (60, 80), nearest=True)
    assert (back[5:55, 10:60] == mask[5:55, 10:60]).all()
    back[5:55, 10:60] = 0
    assert not back.any()


def test_a_map_drawn_back_keeps_its_values_and_ends_with_the_square() -> None:
    geometry = Geometry(-10, 20, 100).scaled_to(50)
    back = to_original(np.full((50, 50, 2), 0.25, np.float32), geometry, (90, 80), nearest=False)
    assert back.shape == (90, 80, 2)
    assert (back[20:] == np.float32(0.25)).all()
    assert not back[:20].any()
    assert not to_original(
        np.ones((50, 50), np.uint8), Geometry(500, 0, 100).scaled_to(50), (90, 80), nearest=True
    ).any()


def test_the_disc_is_the_largest_piece_of_its_mask() -> None:
    mask = np.zeros((100, 200), np.uint8)
    mask[30:60, 100:140] = 1
    mask[40:50, 110:120] = 2
    mask[90:95, 0:5] = 1
    assert disc_box(mask, "the mask") == (100, 30, 40, 30)


def test_no_disc_and_a_speck_are_no_disc() -> None:
    mask = np.zeros((100, 100), np.uint8)
    with pytest.raises(NoDiscError, match="the model marks no disc"):
        disc_box(mask, "the model")
    mask[3:8, 3:10] = 1
    with pytest.raises(NoDiscError, match="7 x 5 px, a speck"):
        disc_box(mask, "the model")


@pytest.mark.real
@pytest.mark.skipif("ARC_REAL_DATA" not in os.environ, reason="ARC_REAL_DATA is not set")
def test_the_default_crop_leaves_every_marked_disc_of_real_retinas_whole() -> None:
    seen = 0
    for path in sorted(Path(os.environ["ARC_REAL_DATA"]).glob("idrid-sample/images/*.jpg")):
        picture = read_photograph(path).pixels
        height, width = picture.shape[:2]
        square = run_chain(picture, find_field(picture), PreprocessSettings(), _unasked).geometry
        for line in path.with_suffix(".txt").read_text().splitlines():
            kind, cx, cy, w, h = (float(part) for part in line.split())
            if kind == 0:
                box = np.array([[cx - w / 2, cy - h / 2], [cx + w / 2, cy + h / 2]]) * (width, height)
                assert square.to_prepared(box).min() >= 0
                assert square.to_prepared(box).max() <= 512
                seen += 1
    assert seen >= 6


def _unasked() -> Box:
    raise AssertionError("no step asks for the disc")
