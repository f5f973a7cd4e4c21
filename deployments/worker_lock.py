"""One worker of a name at a time on a machine: a lock that its process holds, freed by the kernel when it ends."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from glaucoma.machine.drained import this_host
from glaucoma.workspace import Workspace


@dataclass
class Held:
    """An open lock file, taken or not yet."""

    handle: IO[str]

    def take(self) -> bool:
        """Takes the lock and writes who holds it; False where another process has it."""
        try:
            fcntl.flock(self.handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        self.handle.seek(0)
        self.handle.truncate()
        self.handle.write(f"pid {os.getpid()}")
        self.handle.flush()
        return True

    def holder(self) -> str:
        """What the process that has the lock wrote of itself; of use to people only."""
        self.handle.seek(0)
        return self.handle.read() or "unknown"


def lock_of(workspace: Workspace, worker: str) -> Path:
    """The lock of the worker of that name on this machine."""
    return workspace.machine / this_host() / "workers" / f"{worker}.lock"


@contextlib.contextmanager
def hold(path: Path) -> Iterator[Held]:
    """Opens the lock; what was taken of it is freed at the end."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+", encoding="utf-8") as handle:
        yield Held(handle)


def is_at_work(path: Path) -> bool:
    """Whether a process holds the lock; looks without making the file."""
    try:
        with path.open("r+", encoding="utf-8") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False
