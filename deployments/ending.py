"""The end of a worker's runs, now: they are told to save, and killed when they do not follow."""

from __future__ import annotations

import os
import signal
import time

from deployments.leftovers import process_groups, run_processes
from deployments.worker import SAVE_S


class Ending:
    """Ends the runs of a worker: each process group is asked, and killed `SAVE_S` later.

    Args:
        worker: The name of the worker that started them.
    """

    def __init__(self, worker: str) -> None:
        self._worker = worker
        self._kill_at: dict[int, float] = {}

    def go_on(self) -> None:
        """Asks those that were not asked yet, and kills those whose time is over."""
        for group in process_groups(run_processes(self._worker)):
            first = group not in self._kill_at
            kill_at = self._kill_at.setdefault(group, time.monotonic() + SAVE_S)
            if first or time.monotonic() > kill_at:
                number = signal.SIGTERM if first else signal.SIGKILL
                try:
                    os.killpg(group, number)
                except ProcessLookupError:
                    continue  # it has ended
