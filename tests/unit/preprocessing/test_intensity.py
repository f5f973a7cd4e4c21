from __future__ import annotations

import cv2
import numpy as np
import pytest

from glaucoma.preprocessing.intensity import equalise, normalise
from glaucoma.preprocessing.settings import Clahe, ClaheChannel, Normalise, NormaliseMethod

GREY_WORLD = Normalise(method=NormaliseMethod.GREY_WORLD)


def disc_field(size: int, radius: int) -> np.ndarray:
    inside = np.zeros((size, size), np.uint8)
    cv2.circle(inside, (size // 2, size // 2), radius, 1, -1)
    return inside


def retina(size: int, radius: int, level: tuple[int, int, int] = (120, 80, 40), seed: int = 5) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(0, 4, (size, size, 1))
    lit = np.clip(np.array(level) + noise, 0, 255)
    return np.where(disc_field(size, radius)[..., None] == 1, lit, 0).astype(np.uint8)


def test_clahe_on_green_touches_green_alone_and_equals_opencv_s() -> None:
    picture = np.random.default_rng(3).integers(60, 120, (64, 64, 3), dtype=np.uint8)
    before = picture.copy()
    result = equalise(picture, np.ones((64, 64), np.uint8), Clahe(clip_limit=3.0, tiles=4))
    assert (result[..., [0, 2]] == picture[..., [0, 2]]).all()
    expected = cv2.createCLAHE(clipLimit=3.0, tileGridSize=(4, 4)).apply(np.ascontiguousarray(picture[..., 1]))
    assert (result[..., 1] == expected).all()
    assert (picture == before).all()


@pytest.mark.parametrize("channel", list(ClaheChannel))
def test_clahe_raises_a_flat_picture_s_contrast(channel: ClaheChannel) -> None:
    rng = np.random.default_rng(4)
    picture = np.clip(rng.normal(100, 5, (128, 128, 1)).repeat(3, axis=2), 0, 255).astype(np.uint8)
    result = equalise(picture, np.ones((128, 128), np.uint8), Clahe(channel=channel, clip_limit=4.0, tiles=4))
    assert result[..., 1].std() > 1.3 * picture[..., 1].std()


def test_clahe_on_lightness_keeps_the_hue() -> None:
    picture = retina(128, 70, (150, 90, 40))
    inside = disc_field(128, 50)
    result = equalise(picture, inside, Clahe(channel="lightness", clip_limit=4.0, tiles=4))
    hue = [cv2.cvtColor(one, cv2.COLOR_RGB2HSV)[..., 0][inside == 1].mean() for one in (picture, result)]
    assert hue[0] == pytest.approx(hue[1], abs=1.5)


def test_clahe_puts_no_ring_around_the_field() -> None:
    inside = disc_field(256, 110)
    green = equalise(retina(256, 110), inside, Clahe())[..., 1].astype(float)
    assert _ring_less_core(green, inside) < 6


def test_grey_world_gives_every_channel_of_the_field_the_same_mean() -> None:
    inside = disc_field(128, 50)
    result = normalise(retina(128, 60), inside, GREY_WORLD, field_radius_px=50)
    means = result[inside == 1].mean(axis=0)
    assert means == pytest.approx([80, 80, 80], abs=1)


def test_grey_world_takes_a_camera_s_colour_cast_away() -> None:
    inside = disc_field(128, 60)
    one, other = retina(128, 60, (150, 90, 40)), retina(128, 60, (110, 120, 50))
    before = np.abs(one[inside == 1].mean(axis=0) - other[inside == 1].mean(axis=0)).max()
    ends = [normalise(picture, inside, GREY_WORLD, field_radius_px=60)[inside == 1] for picture in (one, other)]
    assert before > 25
    assert np.abs(ends[0].mean(axis=0) - ends[1].mean(axis=0)).max() < 2


def test_grey_world_does_not_turn_the_noise_of_a_dark_channel_into_light() -> None:
    inside = disc_field(128, 60)
    picture = retina(128, 60, (150, 90, 8))
    result = normalise(picture, inside, GREY_WORLD, field_radius_px=60)
    assert result[inside == 1][:, 2].mean() == pytest.approx(4 * picture[inside == 1][:, 2].mean(), abs=0.5)


def test_a_stretch_reaches_from_black_to_white_and_keeps_the_order_of_channels() -> None:
    inside = disc_field(128, 60)
    step = Normalise(method=NormaliseMethod.STRETCH)
    result = normalise(retina(128, 60), inside, step, field_radius_px=60)
    lit = result[inside == 1]
    assert (lit.min(), lit.max()) == (0, 255)
    assert 0.002 < (lit == 255).mean() < 0.02
    assert lit[:, 0].mean() > lit[:, 1].mean() > lit[:, 2].mean()


def test_a_stretch_undoes_a_change_of_brightness_and_contrast() -> None:
    inside = disc_field(128, 60)
    step = Normalise(method=NormaliseMethod.STRETCH)
    picture = retina(128, 60)
    dim = np.rint(picture * 0.6 + 12).astype(np.uint8)
    ends = [normalise(one, inside, step, field_radius_px=60)[inside == 1].astype(int) for one in (picture, dim)]
    assert np.abs(ends[0] - ends[1]).mean() < 2


def test_local_mean_evens_out_uneven_illumination() -> None:
    inside = disc_field(256, 120)
    slope = np.linspace(0.6, 1.4, 256)[None, :, None]
    picture = np.clip(retina(256, 120).astype(float) * slope, 0, 255).astype(np.uint8)
    step = Normalise(method=NormaliseMethod.LOCAL_MEAN)
    result = normalise(picture, inside, step, field_radius_px=120).astype(float)
    core = cv2.erode(inside, np.ones((31, 31), np.uint8)) == 1
    left, right = core.copy(), core.copy()
    left[:, 128:], right[:, :128] = False, False
    assert abs(picture[left].mean() - picture[right].mean()) > 15
    assert result[left].mean() == pytest.approx(result[right].mean(), abs=1)
    assert result[core].mean() == pytest.approx(128, abs=2)


def test_local_mean_puts_no_ring_around_the_field() -> None:
    inside = disc_field(256, 110)
    step = Normalise(method=NormaliseMethod.LOCAL_MEAN)
    result = normalise(retina(256, 110), inside, step, field_radius_px=110)[..., 1].astype(float)
    assert _ring_less_core(result, inside) < 6


@pytest.mark.parametrize("method", [NormaliseMethod.GREY_WORLD, NormaliseMethod.STRETCH])
def test_a_picture_of_one_grey_stays_as_it_is(method: NormaliseMethod) -> None:
    picture = np.full((32, 32, 3), 90, np.uint8)
    result = normalise(picture, np.ones((32, 32), np.uint8), Normalise(method=method), field_radius_px=16)
    assert (result == picture).all()


@pytest.mark.parametrize("method", list(NormaliseMethod))
def test_what_lies_outside_the_field_changes_nothing_inside(method: NormaliseMethod) -> None:
    inside = disc_field(64, 20)
    picture = retina(64, 25)
    other = picture.copy()
    other[inside == 0] = (3, 250, 9)
    step = Normalise(method=method)
    ends = [normalise(one, inside, step, field_radius_px=20)[inside == 1] for one in (picture, other)]
    assert (ends[0] == ends[1]).all()


@pytest.mark.parametrize("method", list(NormaliseMethod))
def test_a_channel_without_light_is_no_error(method: NormaliseMethod) -> None:
    picture = retina(64, 25, (120, 60, 0))
    picture[..., 2] = 0
    result = normalise(picture, disc_field(64, 20), Normalise(method=method), field_radius_px=20)
    assert result.shape == picture.shape
    assert result.dtype == np.uint8


def _ring_less_core(channel: np.ndarray, inside: np.ndarray) -> float:
    core = cv2.erode(inside, np.ones((41, 41), np.uint8)) == 1
    ring = (inside == 1) & (cv2.erode(inside, np.ones((9, 9), np.uint8)) == 0)
    return float(abs(channel[ring].mean() - channel[core].mean()))


def test_the_local_mean_of_a_large_picture_is_that_of_a_plain_gaussian() -> None:
    rng = np.random.default_rng(0)
    coarse = cv2.resize(rng.integers(40, 200, (24, 24, 3), dtype=np.uint8), (600, 600), interpolation=cv2.INTER_CUBIC)
    picture = np.clip(coarse + rng.normal(0, 3, coarse.shape), 0, 255).astype(np.uint8)
    inside = disc_field(600, 260)
    step = Normalise(method=NormaliseMethod.LOCAL_MEAN)
    result = normalise(picture, inside, step, field_radius_px=30 * 25.0)
    lit = picture * inside[..., None].astype(np.float64)
    share = np.maximum(cv2.GaussianBlur(inside.astype(np.float64), (0, 0), 25.0), 1e-3)
    mean = cv2.GaussianBlur(lit, (0, 0), 25.0) / share[..., None]
    expected = np.clip(4 * (lit - mean) + 128, 0, 255)[inside == 1]
    off = np.abs(result[inside == 1] - expected)
    assert off.mean() < 0.6  # half a grey level is the rounding's
    assert np.percentile(off, 99) < 2
