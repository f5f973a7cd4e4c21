from __future__ import annotations

import math
import os
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from glaucoma.schema import Eye, MaskValue
from glaucoma.synthetic.anatomy import Nerve
from glaucoma.synthetic.cameras import CAMERAS, Camera, disc_crop
from glaucoma.synthetic.fundus import Photograph
from glaucoma.synthetic.nerve_head import mask_vertical_cdr
from glaucoma.synthetic.texture import ByteArray, FloatArray

Shoot = Callable[..., Photograph]


@pytest.mark.parametrize("camera", CAMERAS, ids=lambda camera: camera.name)
def test_a_photograph_has_its_cameras_size_and_a_mask_of_that_size(shoot: Shoot, camera: Camera) -> None:
    photograph = shoot(camera=camera)
    width, height = camera.size_px(240)
    assert photograph.image.shape == (height, width, 3)
    assert photograph.image.dtype == np.uint8
    assert photograph.mask.shape == (height, width)
    assert set(np.unique(photograph.mask)) == set(MaskValue)


def test_the_large_preset_gives_refuges_sizes() -> None:
    assert CAMERAS[0].size_px(2056) == (2124, 2056)
    assert CAMERAS[1].size_px(2056) == (1634, 1634)


def test_the_same_seed_gives_the_same_pixels_and_another_seed_others(shoot: Shoot) -> None:
    np.testing.assert_array_equal(shoot(3).image, shoot(3).image)
    assert (shoot(3).image != shoot(4).image).mean() > 0.3


def test_the_global_random_state_plays_no_part(shoot: Shoot) -> None:
    np.random.seed(1)
    first = shoot(3).image
    np.random.seed(2)
    np.testing.assert_array_equal(first, shoot(3).image)


def test_a_left_eye_has_its_disc_on_the_left_of_its_fovea(shoot: Shoot) -> None:
    for eye, sign in ((Eye.OD, 1), (Eye.OS, -1)):
        photograph = shoot(eye=eye)
        disc_column = np.nonzero(photograph.mask)[1].mean()
        assert sign * (disc_column - photograph.fovea_px[0]) > 0


def test_the_field_is_round_on_black_or_cut_or_fills_a_crop(shoot: Shoot) -> None:
    whole, cut = shoot(camera=CAMERAS[0]).image, shoot(camera=CAMERAS[2]).image
    crop = shoot(camera=disc_crop(CAMERAS[0], 12.0, 0.5)).image
    middle = whole.shape[1] // 2
    for image in (whole, cut):
        assert image[:8, :8].mean() < 8
        assert image[-8:, -8:].mean() < 8
    assert whole[0, middle - 5 : middle + 5].mean() < 40
    assert cut[0, cut.shape[1] // 2].max() > 40
    assert (crop.max(axis=2) > 30).mean() > 0.99


def test_the_disc_is_brighter_than_the_retina_and_the_fovea_darker(shoot: Shoot) -> None:
    for seed in range(6):
        photograph = shoot(seed)
        green = photograph.image[..., 1].astype(float)
        retina = np.median(green[(photograph.mask == 0) & (green > 20)])
        column, row = (round(value) for value in photograph.fovea_px)
        assert np.median(green[photograph.mask > 0]) > 1.3 * retina
        assert green[row - 2 : row + 3, column - 2 : column + 3].mean() < 0.9 * retina


def test_illness_changes_nothing_outside_the_disc(shoot: Shoot, healthy: Nerve, ill: Nerve) -> None:
    """A model that tells the classes apart must look at the disc, and its explanation must show that."""
    for seed in range(4):
        one, other = shoot(seed, nerve=healthy), shoot(seed, nerve=ill)
        disc = (one.mask > 0).astype(np.uint8)
        np.testing.assert_array_equal(disc, (other.mask > 0).astype(np.uint8))
        away = cv2.dilate(disc, np.ones((9, 9), np.uint8)) == 0
        np.testing.assert_array_equal(one.image[away], other.image[away])
        assert (one.image[~away] != other.image[~away]).any()


def test_the_classes_can_be_told_apart_by_the_pixels_of_the_disc(shoot: Shoot, healthy: Nerve, ill: Nerve) -> None:
    scores = [paleness_half_way(shoot(seed, nerve=nerve)) for seed in range(12) for nerve in (healthy, ill)]
    assert roc_auc_score([0, 1] * 12, scores) > 0.9


def test_a_mask_without_disc_has_no_ratio() -> None:
    assert math.isnan(mask_vertical_cdr(np.zeros((8, 8), np.uint8)))


def test_the_ratio_of_a_mask_is_that_of_its_heights() -> None:
    mask = np.zeros((20, 20), np.uint8)
    mask[2:18, 5:15] = MaskValue.DISC
    mask[6:14, 8:9] = MaskValue.CUP
    assert mask_vertical_cdr(mask) == 0.5


@pytest.mark.real
def test_colours_lie_where_those_of_real_photographs_lie(shoot: Shoot) -> None:
    root = os.environ.get("ARC_REAL_DATA")
    if not root:
        pytest.skip("ARC_REAL_DATA is not set")
    files = [*Path(root, "idrid-sample/images").glob("*.jpg"), *Path(root, "cc0-single").glob("*.jpg")]
    real = np.array([balance(cv2.imread(str(path))[::8, ::8, ::-1]) for path in files])
    made = np.array([balance(shoot(seed, camera=CAMERAS[seed % 4]).image) for seed in range(24)])
    assert len(real) >= 8
    assert (made > real.min(axis=0) * 0.75).all()
    assert (made < real.max(axis=0) * 1.25).all()


def balance(image: ByteArray) -> FloatArray:
    """Median red of the field of full scale, and green and blue over red."""
    field = image[image.max(axis=2) > 40].astype(float)
    red, green, blue = np.median(field, axis=0)
    return np.array([red / 255, green / red, (blue + 10) / red])


def paleness_half_way(photograph: Photograph) -> float:
    """Green of the disc about half way from its middle to its margin, over that near its margin."""
    disc = (photograph.mask > 0).astype(np.uint8)
    depth = cv2.distanceTransform(disc, cv2.DIST_L2, 5)
    depth /= depth.max()
    green = photograph.image[..., 1].astype(float)
    return float(np.mean(green[(depth > 0.35) & (depth < 0.55)]) / np.mean(green[(depth > 0.05) & (depth < 0.2)]))
