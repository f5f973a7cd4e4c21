from __future__ import annotations

from pathlib import Path, PurePosixPath

import cv2
import numpy as np
import pytest

from glaucoma.datasets.identity import Fingerprint, fingerprint, group, near_duplicates
from glaucoma.datasets.imagefile import UnreadableImageError
from glaucoma.datasets.names import image_ids


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


def test_near_duplicates_are_those_of_a_written_out_count() -> None:
    rng = np.random.default_rng(0)
    rows = rng.integers(0, 256, (60, 32), dtype=np.uint8)
    rows[30:] = rows[:30]
    for i in range(30):
        for bit in range(i):
            rows[30 + i, bit] ^= 1
    hashes = [row.tobytes().hex() for row in rows]
    expected = {(i, j, d) for i in range(60) for j in range(i + 1, 60) if (d := distance(hashes[i], hashes[j])) <= 16}
    assert set(near_duplicates(hashes)) == expected
    assert len(expected) == 17


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    hashes = [np.random.default_rng(i % 7).bytes(32).hex() for i in range(40)]
    whole = set(near_duplicates(hashes))
    monkeypatch.setattr("glaucoma.datasets.identity._BLOCK_CELLS", 50)
    assert set(near_duplicates(hashes)) == whole


def test_photographs_are_joined_by_patient_bytes_pixels_looks_and_mirror(tmp_path: Path) -> None:
    pictures = [blobs(0), blobs(1), blobs(2), blobs(2), blobs(3), blobs(3)[:, ::-1], blobs(4), blobs(5)]
    names = ["a.png", "b.png", "c.png", "d.bmp", "e.png", "f.png", "g.png", "h.png"]
    prints = [saved(tmp_path, name, pixels) for name, pixels in zip(names, pictures, strict=True)]
    patients = ["P1", "P1", "", "", "", "", "", ""]
    grouping = group(list("abcdefgh"), patients, prints)
    assert grouping.groups == ("a", "a", "c", "c", "e", "e", "g", "h")
    assert grouping.described(named_by_files=False) == "patient and content"


def test_groups_join_transitively_and_do_not_depend_on_order(tmp_path: Path) -> None:
    prints = [saved(tmp_path, f"{name}.png", blobs(seed)) for name, seed in (("a", 0), ("b", 0), ("c", 1))]
    ids, patients = ["a", "b", "c"], ["", "P", "P"]
    forward = dict(zip(ids, group(ids, patients, prints).groups, strict=True))
    backward = dict(zip(ids[::-1], group(ids[::-1], patients[::-1], prints[::-1]).groups, strict=True))
    assert forward == backward == {"a": "a", "b": "a", "c": "a"}


def test_without_patients_and_duplicates_each_photograph_stands_for_itself(tmp_path: Path) -> None:
    grouping = group(["a", "b"], ["", ""], [saved(tmp_path, f"{i}.png", blobs(i)) for i in range(2)])
    assert grouping.groups == ("a", "b")
    assert grouping.described(named_by_files=False).startswith("none")


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
