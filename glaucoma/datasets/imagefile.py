"""One image file read once: its bytes' hash and its pixels, in the orientation that people see."""

from __future__ import annotations

import contextlib
import hashlib
import os
import struct
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from glaucoma.datasets.image_guard import jpeg_size, refused_undecoded

Pixels = NDArray[np.uint8]

_In = TypeVar("_In")
_Out = TypeVar("_Out")
_MAX_WORKERS = 16
_TAIL_BYTES = 64
_ORIENTATION_TAG = 0x0112
_TRANSPOSING = 5


class UnreadableImageError(Exception):
    """One file is missing or no image; whoever reads many sets it aside with this sentence as the reason."""


@dataclass(frozen=True)
class ImageFile:
    """A decoded file.

    Attributes:
        pixels: uint8, (H, W, 3) RGB for a photograph, (H, W) for a mask.
        sha256: Of the file's bytes.
        size: Height and width of the whole picture as people see it; larger than `pixels` after `read_to_measure`.
    """

    pixels: Pixels
    sha256: str
    size: tuple[int, int]


def read_photograph(path: Path) -> ImageFile:
    """The photograph at `path` as 8-bit RGB, turned as its EXIF orientation says; `UnreadableImageError` otherwise."""
    return _read(path, cv2.IMREAD_COLOR_RGB)


def read_mask_file(path: Path) -> ImageFile:
    """The 8-bit single-channel mask at `path`, values as stored; `UnreadableImageError` otherwise."""
    found = _read(path, cv2.IMREAD_UNCHANGED)
    if found.pixels.ndim != 2 or found.pixels.dtype != np.uint8:
        raise UnreadableImageError(
            f"{path.name} is no canonical mask: {found.pixels.dtype} of shape {found.pixels.shape}, not 8-bit grey"
        )
    return found


def read_to_measure(path: Path, least_px: int) -> ImageFile:
    """As `read_photograph`, but a JPEG photograph may come at half its size, rounded up, if that leaves `least_px`.

    A JPEG decoder halves a picture at half the cost of decoding it: it leaves out the finer half of each block's
    frequencies. All bytes are decoded all the same, so what cannot be read is found likewise.
    """
    content = _content(path)
    stated_width, stated_height = jpeg_size(content) if content.startswith(b"\xff\xd8") else (0, 0)
    half = (-(-stated_height // 2), -(-stated_width // 2))
    if max(half) < least_px or (half[0] == half[1] and stated_height != stated_width):
        return _image(path, content, cv2.IMREAD_COLOR_RGB)
    found = _image(path, content, cv2.IMREAD_REDUCED_COLOR_2)
    if found.size == half:
        size = (stated_height, stated_width)
    elif found.size == half[::-1]:  # turned as EXIF says
        size = (stated_width, stated_height)
    else:  # a file with more than one frame
        return _image(path, content, cv2.IMREAD_COLOR_RGB)
    return ImageFile(np.asarray(cv2.cvtColor(found.pixels, cv2.COLOR_BGR2RGB), np.uint8), found.sha256, size)


def _read(path: Path, flags: int) -> ImageFile:
    return _image(path, _content(path), flags)


def _content(path: Path) -> bytes:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UnreadableImageError(f"{path.name} cannot be read ({error.strerror or error})") from error
    if problem := refused_undecoded(content):
        raise UnreadableImageError(f"{path.name} {problem}")
    return content


def _image(path: Path, content: bytes, flags: int) -> ImageFile:
    try:
        pixels = cv2.imdecode(np.frombuffer(content, np.uint8), flags) if content else None
    except cv2.error as error:
        raise UnreadableImageError(f"{path.name} cannot be decoded ({str(error).strip()[:120]})") from error
    if pixels is None:
        raise UnreadableImageError(f"{path.name} cannot be decoded as an image ({len(content)} bytes)")
    if problem := _cut_short(content):
        raise UnreadableImageError(f"{path.name} {problem}")
    height, width = pixels.shape[:2]
    return ImageFile(pixels, hashlib.sha256(content).hexdigest(), (height, width))


def _cut_short(content: bytes) -> str:
    """Says so where a JPEG lacks the end of its last scan, or a PNG its end chunk: a decoder may fill up with grey.

    A whole file has its end mark in its last bytes, where the search begins; only one with something behind it, or cut
    short, is searched further.
    """
    tail = max(0, len(content) - _TAIL_BYTES)
    if content.startswith(b"\xff\xd8"):
        if content.rfind(b"\xff\xd9", tail) < 0 and content.rfind(b"\xff\xd9") < content.rfind(b"\xff\xda"):
            return f"was cut short: the JPEG file of {len(content)} bytes has no end marker"
    elif content.startswith(b"\x89PNG") and content.rfind(b"IEND", tail) < 0 and content.rfind(b"IEND") < 0:
        return f"was cut short: the PNG file of {len(content)} bytes has no end chunk"
    return ""


@dataclass(frozen=True)
class StoredSize:
    """How a photograph lies in its file, before its EXIF orientation turns it.

    Attributes:
        orientation: 1 (as stored) to 8, as EXIF numbers them; 5 to 8 change width and height for one another.
    """

    height: int
    width: int
    orientation: int

    @property
    def shown(self) -> tuple[int, int]:
        """(height, width) as people see it, and as `read_photograph` gives it."""
        return (self.width, self.height) if self.orientation >= _TRANSPOSING else (self.height, self.width)


def stored_size(path: Path) -> StoredSize:
    """Size and orientation from the file's head, without decoding it; `UnreadableImageError` where there is none."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            orientation = int(image.getexif().get(_ORIENTATION_TAG, 1))
            width, height = image.size
            transposed_already = image.format == "TIFF" and orientation >= _TRANSPOSING
    except (
        OSError, EOFError, ValueError, SyntaxError, TypeError, LookupError, struct.error, Image.DecompressionBombError,
    ) as error:  # fmt: skip
        raise UnreadableImageError(f"{path.name} cannot be read ({str(error)[:120]})") from error
    if not 1 <= orientation <= 8:
        orientation = 1
    return StoredSize(*((width, height) if transposed_already else (height, width)), orientation)


def available_cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def ordered_map(
    function: Callable[[_In], _Out], items: Iterable[_In], *, workers: int | None = None
) -> Generator[_Out, None, None]:
    """`map` over a pool of threads: results in the order of `items`, and only a few of them waiting in memory.

    OpenCV frees the interpreter lock, so threads serve as well as processes; OpenCV's own threads are off meanwhile,
    for they would fight with these.

    Args:
        workers: Threads; None for as many as there are cores, 16 at most.
    """
    threads = workers or min(available_cores(), _MAX_WORKERS)
    waiting: deque[Future[_Out]] = deque()
    rest = iter(items)
    with opencv_single_threaded(), ThreadPoolExecutor(threads, thread_name_prefix="images") as pool:
        try:
            waiting.extend(pool.submit(function, item) for item in islice(rest, 2 * threads))
            while waiting:
                done = waiting.popleft().result()
                waiting.extend(pool.submit(function, item) for item in islice(rest, 1))
                yield done
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


@contextlib.contextmanager
def opencv_single_threaded() -> Iterator[None]:
    """Ends OpenCV's own threads for a while; they come back after it."""
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(before)
