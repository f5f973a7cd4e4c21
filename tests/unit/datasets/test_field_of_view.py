from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from glaucoma.datasets.field_of_view import NoFieldError, _percentiles, find_field
from glaucoma.datasets.imagefile import read_photograph


def round_field(height: int, width: int, centre: tuple[int, int], radius: int, level: int = 150) -> np.ndarray:
    picture = np.zeros((height, width, 3), np.uint8)
    cv2.circle(picture, centre, radius, (level, level // 2, level // 4), -1)
    return picture


def test_the_box_of_a_round_field_is_that_of_its_circle() -> None:
    field = find_field(round_field(600, 800, (420, 300), 250))
    assert field.has_border
    assert field.is_round
    assert field.box == pytest.approx((170, 50, 671, 551), abs=3)
    assert field.share == pytest.approx(np.pi * 250**2 / (600 * 800), rel=0.02)


def test_a_field_cut_flat_at_top_and_bottom_is_found_and_still_round() -> None:
    field = find_field(round_field(500, 900, (450, 250), 320))
    assert field.box == pytest.approx((130, 0, 771, 500), abs=3)
    assert field.is_round


def test_the_field_of_a_crop_without_surround_is_the_whole_photograph() -> None:
    picture = np.full((300, 310, 3), (160, 90, 40), np.uint8)
    picture[:60, :60] //= 2  # a vignette, not a surround
    field = find_field(picture)
    assert not field.has_border
    assert not field.is_round
    assert field.box == (0, 0, 310, 300)
    assert field.share == 1.0


def test_a_crop_at_the_field_s_edge_has_a_border_but_is_not_round() -> None:
    field = find_field(round_field(300, 300, (200, 150), 190))
    assert field.has_border
    assert not field.is_round


def test_a_date_printed_in_a_corner_is_no_part_of_the_field() -> None:
    picture = round_field(600, 600, (300, 300), 250)
    cv2.putText(picture, "2009-01", (5, 595), 0, 0.6, (255, 255, 255), 1)
    assert find_field(picture).box == pytest.approx((50, 50, 551, 551), abs=4)


def test_a_vessel_at_the_edge_does_not_dent_the_field() -> None:
    picture = round_field(600, 600, (300, 300), 250)
    cv2.line(picture, (300, 40), (300, 160), (5, 2, 2), 9)
    assert find_field(picture).box == pytest.approx((50, 50, 551, 551), abs=4)


def test_a_grey_surround_as_of_a_scanned_slide_is_still_surround() -> None:
    picture = np.maximum(round_field(600, 600, (300, 300), 250), np.uint8(35))
    assert find_field(picture).is_round


@pytest.mark.parametrize("level", [0, 10])
def test_a_black_photograph_has_no_field(level: int) -> None:
    with pytest.raises(NoFieldError, match="nothing is lit"):
        find_field(np.full((200, 200, 3), level, np.uint8))


def test_a_speck_of_light_is_no_field() -> None:
    with pytest.raises(NoFieldError):
        find_field(round_field(600, 600, (300, 300), 40))


@pytest.mark.parametrize("turn", [1, 2, 3])
def test_the_share_does_not_change_when_the_photograph_is_turned(turn: int) -> None:
    picture = round_field(400, 600, (280, 210), 180)
    assert find_field(np.rot90(picture, turn)).share == pytest.approx(find_field(picture).share, rel=0.02)


@pytest.mark.real
@pytest.mark.skipif("ARC_REAL_DATA" not in os.environ, reason="ARC_REAL_DATA is not set")
def test_real_whole_retinas_are_round_and_real_disc_crops_are_not() -> None:
    data = Path(os.environ["ARC_REAL_DATA"])
    whole = [*sorted(data.glob("idrid-sample/images/*.jpg")), *sorted(data.glob("cc0-single/*.jpg"))]
    crops = sorted(data.glob("acrima-sample/Database/Images/*.[jJ][pP][gG]"))
    assert whole
    assert crops
    assert all(find_field(read_photograph(path).pixels).is_round for path in whole)
    assert not any(find_field(read_photograph(path).pixels).is_round for path in crops)


def test_percentiles_from_a_histogram_are_numpy_s() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        picture = rng.integers(0, rng.integers(2, 256), tuple(rng.integers(5, 60, 2)), dtype=np.uint8)
        assert _percentiles(picture, 0.99, 0.5) == pytest.approx(tuple(np.percentile(picture, [99, 50])), abs=1e-9)
