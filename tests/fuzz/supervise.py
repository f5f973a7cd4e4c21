"""Runs the cases in processes of their own: one that dies or hangs is a failure of its case, and the rest goes on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.fuzz.worker import STATUS

_ROOT = Path(__file__).parents[2]
_POLL_S = 0.1
_START_S = 100


@dataclass
class Outcome:
    """What became of all cases of one kind.

    Attributes:
        done: Cases that ended, in whatever way.
        taken: Cases whose input was taken for sound.
        failures: `kind`, `number`, `error`, `where` of each case that ended in nothing that is allowed.
    """

    done: int = 0
    taken: int = 0
    failures: list[dict[str, Any]] = field(default_factory=list)


class _Worker:
    def __init__(self, kind: str, seed: int, first: int, end: int, step: int, folder: Path) -> None:
        self.kind, self.seed, self.end, self.step, self.folder = kind, seed, end, step, folder
        folder.mkdir()
        self._status = os.open(folder / "status", os.O_RDWR | os.O_CREAT)
        os.pwrite(self._status, STATUS.pack(first, 0, 0), 0)
        self.failures: list[dict[str, Any]] = []
        self._start(first)

    def _start(self, first: int) -> None:
        self._said, self._errors = self.folder / "said", self.folder / "errors"
        arguments = [self.kind, *map(str, (self.seed, first, self.end, self.step)), str(self.folder / "case")]
        command = [sys.executable, "-m", "tests.fuzz.worker", *arguments, str(self.folder / "status")]
        environment = os.environ | {"OMP_NUM_THREADS": "1", "TMPDIR": str(self.folder)}
        with self._said.open("wb") as said, self._errors.open("wb") as errors:
            self._process = subprocess.Popen(
                command, cwd=_ROOT, stdin=subprocess.DEVNULL, stdout=said, stderr=errors, env=environment
            )
        self._first, self._at, self._since = first, first, time.monotonic()

    @property
    def counts(self) -> tuple[int, int, int]:
        """Case under way, done, taken."""
        number, done, taken = STATUS.unpack(os.pread(self._status, STATUS.size, 0))
        return number, done, taken

    def look(self, case_s: float) -> bool:
        """True while there is more to do; a death or a case that takes too long is noted, and it goes on behind it."""
        number, done, taken = self.counts
        if number != self._at:
            self._at, self._since = number, time.monotonic()
        code = self._process.poll()
        # A worker that has just started imports OpenCV before it begins with its first case.
        hangs = code is None and time.monotonic() - self._since > case_s + (_START_S if number == self._first else 0)
        if code is None and not hangs:
            return True
        if hangs:
            self._process.kill()
            self._process.wait()
        self._collect()
        if code == 0:
            return False
        reason = f"took more than {case_s:g} s" if hangs else f"the process died with {code}"
        where = self._errors.read_bytes()[-3000:].decode("utf-8", "replace")
        self.failures.append({"kind": self.kind, "number": number, "error": reason, "where": where})
        os.pwrite(self._status, STATUS.pack(number + self.step, done + 1, taken), 0)
        if number + self.step >= self.end:
            return False
        self._start(number + self.step)
        return True

    def _collect(self) -> None:
        self.failures += [json.loads(line) for line in self._said.read_bytes().splitlines()]

    def close(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        os.close(self._status)


def supervise(
    kind: str, seed: int, cases: int, *, workers: int, case_s: float, report: Callable[[int], None] = lambda done: None
) -> Outcome:
    """Runs cases 0 to `cases` of `kind` and gives what became of them."""
    place = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # memory: a case is many small files
    with tempfile.TemporaryDirectory(prefix="arc-fuzz-", dir=place) as folder:
        running = [_Worker(kind, seed, first, cases, workers, Path(folder, str(first))) for first in range(workers)]
        try:
            left = list(running)
            while left:
                left = [worker for worker in left if worker.look(case_s)]
                report(sum(worker.counts[1] for worker in running))
                if left:
                    time.sleep(_POLL_S)
            outcome = Outcome()
            for worker in running:
                _, done, taken = worker.counts
                outcome.done, outcome.taken = outcome.done + done, outcome.taken + taken
                outcome.failures += worker.failures
        finally:
            for worker in running:
                worker.close()
    outcome.failures.sort(key=lambda failure: failure["number"])
    return outcome
