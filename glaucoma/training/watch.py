"""Watching a training: its progress is passed on, and its time limits are kept. By the steady clock alone."""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from glaucoma.training.exits import Exit
from glaucoma.training.experiment import Experiment
from glaucoma.training.outcome import End
from glaucoma.training.progress_log import ProgressReader, TrainingProgress
from glaucoma.training.ranks import Rank
from glaucoma.training.settings import ExecutionSettings

Report = Callable[[TrainingProgress], None]

_LOOK_EVERY_S = 0.2
_SETTLE_S = 1.0
"""After one process failed, the others may tell their own error before they are ended."""


class Watch:
    """Reads the progress of one attempt, over all starts of its processes.

    Args:
        report: Called with each new line of progress, in the thread that watches.
    """

    def __init__(self, experiment: Experiment, execution: ExecutionSettings, report: Report) -> None:
        self._reader = ProgressReader(experiment.progress_path)
        self._execution, self._report = execution, report
        self._began = self._moved = time.monotonic()
        self._place: tuple[object, ...] = ()
        self._left_out = 0
        self.complaint = ""
        """What could not be read of the progress; empty where all could."""

    def until_end(self, ranks: Sequence[Rank]) -> tuple[str, list[End]]:
        """Passes progress on until the processes end, one of them fails, or a limit is passed.

        Returns:
            What a person is to be told of the limit, or nothing; and how the processes ended, those that did.
        """
        self._moved = time.monotonic()
        ends: list[End] = []
        while True:
            ends += _newly_ended(ranks, ends, _LOOK_EVERY_S)
            self.pass_on()
            if any(end.code != Exit.COMPLETE for end in ends):
                until = time.monotonic() + _SETTLE_S
                while len(ends) < len(ranks) and time.monotonic() < until:
                    ends += _newly_ended(ranks, ends, _LOOK_EVERY_S)
            if len(ends) == len(ranks) or any(end.code != Exit.COMPLETE for end in ends):
                return "", ends
            if limit := self.limit_passed():
                return limit, ends

    def pass_on(self) -> None:
        """Reports what is new, and keeps in mind when the training last moved."""
        for progress in self._reader.new():
            if progress.waits or progress.place != self._place:
                self._moved = time.monotonic()
            self._place = progress.place
            self._report(progress)
        unreadable = self._reader.left_out > self._left_out or bool(self._reader.problem)
        self._left_out = self._reader.left_out
        if unreadable:
            self._moved = time.monotonic()  # what cannot be read cannot be judged
            self._complain()

    def tell(self, event: str, message: str) -> None:
        """Reports what the watcher itself has to say."""
        self._report(TrainingProgress(time=datetime.now(UTC), event=event, message=message))

    def _complain(self) -> None:
        if self.complaint:
            return
        detail = f": {self._reader.problem}" if self._reader.problem else ", and is left out"
        self.complaint = f"A part of progress.jsonl cannot be read{detail}. The training goes on"
        self.tell("unreadable", self.complaint)

    def limit_passed(self) -> str:
        """What a person is to be told of the time limit that is passed; empty where none is."""
        now, execution = time.monotonic(), self._execution
        if now - self._moved > execution.stall_timeout_s:
            return f"made no progress for {execution.stall_timeout_s:g} s (stall_timeout_s)"
        if execution.timeout_s is not None and now - self._began > execution.timeout_s:
            return f"took longer than {execution.timeout_s:g} s (timeout_s)"
        return ""


def _newly_ended(ranks: Sequence[Rank], ends: Sequence[End], timeout_s: float) -> list[End]:
    """Those that ended since; waits up to `timeout_s` for the first that has not."""
    known = {end.rank for end in ends}
    live = [rank for rank in ranks if rank.number not in known]
    if live and all(rank.process.poll() is None for rank in live):
        with contextlib.suppress(subprocess.TimeoutExpired):
            live[0].process.wait(timeout_s)
    codes = [(rank.number, rank.process.poll()) for rank in live]
    return [End(number, code) for number, code in codes if code is not None]
