"""The processes of Prefect's flow runs on this machine: which run, which GPUs, and their end."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import psutil

from glaucoma.machine.readings import GpuReading

RUN_ID = "PREFECT__FLOW_RUN_ID"
"""In the environment of every process that a worker starts for a flow run, and of that process's children."""
HELD = "ARC_GPUS"
"""In a worker's environment, and so in its runs': the GPUs that it serves, by the driver's numbers on the machine."""
VISIBLE = "CUDA_VISIBLE_DEVICES"
"""What CUDA is told to use; in a container, which sees its own GPUs alone, the first of them is 0."""
_KILL_WAIT_S = 5.0


@dataclass(frozen=True)
class RunProcess:
    """A process that works for a flow run."""

    pid: int
    began_at: datetime
    run_id: str
    environment: Mapping[str, str]
    """Of its environment what was asked for."""


def run_processes(names: Sequence[str] = (HELD, VISIBLE)) -> list[RunProcess]:
    """The processes of flow runs on this machine, those of other users left out.

    Args:
        names: What is wanted of their environment.
    """
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            environment = process.environ()
            if RUN_ID in environment and process.status() != psutil.STATUS_ZOMBIE:
                began = datetime.fromtimestamp(process.create_time(), UTC)
                wanted = {name: environment[name] for name in names if name in environment}
                found.append(RunProcess(process.pid, began, environment[RUN_ID], wanted))
    return found


def gpus_of(process: RunProcess, gpus: Iterable[GpuReading]) -> set[int]:
    """The GPUs that the process computes on, by the driver, or else those that its worker serves, or shows it.

    A worker serves its own GPU alone, so that a run holds one before it computes on it, and where the driver names
    processes by other numbers (in a container that has processes of its own).
    """
    there = list(gpus)
    computing = {gpu.gpu for gpu in there if any(one.pid == process.pid for one in gpu.processes or ())}
    if computing:
        return computing
    told = process.environment.get(HELD, process.environment.get(VISIBLE, ""))
    shown = [one.strip() for one in told.split(",") if one.strip()]
    ids = {gpu.uuid: gpu.gpu for gpu in there if gpu.uuid}
    numbers = {gpu.gpu for gpu in there}
    found = {int(one) if one.isdecimal() else ids.get(one, -1) for one in shown}
    return found & numbers


def end_run_processes(run_id: str, grace_s: float) -> list[int]:
    """Ends all processes of a flow run on this machine; gives the ids of those that even SIGKILL did not end.

    The run's own process is asked first (SIGTERM): it lets its training save, and tells Prefect that it ended. What is
    left after `grace_s` is killed, and what has come since.
    """
    processes = _alive(run_id)
    for process in _roots(processes):
        with contextlib.suppress(psutil.Error):
            process.send_signal(signal.SIGTERM)
    psutil.wait_procs(processes, timeout=grace_s)
    left = _alive(run_id)
    for process in left:
        with contextlib.suppress(psutil.Error):
            process.kill()
    _, stuck = psutil.wait_procs(left, timeout=_KILL_WAIT_S)
    return sorted(process.pid for process in stuck)


def _alive(run_id: str) -> list[psutil.Process]:
    """This process is left out: what ends a run is no part of it."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            ours = process.environ().get(RUN_ID) == run_id and process.status() != psutil.STATUS_ZOMBIE
            if ours and process != psutil.Process():
                found.append(process)
    return found


def _roots(processes: Sequence[psutil.Process]) -> list[psutil.Process]:
    """Those whose parent is none of them."""
    pids = {process.pid for process in processes}
    found = []
    for process in processes:
        with contextlib.suppress(psutil.Error):
            if process.ppid() not in pids:
                found.append(process)
    return found
