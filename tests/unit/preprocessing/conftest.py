"""A dataset folder as normalisation leaves it, made of arrays."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest

from glaucoma.datasets.manifest import write_manifest
from glaucoma.provenance import StageRecord, digest, file_sha256, write_json
from glaucoma.schema import Column, StructureState
from glaucoma.workspace import Workspace

MakeDataset = Callable[..., Path]


def retina(size: int = 160, seed: int = 0, *, level: int = 150) -> np.ndarray:
    """A round orange field on black with a bright disc and some texture, RGB."""
    rng = np.random.default_rng(seed)
    picture = np.zeros((size, size, 3), np.float64)
    cv2.circle(picture, (size // 2, size // 2), int(size * 0.45), (level, level * 0.55, level * 0.25), -1)
    cv2.circle(picture, (int(size * 0.3), size // 2), size // 12, (240, 200, 130), -1)
    inside = picture[..., 0] > 0
    picture[inside] += rng.normal(0, 12, (int(inside.sum()), 1))
    return np.clip(picture, 0, 255).astype(np.uint8)


def disc_mask(size: int = 160) -> np.ndarray:
    """The canonical mask of `retina`: the disc with a cup of half its diameter."""
    mask = np.zeros((size, size), np.uint8)
    cv2.circle(mask, (int(size * 0.3), size // 2), size // 12, 1, -1)
    cv2.circle(mask, (int(size * 0.3), size // 2), size // 24, 2, -1)
    return mask


def build_dataset(root: Path, images: list[np.ndarray], masks: list[np.ndarray | None] | None = None) -> Path:
    """Writes `images` as PNG with a manifest: labels and splits take turns."""
    folder = root / "dataset"
    (folder / "images").mkdir(parents=True)
    (folder / "masks").mkdir()
    rows: list[dict[str, Any]] = []
    for index, pixels in enumerate(images):
        image_id = f"im{index:03d}"
        cv2.imwrite(str(folder / "images" / f"{image_id}.png"), pixels[..., ::-1])
        mask = masks[index] if masks else None
        if mask is not None:
            cv2.imwrite(str(folder / "masks" / f"{image_id}.png"), mask)
        state = StructureState.PRESENT if mask is not None else StructureState.NOT_VISIBLE
        rows.append(
            {
                Column.IMAGE_ID: image_id,
                Column.IMAGE: f"images/{image_id}.png",
                Column.MASK: f"masks/{image_id}.png" if mask is not None else "",
                Column.LABEL: ("normal", "glaucoma")[index % 2],
                Column.SOURCE_LABEL: ("N", "G")[index % 2],
                Column.PATIENT_ID: f"p{index:03d}",
                Column.EYE: "OD",
                Column.SITE: "",
                Column.SOURCE: f"source/{image_id}.png",
                Column.SPLIT: ("train", "val", "test")[(index // 2) % 3],
                Column.GROUP: f"p{index:03d}",
                Column.WIDTH: pixels.shape[1],
                Column.HEIGHT: pixels.shape[0],
                Column.SHA256: file_sha256(folder / "images" / f"{image_id}.png"),
                Column.PIXEL_SHA256: digest(pixels.tolist()),
                Column.PERCEPTUAL_HASH: digest(["look", index]),
                Column.DISC_STATE: state,
                Column.CUP_STATE: state,
            }
        )
    write_manifest(folder / "manifest.csv", pd.DataFrame(rows))
    record = StageRecord(
        stage="normalize",
        key="0123456789abcdef",
        inputs={"archive": "0" * 64},
        settings={},
        code_sha256="0" * 64,
        started_at=datetime(2026, 1, 1, tzinfo=UTC),
        duration_s=0.0,
        versions={},
        counts={"images": len(images)},
        details={"name": "tiny", "layout": "test", "grouping": "patient", "synthetic": True},
    )
    write_json(folder / "dataset.json", record.model_dump(mode="json"))
    return folder


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace.at(tmp_path / "workspace")


@pytest.fixture
def make_dataset(tmp_path: Path) -> MakeDataset:
    def make(images: list[np.ndarray], masks: list[np.ndarray | None] | None = None) -> Path:
        return build_dataset(tmp_path, images, masks)

    return make


@pytest.fixture
def retina_picture() -> Callable[..., np.ndarray]:
    return retina


@pytest.fixture
def retina_mask() -> Callable[..., np.ndarray]:
    return disc_mask
