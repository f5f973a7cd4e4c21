"""One attempt at a training, in a process of its own, as seen from outside: its progress, its processes, its end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

if TYPE_CHECKING:
    from tests.chaos.subjects import Subject

PROJECT = Path(__file__).resolve().parents[2]
_LOOK_EVERY_S = 0.02


def until(question: Callable[[], Any], timeout_s: float, what: str) -> Any:
    """Looks again and again until the answer is true; an AssertionError after `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    while not (found := question()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout_s:.0f} s: {what}")
        time.sleep(_LOOK_EVERY_S)  # between two looks at the thing itself
    return found


class Attempt:
    """A process that trains `subject` in the workspace `root`."""

    def __init__(self, subject: Subject, root: Path, environment: dict[str, str] | None = None) -> None:
        self.subject, self.root = subject, root
        self._said = tempfile.TemporaryFile()  # noqa: SIM115  lives as long as this; a pipe would stay open in a child that outlives its parent
        command = [sys.executable, "-m", "tests.chaos.parent", "--workspace", str(root)]
        command += ["--spec", subject.spec.model_dump_json(), "--execution", subject.execution.model_dump_json()]
        self._before = self.progress_size()
        self.process = subprocess.Popen(
            command,
            cwd=PROJECT,
            env={**os.environ, "PYTHONPATH": str(PROJECT), "OMP_NUM_THREADS": "1", **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=self._said,
            stderr=subprocess.STDOUT,
        )

    @property
    def folder(self) -> Path:
        """The experiment's folder, there or not yet."""
        from glaucoma.training.spec import experiment_id

        return self.root / "experiments" / experiment_id(self.subject.spec)

    def progress_size(self) -> int:
        """Bytes that the progress has so far."""
        path = self.folder / "logs" / "progress.jsonl"
        return path.stat().st_size if path.is_file() else 0

    def children(self) -> list[psutil.Process]:
        """The training processes of this attempt."""
        return [p for p in processes_of(self.root) if p.pid != self.process.pid]

    def trains(self) -> bool:
        """True once this attempt has written progress, or has ended."""
        return self.process.poll() is not None or self.progress_size() > self._before + 200

    def ended(self, timeout_s: float) -> dict[str, Any]:
        """Waits for the end; gives what the process said last (`killed` where it could not)."""
        self.process.wait(timeout_s)
        with self._said as said_all:
            said_all.seek(0)
            text = said_all.read().decode(errors="replace")
        for line in reversed(text.splitlines()):
            if line.startswith('{"outcome"'):
                said: dict[str, Any] = json.loads(line)
                return said
        if self.process.returncode < 0:
            return {"outcome": "killed", "message": f"signal {-self.process.returncode}", "retryable": True}
        raise AssertionError(f"the process ended with {self.process.returncode} and said: {text[-2000:]}")


def processes_of(root: Path) -> list[psutil.Process]:
    """Every live process that names the workspace on its command line."""
    found = []
    for process in psutil.process_iter():
        try:
            named = any(str(root) in word for word in process.cmdline())
            if named and process.pid != os.getpid() and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found
