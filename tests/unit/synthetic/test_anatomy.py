from __future__ import annotations

import numpy as np
import pytest

from glaucoma.errors import SettingsError
from glaucoma.schema import Eye
from glaucoma.synthetic.anatomy import Nerve, cup_radii, draw_anatomy, draw_complexion, radius_at
from glaucoma.synthetic.texture import FloatArray

ANGLES = np.linspace(0, 2 * np.pi, 360, endpoint=False)


def height(radii: FloatArray) -> float:
    y = radii * np.sin(ANGLES)
    return float(y.max() - y.min())


def disc(seed: int = 0) -> FloatArray:
    rng = np.random.default_rng(seed)
    return draw_anatomy(rng, Eye.OD, draw_complexion(rng)).disc_radii_deg


def test_the_disc_is_upright_and_of_the_size_of_real_ones() -> None:
    for seed in range(30):
        radii = disc(seed)
        width = np.ptp(radii * np.cos(ANGLES))
        assert 5.5 < height(radii) < 9
        assert 0.7 < width / height(radii) < 1.08


def test_a_notch_thins_the_rim_below_more_than_above() -> None:
    radii = disc()
    cup = cup_radii(np.random.default_rng(1), radii, Nerve(0.7, notch=1.0, pallor=0.5))
    rim = 1 - cup / radii
    below, above = rim[60:120].min(), rim[240:300].min()
    assert below < above


def test_a_healthy_rim_is_wider_below_than_above() -> None:
    radii = disc()
    rims = [1 - cup_radii(np.random.default_rng(seed), radii, Nerve(0.4, 0.0, 0.2)) / radii for seed in range(20)]
    mean = np.mean(rims, axis=0)
    assert mean[75:105].mean() > mean[255:285].mean()


@pytest.mark.parametrize("wrong", [(0.0, 0.0, 0.0), (0.95, 0.0, 0.0), (0.5, 1.1, 0.0), (0.5, 0.0, -0.1)])
def test_an_impossible_nerve_is_refused(wrong: tuple[float, float, float]) -> None:
    with pytest.raises(SettingsError, match="no optic nerve head"):
        Nerve(*wrong)


def test_radius_at_interpolates_and_goes_round() -> None:
    radii = (5 + np.cos(ANGLES)).astype(np.float32)
    angle = np.array([0.0, -np.pi / 2, 2 * np.pi, 7.3, -9.0])
    np.testing.assert_allclose(radius_at(radii, angle), 5 + np.cos(angle), atol=1e-3)


def test_both_eyes_of_a_person_share_their_pigment() -> None:
    rng = np.random.default_rng(5)
    person = draw_complexion(rng)
    right, left = draw_anatomy(rng, Eye.OD, person), draw_anatomy(rng, Eye.OS, person)
    assert right.pigment == left.pigment
    assert not np.array_equal(right.disc_radii_deg, left.disc_radii_deg)
