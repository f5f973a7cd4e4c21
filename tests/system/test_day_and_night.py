"""Thirty experiments on three workers with made-up GPUs: what is urgent goes first, whatever is killed meanwhile.

On SQLite and on Postgres. Order is judged on each worker by itself: two runs that it took were both waiting when it
took the first, so no clock is asked.
"""

from __future__ import annotations

import json
import shutil
import signal
import socket
import subprocess
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import yaml

from deployments.services import marked
from glaucoma.archives.unpack import unpack
from glaucoma.datasets.normalize import normalize
from glaucoma.preprocessing.preprocess import preprocess
from glaucoma.preprocessing.settings import PreprocessSettings
from glaucoma.records.ledger import Ledger
from glaucoma.workspace import Workspace
from tests.system.conftest import PROJECT, Installation, _environment

pytestmark = [pytest.mark.system, pytest.mark.long, pytest.mark.timeout(5400)]

GPUS = (0, 1, 2)
EXPERIMENTS = 30
ENDS = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")
WORKER_LABEL = "prefect.worker.name"
TRAIN: dict[str, Any] = {
    "classifier": "small_cnn",
    "input_px": 32,
    "epochs": 150,
    "patience": 1000,
    "batch_size": 8,
    "execution": {"device": "cpu", "threads": 1, "checkpoint_every_s": 0.5},
}
SHORT: dict[str, Any] = {"evaluate": {"replicates": 100}, "explain": {"max_images": 2, "overlays": 1}}


def queue_of(seed: int) -> dict[str, Any]:
    """Priorities 0 to 10 in no order; every third asks for one GPU."""
    return {"priority": seed * 7 % 11, "gpu": f"gpu{seed // 3 % len(GPUS)}" if seed % 3 == 0 else "any"}


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest) -> Iterator[dict[str, str]]:
    """What the server is told of its database."""
    if request.param == "sqlite":
        yield {}
        return
    script = PROJECT / "tests" / "system" / "postgres.sh"
    folder = Path(tempfile.mkdtemp(prefix="arc-postgres-"))  # pytest's own are closed to the user whom Postgres runs as
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    started = subprocess.run(
        ["sh", str(script), "start", str(folder), str(port)], stdout=subprocess.PIPE, text=True, check=True
    )
    yield {"ARC_DATABASE_URL": started.stdout.splitlines()[-1]}
    subprocess.run(["sh", str(script), "stop", str(folder)], check=True)
    shutil.rmtree(folder)


@pytest.fixture
def machine(database: dict[str, str], tmp_path: Path) -> Iterator[Installation]:
    """An installation on a machine with three GPUs for experiments, as its policy says."""
    policy = tmp_path / "gpus.yaml"
    policy.write_text(yaml.safe_dump({"experiment": list(GPUS), "inference": [3], "detect": False, "cpu_runs": 1}))
    environment = {**_environment(tmp_path), **database, "ARC_GPU_POLICY": str(policy), "OMP_NUM_THREADS": "1"}
    api = f"http://127.0.0.1:{environment['PREFECT_SERVER_API_PORT']}/api"
    made = Installation(api, environment, PROJECT, Path(environment["ARC_WORKSPACE"]))
    up = made.local("up")
    try:
        assert up.returncode == 0, up.stdout + up.stderr
        yield made
    finally:
        down = made.local("down")
        assert down.returncode == 0, down.stdout + down.stderr
        assert marked(made.workspace / ".services") == []


@dataclass
class Night:
    """What a person and a power cut do to the installation, and what is asked of it."""

    machine: Installation
    wait_for: Callable[..., Any]

    def start(self, name: str, config: dict[str, Any]) -> str:
        deployment = self.machine.call("GET", f"/deployments/name/{name}/{name}")
        body = {"parameters": {"config": {"preset": "smoke", **config}}}
        return str(self.machine.call("POST", f"/deployments/{deployment['id']}/create_flow_run", body)["id"])

    def end_of(self, run: str, what: str) -> str:
        def ended() -> str:
            state = str(self.machine.call("GET", f"/flow_runs/{run}")["state"]["type"])
            return state if state in ENDS else ""

        return str(self.wait_for(ended, 1800, what))

    def runs(self) -> list[dict[str, Any]]:
        """Those of the batch."""
        deployment = self.machine.call("GET", "/deployments/name/experiment/experiment")["id"]
        found: list[dict[str, Any]] = self.machine.call(
            "POST", "/flow_runs/filter", {"deployments": {"id": {"any_": [deployment]}}, "limit": 200}
        )
        return found

    def of_state(self, *kinds: str) -> list[dict[str, Any]]:
        return [run for run in self.runs() if run["state_type"] in kinds]

    def is_over(self) -> bool:
        """False also where the server does not answer: it has just begun again, with all its workers asking at once."""
        try:
            return not self.of_state("SCHEDULED", "PENDING", "RUNNING", "CANCELLING")
        except httpx.HTTPError:
            return False

    def one_that_trains(self) -> dict[str, Any]:
        """A run whose training has written an epoch: not about to end, not about to begin."""

        def found() -> dict[str, Any] | None:
            training = [run for run in self.of_state("RUNNING") if self._child(run["id"]) and worker_of(run)]
            return training[0] if training else None

        run: dict[str, Any] = self.wait_for(found, 900, "a run that trains")
        return run

    def _child(self, run: str) -> bool:
        return any("glaucoma.training.child" in words for words, _ in self._processes(run))

    def kill_flow(self, run: str) -> None:
        for words, process in self._processes(run):
            if "glaucoma.training" not in words:
                process.send_signal(signal.SIGKILL)

    def kill_service(self, *words: str) -> None:
        """kill -9 of the services, not of runs, whose command holds one of the words."""
        killed = 0
        for process in marked(self.machine.workspace / ".services"):
            line, variables = said_by(process)
            if "PREFECT__FLOW_RUN_ID" not in variables and any(word in line for word in words):
                process.send_signal(signal.SIGKILL)
                killed += 1
        assert killed, words

    def _processes(self, run: str) -> Iterator[tuple[str, psutil.Process]]:
        for process in marked(self.machine.workspace / ".services"):
            line, variables = said_by(process)
            if variables.get("PREFECT__FLOW_RUN_ID") == run:
                yield line, process


def said_by(process: psutil.Process) -> tuple[str, dict[str, str]]:
    """A process's command and environment; nothing where it is gone."""
    try:
        return " ".join(process.cmdline()), process.environ()
    except psutil.Error:
        return "", {}


def worker_of(run: dict[str, Any]) -> str:
    return str((run.get("labels") or {}).get(WORKER_LABEL, ""))


def seed_of(run: dict[str, Any]) -> int:
    return int(run["parameters"]["config"]["train"]["seed"])


def test_urgent_runs_go_first_and_each_experiment_is_completed_whatever_is_killed(
    machine: Installation, archive: Path, wait_for: Callable[..., Any]
) -> None:
    night, workspace = Night(machine, wait_for), Workspace(machine.workspace)
    dataset = normalize(unpack(archive, workspace), "eyes", workspace)
    preprocess(dataset.folder, "eyes", workspace, PreprocessSettings.for_preset("smoke", image_size_px=64))

    # all are in the queues before the first may start
    machine.call("PATCH", "/work_pools/arc-gpu", {"is_paused": True})
    batch = [{"train": {"seed": seed}, "queue": queue_of(seed)} for seed in range(EXPERIMENTS)]
    submitted = night.start("schedule", {"default": {"name": "eyes", "train": TRAIN, **SHORT}, "experiments": batch})
    assert night.end_of(submitted, "the submission") == "COMPLETED"
    assert len(night.runs()) == EXPERIMENTS
    machine.call("PATCH", "/work_pools/arc-gpu", {"is_paused": False})

    cancelled = night.one_that_trains()
    machine.call("POST", f"/flow_runs/{cancelled['id']}/set_state", {"state": {"type": "CANCELLING"}})
    assert night.end_of(cancelled["id"], "the cancelled run") == "CANCELLED"

    killed = night.one_that_trains()
    night.kill_flow(killed["id"])
    assert night.end_of(killed["id"], "the killed run") == "CRASHED"

    orphan = night.one_that_trains()  # its worker dies, and is started again
    night.kill_service(f"--name {worker_of(orphan)}")
    night.end_of(orphan["id"], "the run whose worker was killed")

    amid = night.of_state("RUNNING", "PENDING")
    night.kill_service("deployments.prefect_server", "deployments.server", "uvicorn")
    up = machine.local("up")
    assert up.returncode == 0, up.stdout + up.stderr

    wait_for(night.is_over, 3600, "the end of the batch")
    # The server took with it what it was about to do for the crashes; the schedule of recover asks for them too.
    missed = night.start("recover", {})
    assert night.end_of(missed, "the crashes that nobody answered") == "COMPLETED"
    wait_for(night.is_over, 3600, "the end of what was taken up")
    again = [run for run in night.runs() if "recovered" in run["tags"]]
    disturbed = {run["id"] for run in (cancelled, killed, orphan, *amid, *again)}
    judge(night.runs(), disturbed)

    resumed = night.start("resume", SHORT)
    assert night.end_of(resumed, "the resumed ones") == "COMPLETED"
    ledger = Ledger(workspace.ledger_url)
    assert {one.status for one in ledger.experiments()} == {"completed"}
    seeds = {json.loads(path.read_text())["seed"] for path in workspace.experiments.glob("*/metadata.json")}
    without = [run for run in night.runs() if seed_of(run) not in seeds]
    assert not without, [(run["name"], seed_of(run), run["state_type"], run["state"]["message"]) for run in without]
    assert len(ledger.experiments()) == EXPERIMENTS
    for path in workspace.experiments.glob("*/metadata.json"):
        assert json.loads(path.read_text())["status"] == "completed", path


def judge(runs: list[dict[str, Any]], disturbed: set[str]) -> None:
    """Order, preference and limit, as the server's books have them."""
    by_worker: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for run in runs:
        if run["start_time"] is not None:
            by_worker[worker_of(run)].append(run)
    assert {name.split("-")[1] for name in by_worker} == {f"gpu{number}" for number in GPUS}
    for worker, taken in by_worker.items():
        taken.sort(key=lambda run: run["start_time"])
        chosen = [queue_of(seed_of(run)) for run in taken]
        asked = {one["gpu"] for one in chosen} - {"any"}
        assert asked <= {worker.split("-")[1]}, "a run that asks for a GPU gets that one"
        quiet = [run for run in taken if run["id"] not in disturbed]
        urgency = [queue_of(seed_of(run))["priority"] for run in quiet]
        assert urgency == sorted(urgency), f"{worker} took what was less urgent first"
        for earlier, later in pairwise(quiet):
            if earlier["end_time"] is not None:
                assert earlier["end_time"] <= later["start_time"], f"{worker} had two runs at once"
