"""Ending a command between two stages: the stage that runs is finished, and no other one begins.

A signal of its own asks for it. Only a command that listens can be asked; elsewhere nothing here has an effect.
"""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType

ASK = signal.SIGUSR1
"""The signal that asks. It is sent to the command's process alone: a training takes the same signal for its own."""


class StoppedBetweenStagesError(BaseException):
    """The command was asked to end after the stage that ran. No `Exception`: it says nothing of the work itself."""


class StageStop:
    """Whether this process was asked to end after its stage."""

    def __init__(self) -> None:
        self._asked = False
        self._idle = False

    def listen(self) -> None:
        """Takes over the signal, which may have been held back since this process began; only in the main thread."""
        signal.signal(ASK, self._heard)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {ASK})

    def before_a_stage(self) -> None:
        """Raises `StoppedBetweenStagesError` where it was asked for."""
        if self._asked:
            raise StoppedBetweenStagesError("It was asked to end after the stage that ran")

    @contextlib.contextmanager
    def while_idle(self) -> Iterator[None]:
        """For what only waits, such as for a person: asked meanwhile, it ends at once."""
        self.before_a_stage()
        before, self._idle = self._idle, True
        try:
            yield
        finally:
            self._idle = before

    def _heard(self, number: int, frame: FrameType | None) -> None:
        self._asked = True
        if self._idle:
            self.before_a_stage()


STAGE_STOP = StageStop()
"""A process is asked as a whole."""
