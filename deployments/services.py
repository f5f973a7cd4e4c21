"""Processes that run in the background on this machine: started, found again, and ended to the last child."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from glaucoma.errors import ArcError
from glaucoma.provenance import write_bytes

_MARK = "ARC_SERVICES"
"""An environment variable that every service and all that it starts inherit: the folder of the services."""
_POLL_S = 0.25


class ServiceError(ArcError):
    """A background process did not start, or ended at once."""


@dataclass(frozen=True)
class Service:
    """One background process, known by its pid and the time it began (a pid alone is used again)."""

    name: str
    folder: Path

    @property
    def log(self) -> Path:
        return self.folder / f"{self.name}.log"

    @property
    def _pid_file(self) -> Path:
        return self.folder / f"{self.name}.pid"

    def process(self) -> psutil.Process | None:
        """The process, where it runs."""
        try:
            pid, began = self._pid_file.read_text().split()
            process = psutil.Process(int(pid))
            same = abs(process.create_time() - float(began)) < 1.0 and process.status() != psutil.STATUS_ZOMBIE
        except (FileNotFoundError, ValueError, psutil.NoSuchProcess):
            return None
        return process if same else None

    def start(self, command: Sequence[str], environment: Mapping[str, str], cwd: Path) -> psutil.Process:
        """Starts the process in a session of its own, its output in a log; gives the one that runs already."""
        if (running := self.process()) is not None:
            return running
        self.folder.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            child = subprocess.Popen(
                list(command),
                cwd=cwd,
                env={**os.environ, **environment, _MARK: str(self.folder)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        process = psutil.Process(child.pid)
        write_bytes(self._pid_file, f"{child.pid} {process.create_time()}".encode())
        return process

    def wait_for_end(self, grace_s: float) -> None:
        """Waits for the end of a process that was asked for it, then ends it."""
        if (process := self.process()) is not None:
            _end(process, grace_s)
        self._pid_file.unlink(missing_ok=True)

    def wait_until(self, ready: Callable[[], bool], timeout_s: float, what: str) -> None:
        """Returns when `ready` says so; `ServiceError` with the log's end when the process is gone or time is up."""
        deadline = time.monotonic() + timeout_s
        while not ready():
            if self.process() is None or time.monotonic() > deadline:
                tail = self.log.read_text(errors="replace").splitlines()[-15:]
                raise ServiceError(
                    f"{self.name} is not {what} after {timeout_s:.0f} s, or it ended",
                    remedy=f"read {self.log}, which ends with: " + " / ".join(tail),
                )
            time.sleep(_POLL_S)  # between two looks at the thing itself

    def ask(self, number: signal.Signals) -> None:
        """Sends the process a signal, where it runs."""
        if (process := self.process()) is not None:
            with contextlib.suppress(psutil.NoSuchProcess):  # it ended by itself meanwhile
                process.send_signal(number)

    def stop(self, grace_s: float) -> None:
        """Asks the process to end, then ends it."""
        process = self.process()
        if process is not None:
            _ask(process)
            _end(process, grace_s)
        self._pid_file.unlink(missing_ok=True)


def stop_rest(folder: Path, grace_s: float) -> int:
    """Ends whatever the services in `folder` started and left; gives the number of processes that were left."""
    left = marked(folder)
    for process in left:
        _ask(process)
    for process in left:
        _end(process, grace_s)
    return len(left)


def marked(folder: Path) -> list[psutil.Process]:
    """Every process on this machine that comes from a service in `folder`, by the mark in its environment."""
    found = []
    for process in psutil.process_iter():
        try:
            ours = process.environ().get(_MARK) == str(folder) and process.status() != psutil.STATUS_ZOMBIE
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue  # gone, or another user's
        if ours and process.pid != os.getpid():
            found.append(process)
    return found


def _end(process: psutil.Process, grace_s: float) -> None:
    try:
        process.wait(grace_s)
    except psutil.TimeoutExpired:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
            process.wait(grace_s)
    except psutil.NoSuchProcess:
        return


def _ask(process: psutil.Process) -> None:
    with contextlib.suppress(psutil.NoSuchProcess):  # it ended by itself meanwhile
        process.terminate()
