"""Which half of a stereo photograph a mask belongs to, on drawn and on real pairs."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from glaucoma.datasets.layouts.stereo import half_of_mask, overlay_on_halves
from glaucoma.schema import SourcePart
from tests.unit.datasets.lookalikes.drawing import Ellipse, stereo_pair


@pytest.mark.parametrize("half", ["left", "right"])
def test_the_bright_disc_tells_the_half(half: str, tmp_path: Path) -> None:
    disc = Ellipse(30, 40, 14, 16).pixels(90, 80)
    path = tmp_path / "pair.jpg"
    cv2.imwrite(str(path), stereo_pair("a", disc, half))
    assert overlay_on_halves(path, disc).part is SourcePart(half)


def test_two_equal_halves_an_empty_disc_and_a_broken_file_tell_nothing(tmp_path: Path) -> None:
    disc = Ellipse(30, 40, 14, 16).pixels(90, 80)
    half = stereo_pair("a", disc, "left")[:, :80]
    cv2.imwrite(str(tmp_path / "same.png"), np.hstack([half, half]))
    assert overlay_on_halves(tmp_path / "same.png", disc).part is None
    assert overlay_on_halves(tmp_path / "same.png", np.zeros_like(disc)).part is None
    (tmp_path / "bad.jpg").write_bytes(b"\xff\xd8")
    assert overlay_on_halves(tmp_path / "bad.jpg", disc).part is None


def test_a_mask_of_the_whole_width_tells_by_where_it_lies() -> None:
    blank = np.zeros((9, 21), bool)
    assert half_of_mask(blank) is None
    blank[3:5, 12:18] = True
    assert half_of_mask(blank) is SourcePart.RIGHT
    assert half_of_mask(blank[:, ::-1]) is SourcePart.LEFT


@pytest.mark.real
@pytest.mark.skipif("ARC_REAL_DATA" not in os.environ, reason="ARC_REAL_DATA is not set")
@pytest.mark.parametrize("half", ["left", "right"])
def test_real_discs_are_found_in_the_half_that_they_were_marked_in(half: str, tmp_path: Path) -> None:
    """Pairs cut from real photographs whose discs are marked by boxes, the second view 80 pixels to the side."""
    height, width, shift = 1424, 1072, 80
    found = []
    for path in sorted((Path(os.environ["ARC_REAL_DATA"]) / "idrid-sample/images").glob("*.jpg")):
        whole = cv2.imread(str(path))
        box = next(line.split() for line in path.with_suffix(".txt").read_text().splitlines() if line[0] == "0")
        x, y, box_width, box_height = np.array(box[1:], float) * [*whole.shape[1::-1], *whole.shape[1::-1]]
        left = int(np.clip(x - width / 2, shift, whole.shape[1] - width - shift))
        top = int(np.clip(y - height / 2, 0, whole.shape[0] - height))
        disc = Ellipse(x - left, y - top, box_width / 2, box_height / 2).pixels(height, width)
        views = [whole[top : top + height, start : start + width] for start in (left, left + shift)]
        cv2.imwrite(str(tmp_path / "pair.jpg"), np.hstack(views if half == "left" else views[::-1]))
        found.append(overlay_on_halves(tmp_path / "pair.jpg", disc).part)
    assert found == [SourcePart(half)] * 6
