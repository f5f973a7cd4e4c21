"""Photographs that EXIF turns, that stand upright, or that are half of a pair, and the masks that go with them."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path, PurePosixPath

import cv2
import numpy as np
import pytest
from PIL import Image

from glaucoma.datasets.imagefile import read_photograph
from glaucoma.datasets.intake import Intake, take_in
from glaucoma.datasets.layouts.base import SourceImage, SourceMask
from glaucoma.datasets.masks import canonical, read_grey
from glaucoma.datasets.tree import Tree
from glaucoma.errors import IntegrityError
from glaucoma.progress import silent
from glaucoma.schema import SourcePart, StructureState
from tests.unit.datasets.lookalikes.base import encoded, nerve_head

HEIGHT, WIDTH = 40, 56


def marked_photograph(mask: np.ndarray, orientation: int) -> bytes:
    """The disc is red and the cup green in the picture itself: turned pixels show where the mask must lie."""
    pixels = np.zeros((*mask.shape, 3), np.uint8)
    pixels[mask == 1] = (255, 0, 0)
    pixels[mask == 2] = (0, 255, 0)
    exif, buffer = Image.Exif(), io.BytesIO()
    exif[0x0112] = orientation
    Image.fromarray(pixels).save(buffer, "PNG", exif=exif)
    return buffer.getvalue()


def taken_in(root: Path, files: dict[str, bytes], part: SourcePart = SourcePart.WHOLE) -> tuple[Intake, Path]:
    """Takes in `photo.png` with `mask.png`."""
    tree = Tree.of(root / "files", files)
    for name, content in files.items():
        (root / "files").mkdir(exist_ok=True)
        (root / "files" / name).write_bytes(content)
    mask = PurePosixPath("mask.png")
    source = SourceMask((mask,), lambda: canonical(read_grey(tree.full(mask)), "mask.png"))
    staging = root / "staging"
    staging.mkdir()
    hashes = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    images = [SourceImage(PurePosixPath("photo.png"), mask=source, part=part)]
    return take_in(staging, tree, images, hashes, 1.0, silent), staging


@pytest.mark.parametrize("orientation", [1, 5, 6, 7, 8])
def test_a_mask_drawn_on_the_stored_picture_lies_on_the_turned_one(orientation: int, tmp_path: Path) -> None:
    mask = nerve_head("a", WIDTH, HEIGHT)
    mask[:12, :20] = 1  # no symmetry: every turn shows
    intake, staging = taken_in(
        tmp_path, {"photo.png": marked_photograph(mask, orientation), "mask.png": encoded(mask, ".png")}
    )
    (one,) = intake.taken
    shown = read_photograph(staging / one.image).pixels
    laid = cv2.imread(str(staging / one.mask), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(laid == 1, shown[..., 0] == 255)
    np.testing.assert_array_equal(laid == 2, shown[..., 1] == 255)
    assert (one.fingerprint.height, one.fingerprint.width) == shown.shape[:2]


@pytest.mark.parametrize(
    ("orientation", "shape", "said"),
    [
        (3, (HEIGHT, WIDTH), "orientation 3 turns it, and nothing tells"),
        (1, (WIDTH, HEIGHT), "one of the two lies on its side"),
        (6, (HEIGHT, HEIGHT), "it has 40 x 40 pixels, its photograph 40 x 56"),
    ],
)
def test_a_mask_that_could_lie_otherwise_is_set_aside_and_its_photograph_stays(
    orientation: int, shape: tuple[int, int], said: str, tmp_path: Path
) -> None:
    photo = marked_photograph(nerve_head("a", WIDTH, HEIGHT), orientation)
    intake, _ = taken_in(tmp_path, {"photo.png": photo, "mask.png": encoded(np.ones(shape, np.uint8), ".png")})
    assert (intake.taken[0].mask, intake.taken[0].disc_state) == ("", StructureState.NOT_VISIBLE)
    (aside,) = intake.set_aside
    assert aside["source"] == "mask.png"
    assert said in aside["reason"]


@pytest.mark.parametrize("part", [SourcePart.LEFT, SourcePart.RIGHT])
@pytest.mark.parametrize("whole_width", [False, True])
def test_a_half_is_written_without_loss_and_its_mask_is_the_half_s(
    part: SourcePart, whole_width: bool, tmp_path: Path
) -> None:
    masks = [nerve_head(side, WIDTH // 2, HEIGHT) for side in ("left", "right")]
    own = masks[part is SourcePart.RIGHT]
    files = {
        "photo.png": marked_photograph(np.hstack(masks), 1),
        "mask.png": encoded(np.hstack(masks) if whole_width else own, ".png"),
    }
    intake, staging = taken_in(tmp_path, files, part)
    (one,) = intake.taken
    assert one.image.startswith(f"images/photo_{part}-")
    assert one.image.endswith(".png")
    found = read_photograph(staging / one.image)
    assert found.sha256 == one.fingerprint.sha256 == hashlib.sha256((staging / one.image).read_bytes()).hexdigest()
    np.testing.assert_array_equal(found.pixels[..., 0] == 255, own == 1)
    np.testing.assert_array_equal(cv2.imread(str(staging / one.mask), cv2.IMREAD_UNCHANGED), own)
    assert one.vertical_cdr == pytest.approx((own == 2).any(axis=1).sum() / (own > 0).any(axis=1).sum())


def test_a_pair_that_is_not_what_was_unpacked_shuts_the_door(tmp_path: Path) -> None:
    mask = nerve_head("a", WIDTH, HEIGHT)
    files = {"photo.png": marked_photograph(mask, 1), "mask.png": encoded(mask, ".png")}
    tree = Tree.of(tmp_path, files)
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "staging").mkdir()
    images = [SourceImage(PurePosixPath("photo.png"), part=SourcePart.LEFT)]
    with pytest.raises(IntegrityError, match="not what was unpacked"):
        take_in(tmp_path / "staging", tree, images, {"photo.png": "0" * 64}, 1.0, silent)


def test_a_picture_too_narrow_to_have_halves_is_set_aside_and_the_rest_go_on(tmp_path: Path) -> None:
    files = {
        "narrow.png": encoded(np.zeros((8, 1, 3), np.uint8), ".png"),
        "photo.png": encoded(np.zeros((8, 8, 3), np.uint8), ".png"),
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    staging = tmp_path / "staging"
    staging.mkdir()
    hashes = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    images = [SourceImage(PurePosixPath(name), part=SourcePart.LEFT) for name in files]
    intake = take_in(staging, Tree.of(tmp_path, files), images, hashes, 1.0, silent)
    assert [str(one.source.source) for one in intake.taken] == ["photo.png"]
    assert [one["source"] for one in intake.set_aside] == ["narrow.png"]
    assert "no left half" in intake.set_aside[0]["reason"]
