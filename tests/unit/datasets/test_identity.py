from __future__ import annotations

import hashlib
from pathlib import Path, PurePosixPath

import cv2
import numpy as np
import pytest

from glaucoma.datasets.identity import Fingerprint, fingerprint
from glaucoma.datasets.imagefile import UnreadableImageError
from glaucoma.datasets.names import image_ids
from glaucoma.errors import DatasetError


def blobs(seed: int, size: int = 200) -> np.ndarray:
    coarse = np.random.default_rng(seed).integers(20, 255, (14, 14, 3), dtype=np.uint8)
    return np.asarray(cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC))


def saved(folder: Path, name: str, pixels: np.ndarray) -> Fingerprint:
    cv2.imwrite(str(folder / name), pixels)
    return fingerprint(folder / name)


def distance(one: str, other: str) -> int:
    return (int(one, 16) ^ int(other, 16)).bit_count()


def test_the_same_picture_in_another_file_has_the_same_pixels_and_other_bytes(tmp_path: Path) -> None:
    png, bmp = saved(tmp_path, "a.png", blobs(1)), saved(tmp_path, "b.bmp", blobs(1))
    assert png.sha256 != bmp.sha256
    assert png.pixel_sha256 == bmp.pixel_sha256
    assert (png.width, png.height) == (200, 200)


def test_recompressing_resizing_and_a_black_border_keep_the_perceptual_hash_near(tmp_path: Path) -> None:
    original = saved(tmp_path, "a.png", blobs(1))
    smaller = cv2.resize(blobs(1), (120, 120), interpolation=cv2.INTER_AREA)
    framed = cv2.copyMakeBorder(blobs(1), 30, 0, 90, 10, cv2.BORDER_CONSTANT)
    for one in (saved(tmp_path, "smaller.jpg", smaller), saved(tmp_path, "framed.png", framed)):
        assert distance(one.perceptual_hash, original.perceptual_hash) <= 16
    assert distance(saved(tmp_path, "c.png", blobs(2)).perceptual_hash, original.perceptual_hash) > 60


def retina(seed: int, width: int = 320, height: int = 240) -> np.ndarray:
    """A round field on black, left of the middle, cut flat at the top and bottom."""
    picture = np.zeros((height, width, 3), np.uint8)
    inside = np.zeros((height, width), np.uint8)
    cv2.circle(inside, (width * 2 // 5, height // 2), height * 11 // 20, 255, -1)
    texture = cv2.resize(blobs(seed), (width, height))
    picture[inside > 0] = np.maximum(texture, 60)[inside > 0]
    return picture


@pytest.mark.parametrize("grey", [0, 30])
def test_borders_of_any_width_and_near_black_are_cut_off_before_hashing(grey: int, tmp_path: Path) -> None:
    original = saved(tmp_path, "a.png", retina(1))
    framed = cv2.copyMakeBorder(retina(1), 33, 8, 61, 20, cv2.BORDER_CONSTANT, value=(grey, grey, grey))
    framed[framed < grey] = grey
    assert distance(saved(tmp_path, "b.png", framed).perceptual_hash, original.perceptual_hash) <= 8


@pytest.mark.parametrize("picture", [blobs(4), retina(4), retina(5, 1611, 1203)])
def test_the_hash_of_the_mirror_image_is_that_of_the_mirrored_picture(picture: np.ndarray, tmp_path: Path) -> None:
    found, mirrored = saved(tmp_path, "a.png", picture), saved(tmp_path, "b.png", picture[:, ::-1])
    assert distance(found.mirrored_hash, mirrored.perceptual_hash) <= 4
    assert distance(found.perceptual_hash, mirrored.mirrored_hash) <= 4
    assert distance(found.perceptual_hash, mirrored.perceptual_hash) > 60


def test_blank_pictures_have_one_hash_and_not_that_of_noise(tmp_path: Path) -> None:
    blank = [saved(tmp_path, f"{level}.png", np.full((70, 90, 3), level, np.uint8)) for level in (0, 40, 200)]
    assert {one.perceptual_hash for one in blank[1:]} == {one.mirrored_hash for one in blank[1:]} == {"8" + "0" * 63}
    assert len({one.pixel_sha256 for one in blank}) == 3


@pytest.mark.real
def test_real_photographs_stay_within_a_few_bits_when_they_are_saved_anew_and_far_from_each_other(
    real_data: Path, tmp_path: Path
) -> None:
    paths = sorted((real_data / "acrima-sample" / "Database" / "Images").iterdir())[::6]
    prints = [fingerprint(path) for path in paths]
    for path, one in zip(paths, prints, strict=True):
        pixels = cv2.imread(str(path))
        smaller = cv2.resize(pixels, (256, 256), interpolation=cv2.INTER_AREA)
        cv2.imwrite(str(tmp_path / "a.jpg"), smaller, [cv2.IMWRITE_JPEG_QUALITY, 70])
        assert distance(fingerprint(tmp_path / "a.jpg").perceptual_hash, one.perceptual_hash) <= 16
        turned = saved(tmp_path, "b.png", pixels[:, ::-1])
        assert distance(turned.perceptual_hash, one.mirrored_hash) <= 8
    nearest = min(
        distance(one.perceptual_hash, other)
        for place, one in enumerate(prints)
        for later in prints[place + 1 :]
        for other in (later.perceptual_hash, later.mirrored_hash)
    )
    assert nearest > 28


@pytest.mark.parametrize("ending", [".jpg", ".png"])
@pytest.mark.parametrize("share", [0.5, 0.98])
def test_a_file_cut_short_is_unreadable_though_decoders_fill_it_up(ending: str, share: float, tmp_path: Path) -> None:
    path = tmp_path / f"a{ending}"
    cv2.imwrite(str(path), blobs(0))
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(UnreadableImageError):
        fingerprint(path)


def test_exif_orientation_counts(tmp_path: Path) -> None:
    from PIL import Image

    exif = Image.Exif()
    exif[274] = 6  # turned by a quarter
    Image.fromarray(blobs(0)[:100]).save(tmp_path / "a.jpg", exif=exif)
    found = fingerprint(tmp_path / "a.jpg")
    assert (found.width, found.height) == (100, 200)


def test_ids_are_plain_unique_and_independent_of_order() -> None:
    paths = [PurePosixPath(p) for p in ["x/Im 01.JPG", "y/Im 01.jpg", "z/é.png", "眼.jpg", "q/" + "n" * 200 + ".jpg"]]
    ids = image_ids(paths)
    assert ids[0] == "x-im-01"
    assert ids[1] == "y-im-01"
    assert ids[2] == "e"
    assert len(set(ids)) == 5
    assert image_ids(paths[::-1]) == ids[::-1]


@pytest.mark.parametrize(
    "names", [["a-b.jpg", "a/b.jpg", "c/b.jpg"], ["a/b.jpg", "a/b.png"], ["A.jpg", "a.jpg", "Ä.jpg"]]
)
def test_ids_of_names_that_look_alike_stay_apart(names: list[str]) -> None:
    assert len(set(image_ids([PurePosixPath(name) for name in names]))) == len(names)


def test_a_file_named_as_anothers_id_will_be_is_refused() -> None:
    digits = hashlib.sha256(b"a/b.png").hexdigest()[:8]
    with pytest.raises(DatasetError, match=f"a-b-{digits}"):
        image_ids([PurePosixPath(name) for name in ("a/b.png", "c/b.png", "d/a-b.png", f"d/a-b-{digits}.png")])
