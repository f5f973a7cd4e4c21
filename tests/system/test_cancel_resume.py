"""On a real server and worker: a training is cancelled, killed, and resumed to its end; the books stay true."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from glaucoma.archives.unpack import unpack
from glaucoma.datasets.normalize import normalize
from glaucoma.preprocessing.preprocess import preprocess
from glaucoma.preprocessing.settings import PreprocessSettings
from glaucoma.records.ledger import Ledger
from glaucoma.workspace import Workspace

pytestmark = [pytest.mark.system, pytest.mark.timeout(900)]

TRAIN: dict[str, Any] = {
    "classifier": "small_cnn",
    "input_px": 32,
    "epochs": 1500,
    "batch_size": 8,
    "execution": {"device": "cpu", "threads": 1},
}
ENDS = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")


def take_in(workspace: Workspace, archive: Path) -> None:
    dataset = normalize(unpack(archive, workspace), "eyes", workspace)
    preprocess(dataset.folder, "eyes", workspace, PreprocessSettings.for_preset("smoke", image_size_px=64))


def start(installation: Any, name: str, config: dict[str, Any]) -> str:
    deployment = installation.call("GET", f"/deployments/name/{name}/{name}")
    body = {"parameters": {"config": {"preset": "smoke", **config}}}
    return str(installation.call("POST", f"/deployments/{deployment['id']}/create_flow_run", body)["id"])


def trainers(workspace: Path) -> list[psutil.Process]:
    """The living training processes of the workspace."""
    found = []
    for process in psutil.process_iter():
        try:
            line = " ".join(process.cmdline())
            if "glaucoma.training.child" in line and str(workspace) in line and process.status() != "zombie":
                found.append(process)
        except psutil.Error:
            continue
    return found


def epochs(folder: Path) -> list[int]:
    path = folder / "logs" / "progress.jsonl"
    lines = path.read_text().splitlines()[:-1] if path.is_file() else []
    return [entry["epoch"] for entry in map(json.loads, lines) if entry.get("val")]


def test_a_training_that_is_cancelled_then_killed_goes_on_to_its_end(
    installation: Any, archive: Path, wait_for: Callable[..., Any]
) -> None:
    workspace = Workspace(installation.workspace)

    def state(run: str) -> str:
        return str(installation.call("GET", f"/flow_runs/{run}")["state"]["type"])

    def folder() -> Path | None:
        return next((path for path in workspace.experiments.glob("cls-*") if path not in before), None)

    def status() -> str:
        return str(json.loads((there / "metadata.json").read_text())["status"])

    take_in(workspace, archive)
    before = set(workspace.experiments.glob("cls-*"))  # of other tests
    first = start(installation, "train", {"name": "eyes", "train": TRAIN})
    there = Path(str(wait_for(folder, 180, "the experiment's folder")))
    wait_for(lambda: len(epochs(there)) >= 3, 180, "three epochs of training")

    # cancelled, as Prefect's pages do it
    installation.call("POST", f"/flow_runs/{first}/set_state", {"state": {"type": "CANCELLING"}})
    wait_for(lambda: not trainers(workspace.root), 60, "the end of the training process")
    assert wait_for(lambda: state(first) in ENDS and state(first), 300, "the end of the run") == "CANCELLED"
    ledger = Ledger(workspace.ledger_url)
    wait_for(lambda: [one for one in ledger.experiments() if one.experiment_id == there.name], 60, "the ledger's row")
    assert (status(), ledger.experiment(there.name).status) == ("cancelled", "cancelled")
    assert (there / "checkpoints" / "last.pt").is_file()

    # the same deployment again goes on; its process is killed
    done = max(epochs(there))
    second = start(installation, "train", {"name": "eyes", "train": TRAIN})
    wait_for(lambda: max(epochs(there)) > done, 180, "an epoch after the cancel")
    (child,) = trainers(workspace.root)
    os.kill(child.ppid(), signal.SIGKILL)
    assert wait_for(lambda: state(second) in ENDS and state(second), 300, "the end of the killed run") == "CRASHED"
    assert not trainers(workspace.root)
    wait_for(lambda: status() == "interrupted", 300, "the worker's word on how it ended")
    wait_for(lambda: ledger.experiment(there.name).status == "interrupted", 60, "the same in the ledger")

    # and the deployment for it takes it to its end
    config = {"evaluate": {"replicates": 100}, "explain": {"max_images": 4, "overlays": 2}}
    third = start(installation, "resume", config)
    assert wait_for(lambda: state(third) in ENDS and state(third), 600, "the end of the resumed run") == "COMPLETED"
    assert (status(), ledger.experiment(there.name).status) == ("completed", "completed")
    seen = epochs(there)
    assert len(seen) <= len(set(seen)) + 2, "at most the epochs that were cut are done again"
    assert (there / "results" / "val").exists()
    assert (there / "visualizations" / "val").exists()
    named = {"artifacts": {"key": {"like_": there.name[-8:]}}, "limit": 200}
    artifacts = installation.call("POST", "/artifacts/latest/filter", named)
    kinds = {a["key"].split("-")[0]: a["type"] for a in artifacts}
    assert kinds.items() >= {"train": "progress", "epochs": "table", "curves": "image"}.items()
