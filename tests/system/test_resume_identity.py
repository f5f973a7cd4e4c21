"""kill -9 of the training child at listed places, again and again; in the end the weights of an undisturbed run.

With 0 and 2 workers, on 1 and 2 processes. A place is the n-th step, the n-th sync or the n-th rename of an attempt, so
kills fall between steps and in mid-save. The child is the real one; a `sitecustomize` that it finds on its path counts,
and sends the signal.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from glaucoma.datasets.manifest import write_manifest
from glaucoma.errors import TransientError
from glaucoma.schema import Column, GeometryColumn, Label, Split, StructureState, Task
from glaucoma.training.checkpoints import Checkpoints
from glaucoma.training.experiment import Experiment, Status
from glaucoma.training.progress_log import read_progress
from glaucoma.training.settings import ExecutionSettings, TrainSettings
from glaucoma.training.spec import ExperimentSpec, spec_from
from glaucoma.training.supervise import train
from glaucoma.workspace import Workspace

pytestmark = [pytest.mark.system, pytest.mark.timeout(900)]

KEY = "0123456789abcdef"
N_IMAGES, SIDE_PX = 24, 48

KILLER = """
import os, signal, sys

kind, number, rank = os.environ.get("ARC_TEST_KILL", "::").split(":")
if kind and "glaucoma.training.child" in sys.orig_argv and os.environ.get("RANK", "0") == rank:
    left = int(number)

    def counted(function):
        def called(*args, **named):
            global left
            left -= 1
            if left <= 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*args, **named)

        return called

    if kind == "step":
        from glaucoma.training.learner import Learner

        Learner.step = counted(Learner.step)
    elif kind == "sync":
        os.fsync = counted(os.fsync)
    elif kind == "rename":
        os.rename, os.replace = counted(os.rename), counted(os.replace)
"""


PLACES = {
    (1, 0): ["sync:8:0", "step:3:0"],
    (1, 2): ["rename:7:0", "step:4:0"],
    (2, 0): ["step:5:1"],
    (2, 2): ["rename:7:0"],
}
"""By processes and workers: kind, number and rank of each attempt's kill, of attempts that save at each step.

Several kills of several processes are in the long campaign (`make chaos`).
"""


@pytest.fixture
def killer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Says where the next child is to be killed; empty: nowhere."""
    folder = tmp_path / "killer"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(KILLER)
    paths = [str(folder), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))
    return lambda place: monkeypatch.setenv("ARC_TEST_KILL", place)


@pytest.fixture(scope="module")
def undisturbed(spec: ExperimentSpec, tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Experiment]:
    """A run that nothing disturbs, one for each number of processes."""
    return functools.cache(
        lambda devices: train(spec, workspace(tmp_path_factory.mktemp("undisturbed")), execution(devices=devices))
    )


@pytest.fixture(scope="module")
def spec() -> ExperimentSpec:
    """12 steps in 3 epochs, with all that has a state: balanced sampling, augmentation, a moving average."""
    changes = {"model": "small_cnn", "input_px": 32, "epochs": 3, "batch_size": 4, "augment": 0.5, "ema_decay": 0.9}
    return spec_from(TrainSettings.for_preset("smoke"), Task.CLASSIFICATION, "tiny", KEY, **changes)


@pytest.mark.parametrize(
    ("devices", "workers"),
    [(1, 2), (2, 0), pytest.param(1, 0, marks=pytest.mark.long), pytest.param(2, 2, marks=pytest.mark.long)],
)
def test_a_training_killed_again_and_again_ends_with_the_weights_of_an_undisturbed_one(
    devices: int,
    workers: int,
    spec: ExperimentSpec,
    undisturbed: Callable[[int], Experiment],
    killer: Any,
    tmp_path: Path,
) -> None:
    whole = undisturbed(devices)
    killed_in = workspace(tmp_path / "killed")
    often = execution(devices=devices, workers=workers, checkpoint_every_s=1e-6)
    places = PLACES[devices, workers]
    for place in places:
        killer(place)
        with pytest.raises(TransientError, match="killed by signal 9"):
            train(spec, killed_in, often)
    killer("::")
    experiment = train(spec, killed_in, often)
    assert experiment.status is Status.COMPLETED
    resumed = [line for line in read_progress(experiment.progress_path) if line.event == "resume"]
    assert len(resumed) == len(places), "attempts after the first go on, they do not begin anew"
    assert_same(whole, experiment)
    assert list(experiment.folder.rglob("*partial*")) == []
    assert list(experiment.folder.rglob("*damaged*")) == []


def fail_unless_of_threads(text: str) -> None:
    """This process, which only reads, may have more threads than the training had."""
    if "was made otherwise (threads: " not in text:
        pytest.fail(text)


def assert_same(one: Experiment, other: Experiment) -> None:
    for load in (lambda c: c.load_best(), lambda c: c.load_last(fail_unless_of_threads)):
        first, second = (load(Checkpoints(experiment.checkpoints)) for experiment in (one, other))
        for part in ("model", "optimizer", "ema", "state", "scores"):
            assert_equal(first.get(part), second.get(part), part)


def assert_equal(one: Any, other: Any, name: str) -> None:
    """Bit for bit, all the way down."""
    assert type(one) is type(other), name
    if isinstance(one, torch.Tensor):
        assert torch.equal(one, other), name
    elif isinstance(one, dict):
        assert one.keys() == other.keys(), name
        for key in one:
            assert_equal(one[key], other[key], f"{name}.{key}")
    elif isinstance(one, list | tuple):
        assert len(one) == len(other), name
        for index, (first, second) in enumerate(zip(one, other, strict=True)):
            assert_equal(first, second, f"{name}[{index}]")
    else:
        assert one == other or (one != one and other != other), name


def execution(**changes: Any) -> ExecutionSettings:
    return ExecutionSettings(device="cpu", threads=1, stall_timeout_s=600, stop_grace_s=20, **changes)


def workspace(root: Path) -> Workspace:
    """With a prepared dataset of grey squares, brighter where the label is glaucoma."""
    folder = root / "prepared" / "tiny" / KEY
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    labels = [Label.GLAUCOMA if index % 3 == 0 else Label.NORMAL for index in range(N_IMAGES)]
    levels = np.array([150 if label is Label.GLAUCOMA else 100 for label in labels])[:, None, None, None]
    images = np.clip(levels + rng.normal(0, 30, (N_IMAGES, SIDE_PX, SIDE_PX, 3)), 0, 255).astype(np.uint8)
    splits = [Split.VAL if index % 4 == 3 else Split.TRAIN for index in range(N_IMAGES)]
    rows = [row(index, label, split) for index, (label, split) in enumerate(zip(labels, splits, strict=True))]
    write_manifest(folder / "manifest.csv", pd.DataFrame(rows))
    np.save(folder / "images.npy", images)
    np.save(folder / "masks.npy", np.zeros((N_IMAGES, SIDE_PX, SIDE_PX), np.uint8))
    np.save(folder / "fields.npy", np.ones((N_IMAGES, SIDE_PX, SIDE_PX), np.uint8))
    return Workspace.at(root)


def row(index: int, label: Label, split: Split) -> dict[str, Any]:
    name = f"image_{index:03d}"
    values: dict[str, Any] = dict.fromkeys((str(column) for column in Column), "")
    values |= {str(column): 0.0 for column in (GeometryColumn.CROP_X_PX, GeometryColumn.CROP_Y_PX)}
    values |= {str(column): float(SIDE_PX) for column in (GeometryColumn.CROP_WIDTH_PX, GeometryColumn.CROP_HEIGHT_PX)}
    values |= {str(column): 1.0 for column in (GeometryColumn.SCALE_X, GeometryColumn.SCALE_Y)}
    return values | {
        str(Column.IMAGE_ID): name,
        str(Column.IMAGE): f"images/{name}.png",
        str(Column.LABEL): str(label),
        str(Column.SPLIT): str(split),
        str(Column.GROUP): name,
        str(Column.WIDTH): SIDE_PX,
        str(Column.HEIGHT): SIDE_PX,
        str(Column.SHA256): f"{index:064x}",
        str(Column.DISC_STATE): str(StructureState.NOT_VISIBLE),
        str(Column.CUP_STATE): str(StructureState.NOT_VISIBLE),
    }
