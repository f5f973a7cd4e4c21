"""The temporary server that Prefect starts for a command: it outlives a command that is killed, so the next ends it.

It outlives a terminal's Ctrl-C too, which is meant for the command: a flow that is ended tells its server how, and one
that finds none tries for minutes.

Each command marks its environment with its process, and the server that Prefect starts for it inherits the mark. A
temporary server whose command is gone serves nobody.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import types
from functools import partial
from pathlib import Path

import psutil
from prefect.settings import PREFECT_API_URL

_MARK = "ARC_COMMAND"
_TEMPORARY = "PREFECT__SERVER_EPHEMERAL"
"""Prefect sets it for the temporary servers that it starts, and for nothing else."""
_GRACE_S = 5.0
_BEGAN = 18
"""Place of the starting time in /proc/<pid>/stat (field 22), counted from the field behind the state."""


def mark_this_command() -> None:
    """Lets everything that this process starts from now on name it."""
    os.environ[_MARK] = _name(os.getpid())


def shield_server() -> None:
    """Lets Prefect start its temporary server in a process group of its own: a Ctrl-C goes to a whole group.

    Prefect has no setting for it, and ends the server itself when the command ends.
    """
    if PREFECT_API_URL.value():
        return  # none will be started
    from prefect.server.api import server

    shielded = types.ModuleType(subprocess.__name__)
    shielded.__dict__.update(vars(subprocess), Popen=partial(subprocess.Popen, process_group=0))
    server.subprocess = shielded  # type: ignore[attr-defined]  # what that module alone sees


def end_left_servers() -> int:
    """Ends the temporary servers whose command was killed; gives their number."""
    left = [process for process in psutil.process_iter() if _is_left(process)]
    for process in left:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.terminate()
    _, alive = psutil.wait_procs(left, timeout=_GRACE_S)
    for process in alive:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    return len(left)


def _is_left(process: psutil.Process) -> bool:
    try:
        environment = process.environ()
        if _TEMPORARY not in environment or process.status() == psutil.STATUS_ZOMBIE:
            return False
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return False  # gone, or another user's
    command = environment.get(_MARK)
    return bool(command) and _name(command.partition(":")[0]) != command


def _name(pid: str | int) -> str:
    """A process by its pid and the clock ticks since boot when it began, as a pid is used again; "" where none runs."""
    try:
        state, *fields = (
            Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        )
    except (OSError, ValueError):
        return ""
    return "" if state in "ZX" else f"{pid}:{fields[_BEGAN]}"
