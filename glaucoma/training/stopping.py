"""What a training process is asked by signals, and how its own children follow it into its end."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import threading
import time
from collections.abc import Iterator
from types import FrameType

from glaucoma.training.exits import Exit
from glaucoma.training.processes import ASK, AT_ONCE

_PR_SET_PDEATHSIG = 1
_LOOK_EVERY_S = 0.05


class StopRequests:
    """Whether this process was asked to stop. Called like a function by the loop.

    `ASK`, or one SIGTERM or SIGINT: save at the step's end. A second SIGTERM or SIGINT, or `AT_ONCE`: the process ends
    there and then, without saving.
    """

    def __init__(self) -> None:
        self.asked = False  # no threading.Event: set in a handler, it can wait for a lock of the code it interrupted
        self._by_a_person = False

    def listen(self) -> None:
        """Takes over the signals; only in the main thread."""
        for number in (ASK, AT_ONCE, signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._heard)

    def __call__(self, timeout_s: float) -> bool:
        """Waits up to `timeout_s` for a request, and says whether there is one."""
        until = time.monotonic() + timeout_s
        while not self.asked and (left := until - time.monotonic()) > 0:
            time.sleep(min(left, _LOOK_EVERY_S))
        return self.asked

    def _heard(self, number: int, frame: FrameType | None) -> None:
        again = number != ASK and self._by_a_person
        if number == AT_ONCE or again:
            os._exit(Exit.STOPPED_UNSAVED)
        self._by_a_person = self._by_a_person or number != ASK
        self.asked = True


def die_with_parent(parent: int | None) -> bool:
    """Asks the kernel to kill this process when the thread that started it ends; False where it has ended already.

    Args:
        parent: Process id of the parent; None where it is not known, and then taken to live.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    return parent is None or os.getppid() == parent


def tie_forks(lock: int | None) -> None:
    """Ties what this process forks to its life, and keeps the experiment's lock out of it.

    A forked process that outlived this one would hold the lock, and no other attempt could begin. Those forked by
    another thread than the main one are not tied: the kernel would end them with that thread.

    Args:
        lock: Descriptor of the lock that this process was handed.
    """
    if lock is not None:
        os.set_inheritable(lock, False)  # of programs that it starts
    owner, main_thread = os.getpid(), threading.get_ident()

    def in_fork() -> None:
        if lock is not None:
            with contextlib.suppress(OSError):
                os.close(lock)
        for number in (ASK, AT_ONCE, signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)
        if os.getppid() == owner and threading.get_ident() == main_thread:
            die_with_parent(owner)

    os.register_at_fork(after_in_child=in_fork)


_HEARD = (ASK, signal.SIGTERM, signal.SIGINT)


@contextlib.contextmanager
def stopping_held_back() -> Iterator[None]:
    """What is asked meanwhile is heard after it; a process forked in here hears nothing until it leaves stopping.

    Without it a signal between a worker's fork and its first line would end the worker.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _HEARD)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def leave_stopping_to_the_training() -> None:
    """For processes that read ahead: a cancel's SIGTERM goes to all, and the training must still end its step."""
    for number in _HEARD:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _HEARD)
