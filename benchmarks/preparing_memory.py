"""A child process of the memory benchmark: makes many tiny photographs, or prepares them.

`python -m benchmarks.preparing_memory generate FOLDER IMAGES SIDE_PX` or `prepare FOLDER WORKSPACE`.
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from benchmarks.memory import report_peak
from glaucoma.datasets.manifest import write_manifest
from glaucoma.preprocessing.preprocess import preprocess
from glaucoma.preprocessing.settings import PreprocessSettings
from glaucoma.provenance import StageRecord, file_sha256, write_json
from glaucoma.schema import Column, StructureState
from glaucoma.workspace import Workspace


def generate(folder: Path, images: int, side_px: int) -> None:
    """A dataset folder of so many photographs with masks."""
    (folder / "images").mkdir(parents=True)
    (folder / "masks").mkdir()
    mask = np.zeros((side_px, side_px), np.uint8)
    cv2.circle(mask, (side_px // 3, side_px // 2), side_px // 12, 1, -1)
    rng = np.random.default_rng(0)
    rows = []
    for index in range(images):
        name = f"im{index:05d}"
        picture = np.zeros((side_px, side_px, 3), np.float32)
        cv2.circle(picture, (side_px // 2, side_px // 2), int(0.45 * side_px), (40, 80, 150), -1)
        picture[picture[..., 2] > 0] += rng.normal(0, 8, 3)
        cv2.imwrite(str(folder / "images" / f"{name}.png"), np.clip(picture, 0, 255).astype(np.uint8))
        cv2.imwrite(str(folder / "masks" / f"{name}.png"), mask)
        rows.append(
            {
                **dict.fromkeys(Column, ""),
                Column.IMAGE_ID: name,
                Column.IMAGE: f"images/{name}.png",
                Column.MASK: f"masks/{name}.png",
                Column.LABEL: ("normal", "glaucoma")[index % 2],
                Column.SPLIT: ("train", "val", "test")[index // 2 % 3],
                Column.GROUP: name,
                Column.WIDTH: side_px,
                Column.HEIGHT: side_px,
                Column.SHA256: file_sha256(folder / "images" / f"{name}.png"),
                Column.DISC_STATE: StructureState.PRESENT,
                Column.CUP_STATE: StructureState.ABSENT,
            }
        )
    write_manifest(folder, pd.DataFrame(rows))
    at = datetime(2026, 1, 1, tzinfo=UTC)
    record = StageRecord(
        stage="normalize",
        key="0" * 16,
        inputs={},
        settings={},
        code_sha256="",
        started_at=at,
        duration_s=0,
        versions={},
    )
    write_json(folder / "dataset.json", record.model_dump(mode="json"))


def prepare(folder: Path, workspace: Path) -> None:
    """Prepares the dataset at 64 px with two workers."""
    preprocess(folder, "tiny", Workspace(workspace), PreprocessSettings(image_size_px=64), workers=2)


if __name__ == "__main__":
    if sys.argv[1] == "generate":
        generate(Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
    else:
        prepare(Path(sys.argv[2]), Path(sys.argv[3]))
    report_peak()
