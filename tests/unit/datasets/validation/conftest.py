"""A dataset in a workspace as normalisation leaves it, with every fact open to change."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest

from glaucoma.datasets.manifest import write_manifest
from glaucoma.provenance import StageRecord, digest, file_sha256, write_json
from glaucoma.schema import Column
from glaucoma.workspace import Workspace


def photograph(seed: int, size: int = 128) -> np.ndarray:
    """A textured orange disc on black, RGB."""
    rng = np.random.default_rng(seed)
    picture = np.zeros((size, size, 3), np.float64)
    cv2.circle(picture, (size // 2, size // 2), int(size * 0.45), (170, 95, 45), -1)
    inside = picture[..., 0] > 0
    picture[inside] += rng.normal(0, 20, (int(inside.sum()), 1))
    return np.clip(picture, 0, 255).astype(np.uint8)


def good_mask(size: int = 128) -> np.ndarray:
    mask = np.zeros((size, size), np.uint8)
    cv2.circle(mask, (50, 64), 12, 1, -1)
    cv2.circle(mask, (50, 64), 6, 2, -1)
    return mask


def manifest_rows(folder: Path, number: int) -> list[dict[str, Any]]:
    """`number` sound photographs with masks; labels take turns, splits every two."""
    rows = []
    for index in range(number):
        image_id = f"im{index:03d}"
        image, mask = f"images/{image_id}.png", f"masks/{image_id}.png"
        cv2.imwrite(str(folder / image), photograph(index)[..., ::-1])
        cv2.imwrite(str(folder / mask), good_mask())
        rows.append(
            {
                Column.IMAGE_ID: image_id,
                Column.IMAGE: image,
                Column.MASK: mask,
                Column.LABEL: ("normal", "glaucoma")[index % 2],
                Column.SOURCE_LABEL: "",
                Column.PATIENT_ID: f"p{index:03d}",
                Column.EYE: "OD",
                Column.SITE: "",
                Column.SOURCE: f"s/{image_id}.png",
                Column.SPLIT: ("train", "val", "test")[(index // 2) % 3],
                Column.GROUP: f"p{index:03d}",
                Column.WIDTH: 128,
                Column.HEIGHT: 128,
                Column.SHA256: file_sha256(folder / image),
                Column.PIXEL_SHA256: digest(["pixels", index]),
                Column.PERCEPTUAL_HASH: digest(["look", index]),
                Column.DISC_STATE: "present",
                Column.CUP_STATE: "present",
            }
        )
    return rows


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace.at(tmp_path / "workspace")


def dataset_in(
    workspace: Workspace,
    change: Callable[[list[dict[str, Any]], Path], object] | None = None,
    *,
    number: int = 12,
    key: str = "0123456789abcdef",
) -> Path:
    """A dataset's folder; `change(rows, folder)` may alter rows and files before the manifest is written."""
    folder = workspace.datasets("tiny") / key
    (folder / "images").mkdir(parents=True)
    (folder / "masks").mkdir()
    rows = manifest_rows(folder, number)
    if change is not None:
        change(rows, folder)
    write_manifest(folder / "manifest.csv", pd.DataFrame(rows))
    record = StageRecord(
        stage="normalize",
        key=key,
        inputs={"archive": "f" * 16},
        settings={},
        code_sha256="0" * 64,
        started_at=datetime(2026, 1, 1, tzinfo=UTC),
        duration_s=0.0,
        versions={},
    )
    write_json(folder / "dataset.json", record.model_dump(mode="json"))
    return folder


@pytest.fixture
def make_dataset(workspace: Workspace) -> Callable[..., Path]:
    """`make_dataset(change=..., number=12, key=...)`, as `dataset_in` in this test's workspace."""
    return partial(dataset_in, workspace)


@pytest.fixture(scope="session")
def build_dataset() -> Callable[..., Path]:
    """`build_dataset(workspace, change=..., number=12, key=...)`, for fixtures that serve a whole module."""
    return dataset_in
