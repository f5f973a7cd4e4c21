"""Tiny prepared datasets made by hand, in the format that preprocessing writes."""

from __future__ import annotations

import hashlib
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from glaucoma.datasets.manifest import write_manifest
from glaucoma.schema import Column, GeometryColumn, Label, Split, StructureState, Task
from glaucoma.training.settings import ExecutionSettings, TrainSettings
from glaucoma.training.spec import ExperimentSpec, spec_from
from glaucoma.workspace import Workspace

DATASET, KEY = "tiny", "0123456789abcdef"
QUICK = ExecutionSettings(device="cpu", threads=1, stall_timeout_s=240, stop_grace_s=10)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    root = tmp_path / "workspace"
    make_prepared(root)
    return Workspace.at(root)


@pytest.fixture
def spec() -> ExperimentSpec:
    return tiny_spec()


@pytest.fixture
def segmentation_spec() -> ExperimentSpec:
    return tiny_spec(Task.SEGMENTATION)


@pytest.fixture
def execution() -> ExecutionSettings:
    return QUICK


@pytest.fixture
def prepare() -> Callable[..., Path]:
    return make_prepared


@pytest.fixture
def make_spec() -> Callable[..., ExperimentSpec]:
    return tiny_spec


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Puts a stand-in for the training loop into real training processes: quick, without torch, and told what to do.

    It is called with the body of `run_training(experiment, workspace, execution, progress, should_stop)`, in which
    `finish(experiment)` leaves a model and `RANK` is the process's rank.
    """

    def install(body: str) -> None:
        folder = tmp_path / "stand_in"
        folder.mkdir(exist_ok=True)
        (folder / "stand_in_loop.py").write_text(_STAND_IN + textwrap.indent(textwrap.dedent(body), "    "))
        (folder / "sitecustomize.py").write_text(_INSTALL)
        monkeypatch.setenv("PYTHONPATH", str(folder))

    return install


_INSTALL = """
import sys

class Finder:
    def find_spec(name, path=None, target=None):
        if name == "glaucoma.training.loop":
            import importlib.util
            return importlib.util.spec_from_file_location(name, __file__.replace("sitecustomize", "stand_in_loop"))

sys.meta_path.insert(0, Finder)
"""
_STAND_IN = """
import hashlib, json, os, signal, subprocess, sys, threading, time
from pathlib import Path
from glaucoma.training.experiment import CheckpointRecord

RANK = int(os.environ.get("RANK", "0"))

class StoppedError(Exception):
    pass

def finish(experiment):
    path = experiment.checkpoints / "best.pt"
    path.write_bytes(b"a model")
    record = CheckpointRecord(path="checkpoints/best.pt", sha256=hashlib.sha256(b"a model").hexdigest(), epoch=1)
    experiment.update(lambda metadata: setattr(metadata, "checkpoint", record))

def wait_for_stop(should_stop):
    while not should_stop(60.0):
        pass
    raise StoppedError

def run_training(experiment, workspace, execution, progress, should_stop):
"""


def tiny_spec(task: Task = Task.CLASSIFICATION, **overrides: Any) -> ExperimentSpec:
    segmentation = task is Task.SEGMENTATION
    values: dict[str, Any] = {
        "model": "small_unet" if segmentation else "small_cnn",
        "input_px": 32,
        "epochs": 3,
        "batch_size": 4,
        "learning_rate": 1e-2,
    }
    if segmentation:
        values["decoder_channels"] = (16, 16, 8)
    return spec_from(TrainSettings.for_preset("smoke"), task, DATASET, KEY, **{**values, **overrides})


def make_prepared(root: Path, n: int = 24, side: int = 48, *, masks: bool = True, seed: int = 0) -> Path:
    """Squares with a bright disc and a paler cup; in glaucoma the cup is large. Two thirds are to train on."""
    rng = np.random.default_rng(seed)
    folder = root / "prepared" / DATASET / KEY
    folder.mkdir(parents=True)
    images = np.zeros((n, side, side, 3), np.uint8)
    truth = np.zeros((n, side, side), np.uint8)
    rows = []
    for index in range(n):
        glaucoma = index % 3 == 0
        images[index], truth[index] = _eye(rng, side, 0.75 if glaucoma else 0.35)
        split = Split.TRAIN if index % 6 < 4 else Split.VAL if index % 12 < 6 or index % 6 == 4 else Split.TEST
        rows.append(_row(index, Label.GLAUCOMA if glaucoma else Label.NORMAL, split, side, masks=masks))
    # one of each class in val and test
    for index, split in ((0, Split.VAL), (3, Split.TEST)):
        rows[index][Column.SPLIT] = str(split)
    write_manifest(folder / "manifest.csv", pd.DataFrame(rows))
    np.save(folder / "images.npy", images)
    np.save(folder / "masks.npy", truth if masks else np.zeros_like(truth))
    np.save(folder / "fields.npy", np.ones((n, side, side), np.uint8))
    return folder


def _eye(rng: np.random.Generator, side: int, ratio: float) -> tuple[np.ndarray, np.ndarray]:
    y, x = np.mgrid[:side, :side]
    radius = side / 5
    cy, cx = rng.uniform(side * 0.35, side * 0.65, 2)
    distance = np.hypot(y - cy, x - cx)
    mask = (distance < radius).astype(np.uint8) + (distance < radius * ratio).astype(np.uint8)
    image = np.array([60, 110, 220])[mask][..., None] + rng.normal(0, 8, (side, side, 3))
    return np.clip(image, 0, 255).astype(np.uint8), mask


def _row(index: int, label: Label, split: Split, side: int, *, masks: bool) -> dict[str, Any]:
    name = f"image_{index:03d}"
    state = StructureState.PRESENT if masks else StructureState.NOT_VISIBLE
    row: dict[str, Any] = dict.fromkeys((str(column) for column in Column), "")
    row |= {
        Column.IMAGE_ID: name,
        Column.IMAGE: f"images/{name}.png",
        Column.MASK: f"masks/{name}.png" if masks else "",
        Column.LABEL: str(label),
        Column.SPLIT: str(split),
        Column.GROUP: name,
        Column.WIDTH: side,
        Column.HEIGHT: side,
        Column.SHA256: hashlib.sha256(name.encode()).hexdigest(),
        Column.DISC_STATE: str(state),
        Column.CUP_STATE: str(state),
    }
    row |= {
        GeometryColumn.CROP_X_PX: 0.0,
        GeometryColumn.CROP_Y_PX: 0.0,
        GeometryColumn.CROP_WIDTH_PX: float(side),
        GeometryColumn.CROP_HEIGHT_PX: float(side),
        GeometryColumn.SCALE_X: 1.0,
        GeometryColumn.SCALE_Y: 1.0,
    }
    return {str(key): value for key, value in row.items()}
