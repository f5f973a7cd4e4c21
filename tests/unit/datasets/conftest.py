from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from glaucoma.archives.unpack import unpack
from glaucoma.datasets.normalize import normalize
from glaucoma.datasets.settings import NormalizeSettings
from glaucoma.provenance import StageOutput
from glaucoma.workspace import Workspace

Pixels = np.ndarray[Any, np.dtype[np.uint8]]


def photograph_pixels(seed: int, size: int = 48) -> Pixels:
    """A picture of broad random blobs: pictures of two seeds are far apart for a perceptual hash."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(20, 255, (12, 12, 3), dtype=np.uint8)
    return np.asarray(cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC), np.uint8)


def encoded(pixels: Pixels, ending: str = ".png") -> bytes:
    return bytes(cv2.imencode(ending, pixels)[1])


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace.at(tmp_path / "workspace")


@pytest.fixture
def photo() -> Callable[..., bytes]:
    """The file of the photograph number `seed`."""
    return lambda seed, size=48, ending=".png": encoded(photograph_pixels(seed, size), ending)


@pytest.fixture
def mask_file() -> Callable[..., bytes]:
    """A mask file: a square of `disc` with a square of `cup` in it on `background`."""

    def make(values: tuple[int, int, int] = (0, 1, 2), size: int = 48, ending: str = ".png") -> bytes:
        pixels = np.full((size, size), values[0], np.uint8)
        pixels[10:30, 10:30] = values[1]
        pixels[15:25, 15:25] = values[2]
        return encoded(pixels, ending)

    return make


@pytest.fixture
def unpacked(tmp_path: Path, workspace: Workspace) -> Callable[[Mapping[str, bytes]], StageOutput]:
    """Packs files into a zip archive and unpacks it."""

    def make(files: Mapping[str, bytes]) -> StageOutput:
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            for name, content in files.items():
                archive.writestr(zipfile.ZipInfo(name), content)  # dated 1980: the same files, the same archive
        path = tmp_path / "archive.zip"
        path.write_bytes(buffer.getvalue())
        return unpack(path, workspace)

    return make


@pytest.fixture
def normalized(
    unpacked: Callable[[Mapping[str, bytes]], StageOutput], workspace: Workspace
) -> Callable[..., StageOutput]:
    """Unpacks and normalizes files under the name `trial`, with settings by keyword."""

    def make(files: Mapping[str, bytes], **settings: Any) -> StageOutput:
        return normalize(unpacked(files), "trial", workspace, NormalizeSettings(**settings))

    return make
