"""Prefect's own processes killed: flow runs, workers, the server; every experiment goes on and ends the same."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import psutil

from deployments.profile import USER, password
from glaucoma.schema import Task
from glaucoma.training.experiment import Experiment, Status
from glaucoma.training.settings import TrainSettings
from glaucoma.training.spec import experiment_id, spec_from
from glaucoma.workspace import Workspace
from tests.chaos.campaign import Tally, judged
from tests.chaos.running import PROJECT, processes_of, until
from tests.chaos.subjects import Subject
from tests.unit.training.conftest import DATASET, KEY, make_prepared

ENDED = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}
VICTIMS = ("flow", "worker", "server")
_TRAIN: dict[str, Any] = {
    "classifier": "small_cnn",
    "input_px": 32,
    "epochs": 1600,
    "batch_size": 4,
    "learning_rate": 1e-2,
    "patience": 10_000,
    "execution": {"device": "cpu", "threads": 1, "checkpoint_every_s": 0.05, "first_retry_delay_s": 1},
}


@dataclass
class Installation:
    """A Prefect installation of its own: server, workers, deployments, a workspace."""

    environment: dict[str, str]
    workspace: Path

    @classmethod
    def at(cls, root: Path) -> Installation:
        """One on a free port; nothing is started yet."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "ARC_"))}
        mine = {
            "PREFECT_HOME": str(root / "prefect"),
            "PREFECT_SERVER_API_PORT": str(port),
            "ARC_WORKSPACE": str(root / "workspace"),
            "PYTHONPATH": str(PROJECT),
            "OMP_NUM_THREADS": "1",
        }
        return cls({**kept, **mine}, root / "workspace")

    def local(self, what: str) -> None:
        """`python -m deployments.local`; an AssertionError with its words where it fails."""
        command = [sys.executable, "-m", "deployments.local", what]
        ended = subprocess.run(command, cwd=PROJECT, env=self.environment, capture_output=True, text=True, check=False)
        if ended.returncode:
            raise AssertionError(f"{what}: {ended.stdout[-1500:]}{ended.stderr[-1500:]}")

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """A request to the server's API, again while it is away or busy."""
        api = f"http://127.0.0.1:{self.environment['PREFECT_SERVER_API_PORT']}/api"
        known, page = (USER, password(Workspace.at(self.workspace))), str(uuid4())

        def answered() -> httpx.Response | None:
            try:
                token = httpx.get(f"{api}/csrf-token", params={"client": page}, auth=known, timeout=60)
                if token.status_code == httpx.codes.SERVICE_UNAVAILABLE:
                    return None
                headers = {"Prefect-Csrf-Client": page, "Prefect-Csrf-Token": token.raise_for_status().json()["token"]}
                response = httpx.request(method, f"{api}{path}", json=body, timeout=60, auth=known, headers=headers)
            except httpx.TransportError:
                return None
            return None if response.status_code == httpx.codes.SERVICE_UNAVAILABLE else response

        response: httpx.Response = until(answered, 120, f"an answer to {method} {path}")
        response.raise_for_status()
        return response.json() if response.content else None

    def state(self, run: str) -> dict[str, Any]:
        """The run's state."""
        found: dict[str, Any] = self.call("GET", f"/flow_runs/{run}")["state"]
        return found

    def kill(self, victim: str, run: str) -> bool:
        """kill -9; False where there is nothing of that kind any more."""
        found = [p for p in psutil.process_iter() if self._is(p, victim, run)]
        for process in found:
            process.send_signal(signal.SIGKILL)
        return bool(found)

    def _is(self, process: psutil.Process, victim: str, run: str) -> bool:
        try:
            words, variables = " ".join(process.cmdline()), process.environ()
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            return False
        if variables.get("ARC_WORKSPACE") != str(self.workspace):
            return False
        if victim == "flow":
            return variables.get("PREFECT__FLOW_RUN_ID") == run and "glaucoma.training.child" not in words
        return "PREFECT__FLOW_RUN_ID" not in variables and (
            "deployments.drainable --pool arc-gpu" in words
            if victim == "worker"
            else "deployments.prefect_server" in words or "deployments.server" in words
        )


def attack_installation(root: Path, rng: random.Random, kills: int, tally: Tally) -> None:
    """So many kills, a few on each experiment, each of which must then end as if undisturbed."""
    root.mkdir(parents=True)
    installation = Installation.at(root)
    make_prepared(installation.workspace)
    done = seed = 0
    try:
        while done < kills and len(tally.violations) < 10:
            subject = _subject(seed)
            expected = subject.run_undisturbed(root / f"reference-{seed}")
            done += _attack_experiment(installation, subject, expected, rng, min(kills - done, 10), tally)
            seed += 1
            print(f"{done} of {kills} kills of flow runs, workers and servers", flush=True)
        installation.local("up")
        live = installation.call("POST", "/flow_runs/filter", {"flow_runs": {"state": {"type": {"any_": ["RUNNING"]}}}})
        tally.violations += [f"the server's books say that {one['name']} still runs" for one in live]
    finally:
        installation.local("down")


def _attack_experiment(
    installation: Installation, subject: Subject, expected: str, rng: random.Random, kills: int, tally: Tally
) -> int:
    """Starts the experiment again and again, kills something each time, and judges the end; gives the kills."""
    tally.trainings += 1
    done = 0
    while done < kills:
        run = _start(installation, subject.spec.seed)
        until(lambda run=run: _trains(installation, subject, run), 180, "a run that trains")
        _wait(rng.uniform(0, 2))
        victim = rng.choice(VICTIMS)
        if installation.state(run)["type"] in ENDED or not installation.kill(victim, run):
            tally.outcomes["ended before"] += 1
            if _status(installation, subject) is Status.COMPLETED:
                break
            continue
        done += 1
        tally.attacks[f"kill_{victim}"] += 1
        if victim != "flow":
            _wait(rng.uniform(0, 3))
        until(lambda: _is_up(installation), 240, "the installation, up again")
        state = until(lambda run=run: _ended(installation, run), 400, f"the end of the run whose {victim} was killed")
        tally.outcomes[f"{victim} killed: {state['type']}"] += 1
        if _status(installation, subject) is Status.COMPLETED:
            break
    run = _start(installation, subject.spec.seed)
    state = until(lambda: _ended(installation, run), 400, "the end of a run that nobody disturbs")
    if state["type"] != "COMPLETED":
        tally.violations.append(f"{subject.name}: left alone, its run ended {state['type']}: {state.get('message')}")
    children = [p for p in processes_of(installation.workspace) if "glaucoma.training.child" in " ".join(p.cmdline())]
    tally.violations += [f"{subject.name}: a training process is left: {p.pid}" for p in children]
    tally.violations += [
        f"{subject.name}: {what}"
        for what in judged(subject, installation.workspace, expected)
        if what != "processes are left"  # the server and the workers are meant to be there
    ]
    return done


def _subject(seed: int) -> Subject:
    settings = TrainSettings.model_validate({**TrainSettings.for_preset("smoke").model_dump(), **_TRAIN, "seed": seed})
    spec = spec_from(settings, Task.CLASSIFICATION, DATASET, KEY)
    return Subject(f"deployed classifier, seed {seed}", spec, settings.execution)


def _start(installation: Installation, seed: int) -> str:
    until(lambda: _is_up(installation), 240, "the installation, up")
    deployment = installation.call("GET", "/deployments/name/train/train")
    config = {"name": DATASET, "prepared": KEY, "preset": "smoke", "train": {**_TRAIN, "seed": seed}}
    made = installation.call(
        "POST", f"/deployments/{deployment['id']}/create_flow_run", {"parameters": {"config": config}}
    )
    return str(made["id"])


def _is_up(installation: Installation) -> bool:
    installation.local("up")
    return True


def _trains(installation: Installation, subject: Subject, run: str) -> bool:
    """True once the run's own training process has written progress, or the run has ended."""
    if installation.state(run)["type"] in ENDED:
        return True
    path = installation.workspace / "experiments" / experiment_id(subject.spec) / "logs" / "progress.jsonl"
    lines = path.read_text(errors="replace").splitlines()[-3:] if path.is_file() else []
    return bool(lines) and '"event": null' not in lines[-1] and any('"loss"' in line for line in lines) and _child(run)


def _child(run: str) -> bool:
    for process in psutil.process_iter():
        try:
            if process.environ().get("PREFECT__FLOW_RUN_ID") == run and "glaucoma.training.child" in process.cmdline():
                return True
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return False


def _ended(installation: Installation, run: str) -> dict[str, Any] | None:
    state = installation.state(run)
    return state if state["type"] in ENDED else None


def _status(installation: Installation, subject: Subject) -> Status:
    return Experiment(installation.workspace / "experiments" / experiment_id(subject.spec)).status


def _wait(seconds: float) -> None:
    """Lets time pass: the moment of a kill is what is chosen by chance."""
    deadline = time.monotonic() + seconds
    until(lambda: time.monotonic() > deadline, seconds + 5, "time")
