"""Starting a training's processes: one, or one for each device with the environment that torchrun would give them."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from glaucoma import errors
from glaucoma.training.exits import ERROR_FILE
from glaucoma.training.experiment import Experiment
from glaucoma.training.processes import MARK, Process
from glaucoma.training.settings import ExecutionSettings
from glaucoma.workspace import Workspace

_ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",  # weights come from local files: nothing may wait for a network
    "NO_ALBUMENTATIONS_UPDATE": "1",
    "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
    "PYTHONUNBUFFERED": "1",
}
_RANK_VARIABLES = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "GROUP_RANK", "MASTER_ADDR", "MASTER_PORT",
                   "TORCHELASTIC_RUN_ID", "TORCHELASTIC_USE_AGENT_STORE")  # fmt: skip
_HOST = "127.0.0.1"


@dataclass(frozen=True)
class Rank:
    """One of the processes of a training."""

    number: int
    process: Process


@dataclass(frozen=True)
class Launch:
    """What the processes of a training are started with."""

    workspace: Workspace
    execution: ExecutionSettings
    lock: int
    """Descriptor of the experiment's lock."""
    mark: str
    """Of the experiment, for `processes.MARK`."""


def error_file(experiment: Experiment, rank: int = 0) -> Path:
    """Where the process of that rank tells its error."""
    return _of_rank(experiment.folder / "logs" / ERROR_FILE, rank)


def log_file(experiment: Experiment, rank: int = 0) -> Path:
    """Where the output of the process of that rank goes."""
    return _of_rank(experiment.child_log, rank)


def _of_rank(path: Path, rank: int) -> Path:
    return path if rank == 0 else path.with_name(f"{path.stem}-{rank}{path.suffix}")


@contextlib.contextmanager
def held_port() -> Iterator[int]:
    """A free port of this machine that no other program is given while the block lasts.

    It is bound here and not listened on. The kernel then hands it to nobody who asks for any port, and the first rank,
    which asks for this one and allows a shared address as torch's store does, may listen on it.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as place:
        place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        place.bind((_HOST, 0))
        yield place.getsockname()[1]


@contextlib.contextmanager
def started_ranks(experiment: Experiment, launch: Launch, started: list[Rank]) -> Iterator[None]:
    """Starts `launch.execution.devices` processes in this process group; ending them is the caller's work.

    Each holds the experiment's lock too, so that no second training ever writes, and dies with the thread that calls.

    Args:
        started: Each process is added to it as soon as it lives, so that an error in between leaves none unknown.
    """
    devices = launch.execution.devices
    with held_port() if devices > 1 else contextlib.nullcontext(0) as port:
        run_id = uuid.uuid4().hex
        for number in range(devices):
            environment = _environment(launch)
            if devices > 1:
                environment |= _torchrun(number, devices, port, run_id)
            started.append(Rank(number, _start(experiment, launch, log_file(experiment, number), environment)))
        yield


def _start(experiment: Experiment, launch: Launch, log_path: Path, environment: dict[str, str]) -> Process:
    command = [sys.executable, "-P", "-m", "glaucoma.training.child"]
    command += ["--workspace", str(launch.workspace.root), "--experiment", experiment.experiment_id]
    command += ["--execution", launch.execution.model_dump_json()]
    command += ["--parent", str(os.getpid()), "--lock", str(launch.lock)]
    with log_path.open("ab") as log:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment,
            pass_fds=(launch.lock,),
        )


def _environment(launch: Launch) -> dict[str, str]:
    """This process's own, without what makes it a rank of something else, and with this experiment's mark."""
    root = str(Path(errors.__file__).parents[1])
    paths = [root, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    inherited = {name: value for name, value in os.environ.items() if name not in _RANK_VARIABLES}
    return {
        **inherited,
        **_ENVIRONMENT,
        "PYTHONPATH": os.pathsep.join(paths),
        "OMP_NUM_THREADS": str(launch.execution.threads),
        MARK: launch.mark,
    }


def _torchrun(rank: int, world: int, port: int, run_id: str) -> dict[str, str]:
    """The variables that torchrun sets on one machine; gloo talks over the loopback, whatever the machine's name is."""
    return {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(world),
        "LOCAL_WORLD_SIZE": str(world),
        "GROUP_RANK": "0",
        "MASTER_ADDR": _HOST,
        "MASTER_PORT": str(port),
        "TORCHELASTIC_RUN_ID": run_id,
        "GLOO_SOCKET_IFNAME": os.environ.get("GLOO_SOCKET_IFNAME", "lo"),
    }
