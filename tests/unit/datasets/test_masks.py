from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from glaucoma.datasets.masks import (
    CanonicalMask,
    canonical,
    from_parts,
    inverted_three_level,
    one_structure,
    read_grey,
    vertical_cdr,
)
from glaucoma.errors import DatasetError
from glaucoma.schema import StructureState

MaskFile = Callable[..., bytes]

TRUTH = np.zeros((20, 24), np.uint8)
TRUTH[5:15, 6:16] = 1
TRUTH[8:12, 9:13] = 2


def coded(background: int, rim: int, cup: int) -> np.ndarray:
    return np.array([background, rim, cup], np.uint8)[TRUTH]


@pytest.mark.parametrize(
    "levels", [(0, 1, 2), (0, 128, 255), (255, 128, 0), (0, 127, 254), (3, 120, 250), (252, 130, 6)]
)
def test_three_levels_in_either_polarity_give_one_mask(levels: tuple[int, int, int]) -> None:
    mask = canonical(coded(*levels), "m")
    np.testing.assert_array_equal(mask.values, TRUTH)
    assert (mask.disc_state, mask.cup_state) == (StructureState.PRESENT, StructureState.PRESENT)


@pytest.mark.parametrize("levels", [(0, 255, 255), (255, 0, 0)])
def test_two_levels_are_a_disc_and_say_nothing_of_the_cup(levels: tuple[int, int, int]) -> None:
    mask = canonical(coded(*levels), "m")
    np.testing.assert_array_equal(mask.values, TRUTH > 0)
    assert mask.disc_state is StructureState.PRESENT
    assert mask.cup_state is StructureState.NOT_VISIBLE


@pytest.mark.parametrize("levels", [(0, 128, 128), (255, 128, 128)])
def test_a_rim_without_a_cup_states_that_the_cup_is_absent(levels: tuple[int, int, int]) -> None:
    mask = canonical(coded(*levels), "m")
    np.testing.assert_array_equal(mask.values, TRUTH > 0)
    assert mask.cup_state is StructureState.ABSENT


@pytest.mark.parametrize("grey", [0, 255])
def test_a_blank_mask_holds_no_disc(grey: int) -> None:
    mask = canonical(np.full((8, 8), grey, np.uint8), "m")
    assert mask.disc_state is StructureState.ABSENT
    assert not mask.values.any()


@pytest.mark.parametrize("levels", [(0, 60, 255), (0, 1, 255), (128, 0, 255)])
def test_other_values_are_refused_and_named(levels: tuple[int, int, int]) -> None:
    with pytest.raises(DatasetError, match=r"The mask m has"):
        canonical(coded(*levels), "m")


def test_refuge_masks_are_read_by_their_own_rule_whatever_their_border() -> None:
    whole = np.full((6, 6), 128, np.uint8)
    whole[2:4, 2:4] = 0
    mask = inverted_three_level(whole, "m")
    assert mask.values[0, 0] == 1
    assert mask.values[2, 2] == 2
    with pytest.raises(DatasetError, match="other grey values"):
        inverted_three_level(np.full((3, 3), 60, np.uint8), "m")


def test_a_cup_beyond_the_disc_makes_the_disc_larger() -> None:
    disc, cup = np.zeros((2, 6, 6), bool)
    disc[1:4, 1:4] = True
    cup[3:5, 3:5] = True
    mask = from_parts(disc, cup)
    np.testing.assert_array_equal(mask.values >= 1, disc | cup)
    np.testing.assert_array_equal(mask.values == 2, cup)
    with pytest.raises(DatasetError, match="one size"):
        from_parts(disc, cup[1:])


def test_a_mask_of_other_values_cannot_be_made() -> None:
    with pytest.raises(DatasetError, match="not canonical"):
        CanonicalMask(np.full((2, 2), 3, np.uint8))


@pytest.mark.parametrize("ending", [".png", ".bmp", ".tif", ".jpg"])
def test_every_file_kind_is_read_as_grey(ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"m{ending}"
    cv2.imwrite(str(path), np.kron(coded(255, 128, 0), np.ones((8, 8), np.uint8)))
    mask = canonical(read_grey(path), "m").values
    assert (mask == np.kron(TRUTH, np.ones((8, 8), np.uint8))).mean() > 0.97  # JPEG smears the edges
    assert ending == ".jpg" or (mask == np.kron(TRUTH, np.ones((8, 8), np.uint8))).all()


def test_a_coloured_palette_gives_class_numbers_and_a_grey_one_greys(tmp_path: Path) -> None:
    palettes = {"colour": [0, 0, 0, 255, 0, 0, 0, 255, 0], "grey": [0, 0, 0, 128, 128, 128, 255, 255, 255]}
    for name, palette in palettes.items():
        image = Image.frombytes("P", TRUTH.shape[::-1], TRUTH.tobytes())
        image.putpalette(palette)
        image.save(tmp_path / f"{name}.png")
        np.testing.assert_array_equal(canonical(read_grey(tmp_path / f"{name}.png"), name).values, TRUTH)


def test_grey_kept_in_three_channels_or_in_sixteen_bits_is_read(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "rgb.png"), np.repeat(coded(0, 128, 255)[..., None], 3, axis=2))
    cv2.imwrite(str(tmp_path / "deep.png"), coded(0, 128, 255).astype(np.uint16) * 257)
    cv2.imwrite(str(tmp_path / "classes.png"), TRUTH.astype(np.uint16))
    for name in ("rgb", "deep", "classes"):
        np.testing.assert_array_equal(canonical(read_grey(tmp_path / f"{name}.png"), name).values, TRUTH)


def test_a_coloured_picture_and_a_broken_file_are_no_masks(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "red.png"), np.full((4, 4, 3), (0, 0, 200), np.uint8))
    with pytest.raises(DatasetError, match="coloured"):
        read_grey(tmp_path / "red.png")
    (tmp_path / "bad.png").write_bytes(b"\x89PNG nothing")
    with pytest.raises(DatasetError, match="cannot be read"):
        read_grey(tmp_path / "bad.png")


def test_a_mask_that_states_too_many_pixels_is_not_decoded(tmp_path: Path) -> None:
    Image.new("1", (40_000, 4_000)).save(tmp_path / "large.png")
    with pytest.raises(DatasetError, match=r"large.png cannot be read .*pixels"):
        read_grey(tmp_path / "large.png")


@pytest.mark.parametrize("levels", [(0, 1), (1, 0), (1, 2), (0, 255), (255, 0), (0, 128), (3, 250)])
def test_one_structure_is_what_the_border_is_not(levels: tuple[int, int]) -> None:
    np.testing.assert_array_equal(one_structure(np.array(levels, np.uint8)[(TRUTH > 0) * 1], "m"), TRUTH > 0)


@pytest.mark.parametrize("levels", [(0, 1, 2), (0, 128, 255)])
def test_a_mask_of_two_structures_is_not_one(levels: tuple[int, int, int]) -> None:
    with pytest.raises(DatasetError, match="more than one structure"):
        one_structure(coded(*levels), "m")


def test_the_vertical_ratio_is_that_of_the_heights_in_rows() -> None:
    assert vertical_cdr(TRUTH) == pytest.approx(4 / 10)
    assert vertical_cdr(np.where(TRUTH == 2, 1, TRUTH).astype(np.uint8)) is None
    assert vertical_cdr(np.zeros((4, 4), np.uint8)) is None
