from __future__ import annotations

import io
import os
import time
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from glaucoma.datasets import imagefile
from glaucoma.datasets.imagefile import (
    UnreadableImageError,
    read_mask_file,
    read_photograph,
    read_to_measure,
    stored_size,
)

PIXELS = cv2.resize(np.random.default_rng(0).integers(0, 255, (9, 9, 3), dtype=np.uint8), (120, 90))


def encoded(kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(PIXELS).save(buffer, kind, **options)
    return buffer.getvalue()


FILES = {
    "jpeg": encoded("JPEG"),
    "progressive jpeg": encoded("JPEG", progressive=True),
    "jpeg with a thumbnail's markers": encoded("JPEG", exif=b"Exif\0\0" + b"\xff\xd8\xff\xda\0\x02\xff\xd9"),
    "png": encoded("PNG"),
}


@pytest.mark.parametrize("content", FILES.values(), ids=FILES.keys())
@pytest.mark.parametrize("share", [0.3, 0.7, 0.95, 1.0])
def test_a_file_that_was_cut_short_is_caught_by_every_reader(content: bytes, share: float, tmp_path: Path) -> None:
    path = tmp_path / "p"
    path.write_bytes(content[: int(len(content) * share) - 2])
    for read in (read_photograph, read_mask_file, partial(read_to_measure, least_px=40)):
        with pytest.raises(UnreadableImageError):
            read(path)


@pytest.mark.parametrize("content", FILES.values(), ids=FILES.keys())
def test_what_a_decoder_would_fill_up_with_grey_is_caught_by_the_end_mark(
    content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some decoders give a whole picture for half a file: this one always does."""
    monkeypatch.setattr(imagefile.cv2, "imdecode", lambda *_: PIXELS)
    (tmp_path / "p").write_bytes(content)
    assert read_photograph(tmp_path / "p").pixels is PIXELS
    (tmp_path / "p").write_bytes(content[: len(content) // 2])
    with pytest.raises(UnreadableImageError, match="was cut short"):
        read_photograph(tmp_path / "p")


@pytest.mark.parametrize("behind", [b"\0", b"\xff\xd8 a second picture" * 20, b"\n" * 5000])
def test_something_behind_the_end_of_a_whole_file_does_no_harm(behind: bytes, tmp_path: Path) -> None:
    (tmp_path / "p").write_bytes(FILES["jpeg"] + behind)
    assert read_photograph(tmp_path / "p").pixels.shape == PIXELS.shape


def test_the_size_in_the_head_is_that_of_the_pixels_and_a_broken_head_is_said(tmp_path: Path) -> None:
    (tmp_path / "p.jpg").write_bytes(FILES["jpeg"])
    assert stored_size(tmp_path / "p.jpg").shown == PIXELS.shape[:2]
    (tmp_path / "p.jpg").write_bytes(b"\xff\xd8 nothing")
    with pytest.raises(UnreadableImageError, match=r"p\.jpg cannot be read"):
        stored_size(tmp_path / "p.jpg")


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("side", [(90, 120), (91, 121), (90, 91), (89, 90), (120, 40)])
def test_a_jpeg_read_to_measure_is_half_as_large_and_knows_its_whole_size(
    side: tuple[int, int], orientation: int, tmp_path: Path
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    smooth = cv2.resize(PIXELS[::30, ::30] // 4, side[::-1], interpolation=cv2.INTER_LINEAR)
    Image.fromarray(smooth).save(tmp_path / "p.jpg", exif=exif, quality=95)
    whole, found = read_photograph(tmp_path / "p.jpg"), read_to_measure(tmp_path / "p.jpg", 45)
    assert found.size == whole.size == whole.pixels.shape[:2]
    assert found.sha256 == whole.sha256
    if found.pixels.shape != whole.pixels.shape:
        assert found.pixels.shape[:2] == tuple(-(-length // 2) for length in whole.size)
        averaged = cv2.resize(whole.pixels, found.pixels.shape[1::-1], interpolation=cv2.INTER_AREA)
        assert np.abs(found.pixels.astype(int) - averaged).mean() < 2
    else:
        assert side == (89, 90), "halves as wide as high do not tell how the picture was turned"


@pytest.mark.parametrize("kind", ["jpeg", "png"])
def test_what_is_no_jpeg_or_would_get_too_small_is_read_whole(kind: str, tmp_path: Path) -> None:
    (tmp_path / "p").write_bytes(FILES[kind])
    least = 61 if kind == "jpeg" else 10
    assert np.array_equal(read_to_measure(tmp_path / "p", least).pixels, read_photograph(tmp_path / "p").pixels)


@pytest.mark.real
@pytest.mark.skipif("ARC_REAL_DATA" not in os.environ, reason="ARC_REAL_DATA is not set")
def test_the_check_of_whole_photographs_costs_less_than_a_hundredth_of_decoding() -> None:
    paths = sorted(Path(os.environ["ARC_REAL_DATA"]).glob("acrima-sample/Database/Images/*"))[:60]
    contents = [path.read_bytes() for path in paths]
    started = time.perf_counter()
    assert not any(imagefile._cut_short(content) for content in contents)
    checking = time.perf_counter() - started
    started = time.perf_counter()
    for content in contents:
        cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR_RGB)
    assert checking < 0.01 * (time.perf_counter() - started)
