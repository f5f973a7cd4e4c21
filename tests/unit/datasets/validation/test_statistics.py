from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from scipy import stats

from glaucoma.datasets.imagefile import read_photograph, read_to_measure, stored_size
from glaucoma.datasets.mask_facts import measure_mask
from glaucoma.datasets.photograph_facts import SIDE_PX, Measured, at_working_size, measure_photograph
from glaucoma.datasets.statistics import measure_row
from glaucoma.schema import Column


def flat(level: int, size: int = 512) -> np.ndarray:
    return np.full((size, size, 3), level, np.uint8)


def test_a_flat_photograph_has_its_level_no_contrast_and_no_entropy() -> None:
    facts = measure_photograph(flat(120))
    assert facts[Measured.BRIGHTNESS] == 120
    assert facts[Measured.CONTRAST] == facts[Measured.ENTROPY] == facts[Measured.SHARPNESS] == 0
    assert facts[Measured.LIT_SHARE] == 1
    assert facts["channels"] == 1


def test_entropy_equals_scipy_s() -> None:
    grey = np.random.default_rng(0).integers(30, 200, (512, 512), dtype=np.uint8)
    facts = measure_photograph(np.repeat(grey[..., None], 3, axis=2))
    assert (facts["grey_low"], facts["grey_high"]) == (np.quantile(grey, 0.01), np.quantile(grey, 0.99))
    expected = stats.entropy(np.bincount(grey.ravel(), minlength=256), base=2)
    assert facts[Measured.ENTROPY] == pytest.approx(expected, abs=1e-9)
    assert facts[Measured.CONTRAST] == pytest.approx(grey.std(), abs=1e-6)


def test_the_dark_surround_does_not_count_in_brightness() -> None:
    picture = flat(0)
    picture[:, 256:] = 150
    facts = measure_photograph(picture)
    assert facts[Measured.BRIGHTNESS] == 150
    assert facts[Measured.LIT_SHARE] == 0.5


def test_a_black_photograph_has_no_brightness_rather_than_zero() -> None:
    facts = measure_photograph(flat(0))
    assert Measured.BRIGHTNESS not in facts
    assert facts[Measured.LIT_SHARE] == 0
    assert facts[Measured.FIELD_SHARE] is None


def test_blur_lowers_sharpness_and_size_alone_hardly_changes_it() -> None:
    rng = np.random.default_rng(1)
    picture = cv2.GaussianBlur(rng.integers(0, 256, (1024, 1024, 3), dtype=np.uint8), (0, 0), 6)
    picture = cv2.normalize(picture, None, 0, 255, cv2.NORM_MINMAX)
    sharp = measure_photograph(picture)[Measured.SHARPNESS]
    assert measure_photograph(cv2.GaussianBlur(picture, (0, 0), 8))[Measured.SHARPNESS] < 0.2 * sharp
    larger = cv2.resize(picture, (2048, 2048), interpolation=cv2.INTER_CUBIC)
    assert measure_photograph(larger)[Measured.SHARPNESS] == pytest.approx(sharp, rel=0.15)


def test_a_coloured_photograph_has_three_channels_and_a_red_one_is_red() -> None:
    picture = flat(0)
    picture[...] = (180, 60, 40)
    facts = measure_photograph(picture)
    assert facts["channels"] == 3
    assert facts[Measured.REDNESS] > 150


def disc_and_cup(disc: int = 20, cup: int = 10, offset: int = 0) -> np.ndarray:
    mask = np.zeros((100, 100), np.uint8)
    if disc:
        cv2.circle(mask, (50, 50), disc, 1, -1)
    if cup:
        cv2.circle(mask, (50 + offset, 50), cup, 2, -1)
    return mask


def facts_of(mask: np.ndarray, disc: str = "present", cup: str = "present") -> dict[str, bool | int | float]:
    return measure_mask(mask, (100, 100), disc, cup)


def test_a_sound_mask_passes_and_its_vertical_cdr_is_the_ratio_of_heights() -> None:
    facts = facts_of(disc_and_cup(20, 10))
    assert facts["mask_size_matches"]
    assert facts["mask_values_ok"]
    assert facts["cup_inside_disc"]
    assert facts["mask_states_ok"]
    assert facts["disc_parts"] == 1
    assert facts["vertical_cdr"] == 21 / 41


def test_a_cup_that_touches_the_disc_s_edge_is_still_inside() -> None:
    assert facts_of(disc_and_cup(20, 12, offset=8))["cup_inside_disc"]


@pytest.mark.parametrize("mask", [disc_and_cup(disc=0, cup=10), disc_and_cup(20, 10, offset=40)])
def test_a_cup_without_rim_or_beside_the_disc_is_not_inside(mask: np.ndarray) -> None:
    assert not facts_of(mask)["cup_inside_disc"]


def test_unknown_values_and_wrong_sizes_are_seen() -> None:
    mask = disc_and_cup()
    mask[0, 0] = 255
    assert not facts_of(mask)["mask_values_ok"]
    assert not measure_mask(disc_and_cup(), (100, 101), "present", "present")["mask_size_matches"]


@pytest.mark.parametrize(
    ("disc", "cup", "fits"),
    [
        ("present", "absent", True),
        ("present", "not_visible", True),
        ("present", "present", False),
        ("absent", "absent", False),
    ],
)
def test_the_manifest_s_states_are_held_against_the_mask(disc: str, cup: str, fits: bool) -> None:
    facts = facts_of(disc_and_cup(20, 0), disc, cup)
    assert facts["mask_states_ok"] is fits
    assert "vertical_cdr" not in facts


def test_a_disc_in_two_parts_is_counted() -> None:
    mask = disc_and_cup()
    mask[5:9, 5:9] = 1
    assert facts_of(mask)["disc_parts"] == 2


def test_an_unreadable_photograph_says_why_and_measures_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"nothing")
    row = {Column.IMAGE_ID.value: "a", Column.IMAGE.value: "a.jpg"}
    facts = measure_row(tmp_path, row)
    assert not facts.readable
    assert "cannot be decoded" in facts.problem
    assert facts.brightness is None


def test_the_field_of_view_is_the_round_retina_s_share() -> None:
    picture = flat(0)
    cv2.circle(picture, (256, 256), 240, (160, 90, 50), -1)
    assert measure_photograph(picture)[Measured.FIELD_SHARE] == pytest.approx(np.pi * 240**2 / 512**2, abs=0.02)
    assert measure_photograph(flat(120))[Measured.FIELD_SHARE] == 1


def test_a_photograph_lit_from_one_side_is_uneven_and_a_bright_disc_is_not() -> None:
    even = flat(120)
    side = (even * np.linspace(1, 0.2, 512)[None, :, None]).astype(np.uint8)
    disc = even.copy()
    cv2.circle(disc, (200, 256), 50, (250, 240, 200), -1)
    assert measure_photograph(even)[Measured.EVENNESS] == 1
    assert measure_photograph(side)[Measured.EVENNESS] < 0.6
    assert measure_photograph(disc)[Measured.EVENNESS] > 0.95


def test_clipped_pixels_are_counted_among_the_lit_ones() -> None:
    picture = flat(0)
    picture[:, 256:] = 150
    picture[:, 384:, 0] = 255
    assert measure_photograph(picture)[Measured.CLIPPED_SHARE] == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize(("height", "width"), [(2056, 2124), (100, 300), (1025, 700), (3, 2000), (1, 1)])
def test_the_longer_side_becomes_512_whatever_the_shape(height: int, width: int) -> None:
    small = at_working_size(np.full((height, width, 3), 90, np.uint8))
    assert max(small.shape[:2]) == 512
    assert (small == 90).all()


def test_shrinking_in_halves_gives_nearly_the_area_average() -> None:
    rng = np.random.default_rng(5)
    picture = cv2.GaussianBlur(rng.integers(0, 256, (1634, 1634, 3), dtype=np.uint8), (0, 0), 5)
    picture = cv2.normalize(picture, None, 0, 255, cv2.NORM_MINMAX)
    average = cv2.resize(picture, (512, 512), interpolation=cv2.INTER_AREA)
    assert np.abs(at_working_size(picture).astype(float) - average).mean() < 1.5


def test_a_mask_s_facts_do_not_depend_on_where_its_disc_lies() -> None:
    centre = facts_of(disc_and_cup())
    corner = np.zeros((100, 100), np.uint8)
    corner[:41, :41] = disc_and_cup()[30:71, 30:71]
    assert facts_of(corner) == centre
    assert facts_of(np.zeros((100, 100), np.uint8), "absent", "absent")["disc_parts"] == 0


def test_stated_numbers_stand_beside_the_measured_ratio(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.full((100, 100, 3), 90, np.uint8))
    cv2.imwrite(str(tmp_path / "m.png"), disc_and_cup())
    row = {column.value: "" for column in Column} | {
        "image_id": "a", "image": "a.png", "mask": "m.png", "disc_state": "present", "cup_state": "present",
        "stated_vertical_cdr": "0.5", "age_years": "61", "iop_mmhg": "",
    }  # fmt: skip
    facts = measure_row(tmp_path, row)
    assert facts.cdr_difference == pytest.approx(abs(21 / 41 - 0.5))
    assert (facts.age_years, facts.iop_mmhg) == (61, None)
    assert (facts.file_kind, facts.stored_channels, facts.depth_bits) == ("png", 3, 8)


def _differences(path: Path) -> dict[str, float]:
    """How far the facts of a photograph that the decoder halved lie from those of the whole one."""
    whole, halved = (
        measure_photograph(pixels) for pixels in (read_photograph(path).pixels, read_to_measure(path, SIDE_PX).pixels)
    )
    return {name: abs(halved[name] - whole[name]) for name in whole if name in set(Measured)} | {
        "relative_sharpness": abs(halved[Measured.SHARPNESS] / whole[Measured.SHARPNESS] - 1)
    }


_ALIKE = {
    Measured.BRIGHTNESS: 0.5,
    Measured.CONTRAST: 0.2,
    "relative_sharpness": 0.03,
    Measured.ENTROPY: 0.03,
    Measured.LIT_SHARE: 0.005,
    Measured.FIELD_SHARE: 0.005,
    Measured.REDNESS: 0.2,
    Measured.YELLOWNESS: 0.2,
    Measured.EVENNESS: 0.03,
    Measured.CLIPPED_SHARE: 0.01,
}
"""Some twice the largest difference seen; the narrowest gap between two bounds of a quality grade is ten times that."""


def test_a_photograph_halved_by_its_decoder_has_the_facts_of_the_whole_one(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    noise = cv2.GaussianBlur(rng.normal(0, 60, (1100, 1300, 3)).astype(np.float32), (0, 0), 3)
    picture = np.full((1100, 1300, 3), (150, 90, 60), np.float32) + noise
    inside = cv2.circle(np.zeros((1100, 1300), np.uint8), (650, 550), 500, 1, -1)[..., None]
    cv2.imwrite(str(tmp_path / "p.jpg"), np.clip(picture * inside, 0, 255).astype(np.uint8)[..., ::-1])
    assert read_to_measure(tmp_path / "p.jpg", SIDE_PX).pixels.shape == (550, 650, 3)
    differences = _differences(tmp_path / "p.jpg")
    assert all(differences[name] <= most for name, most in _ALIKE.items()), differences


@pytest.mark.real
def test_real_photographs_halved_by_their_decoder_have_the_facts_of_the_whole_ones(real_data: Path) -> None:
    paths = [path for path in real_data.rglob("*.jpg") if max(stored_size(path).shown) >= 2 * SIDE_PX]
    assert len(paths) >= 10
    for path in paths:
        differences = _differences(path)
        assert all(differences[name] <= most for name, most in _ALIKE.items()), (path.name, differences)
