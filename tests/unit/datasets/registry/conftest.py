"""Finished folders of a workspace, without photographs: the registry looks at bytes and records only."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from glaucoma.provenance import StageRecord, file_sha256, write_json
from glaucoma.workspace import Workspace

KEY, PREPARED_KEY = "0123456789abcdef", "aaaabbbbccccdddd"


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace.at(tmp_path / "workspace")


@pytest.fixture
def make_dataset(workspace: Workspace) -> Callable[..., Path]:
    """`make_dataset(name="tiny", key=KEY, files=12)`: a dataset of random bytes that its name and key decide."""

    def make(name: str = "tiny", key: str = KEY, files: int = 12, size: int = 3000) -> Path:
        return write_folder(workspace.datasets(name) / key, "normalize", {"files": "f" * 64}, files, size)

    return make


@pytest.fixture
def make_prepared(workspace: Workspace) -> Callable[..., Path]:
    """`make_prepared(dataset, key=PREPARED_KEY)`: what was prepared from a dataset."""

    def make(dataset: Path, key: str = PREPARED_KEY) -> Path:
        inputs = {"dataset": dataset.name, "manifest_sha256": file_sha256(dataset / "manifest.csv")}
        return write_folder(workspace.prepared(dataset.parent.name) / key, "preprocess", inputs, 4, 500)

    return make


def write_folder(folder: Path, stage: str, inputs: dict[str, str], files: int, size: int) -> Path:
    rng = random.Random(str(folder.name) + folder.parent.name)
    (folder / "images").mkdir(parents=True)
    for number in range(files):
        (folder / "images" / f"im{number:03d}.png").write_bytes(rng.randbytes(size))
    (folder / "manifest.csv").write_text(f"image_id\n{folder.parent.name}\n")
    name = {"normalize": "dataset.json", "preprocess": "prepared.json"}[stage]
    write_record(folder / name, stage, folder.name, inputs, counts={"images": files})
    return folder


def write_record(path: Path, stage: str, key: str, inputs: dict[str, str], **fields: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    record = StageRecord(
        stage=stage,
        key=key,
        inputs=inputs,
        settings={},
        code_sha256="0" * 64,
        started_at=datetime(2026, 1, 1, tzinfo=UTC),
        duration_s=0.0,
        versions={},
        **fields,
    )
    write_json(path, record.model_dump(mode="json"))


@pytest.fixture(scope="session")
def folder_writer() -> Callable[..., Path]:
    return write_folder


@pytest.fixture
def record_writer() -> Callable[..., None]:
    return write_record


@pytest.fixture
def contents() -> Callable[[Path], dict[str, bytes]]:
    """Every file of a folder with its bytes."""
    return lambda folder: {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture
def flip_a_bit() -> Callable[[Path], None]:
    def flip(path: Path) -> None:
        path.chmod(0o644)
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)

    return flip
