"""The end of a training's processes, in three steps, down to the last descendant.

A training's processes carry a mark in their environment, which their descendants inherit. So those are found too whose
own parent has ended, and those that an earlier attempt left behind when the machine that watched it was killed.
"""

from __future__ import annotations

import contextlib
import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

MARK = "ARC_TRAINING"
"""Name of the environment variable that says whose process it is."""
ASK, AT_ONCE = signal.SIGUSR1, signal.SIGUSR2
"""Save at the step's end and stop; stop at once. Apart from SIGTERM, which a cancel sends to the whole process group:
whoever is asked twice for the same thing, by the group's signal and by its parent, must not take it for more."""
AT_ONCE_S = 2.0
KILL_S = 3.0
_LOOK_EVERY_S = 0.02

Process = subprocess.Popen[bytes]


@dataclass(frozen=True)
class Ended:
    """What the end of a training's processes left behind."""

    pids: frozenset[int]
    """All that were ended, descendants included."""
    alive: tuple[int, ...] = ()
    """Those that even SIGKILL did not end in time: they hang in the kernel, in a driver or a network disk."""


def mark_of(folder: Path) -> str:
    """The mark of the experiment in `folder`: its path, and the folder itself by device and number.

    Two machines or containers that see each other's processes may each have another folder at the same path.
    """
    status = folder.stat()
    return f"{status.st_dev}:{status.st_ino}:{folder.resolve()}"


def end_processes(started: Sequence[Process], mark: str, ask_s: float) -> Ended:
    """Ends `started` and all their descendants; when this returns, however it returns, they have been killed.

    Asks them to save and stop and waits up to `ask_s`; tells those left to stop at once and waits `AT_ONCE_S`; kills
    what is left, descendants included, and waits up to `KILL_S`. Stopped processes are let go on, so that they hear it.

    Args:
        started: Children of this process.
        mark: What `MARK` is in their environment.
        ask_s: 0 skips the asking.
    """
    known: set[psutil.Process] = set()
    try:
        known |= _descendants(started)
        for number, wait_s in ((ASK, ask_s), (AT_ONCE, AT_ONCE_S)):
            if wait_s and any(process.poll() is None for process in started):
                _signal(started, number)
                _wait(started, wait_s)
        known |= _descendants(started)
    finally:  # a second cancel may have broken a wait
        ended = _kill_all(started, mark, known)
    return ended


def kill_left_behind(mark: str) -> list[int]:
    """Kills what carries `mark`: descendants of an earlier attempt whose watcher was killed. Gives their ids.

    Only for who holds the experiment's lock: then no living attempt can carry the mark.
    """
    left = _marked(mark)
    if left:
        _kill_all((), mark, left)
    return sorted(process.pid for process in left)


def _signal(started: Sequence[Process], number: signal.Signals) -> None:
    for process in started:
        if process.poll() is None:
            process.send_signal(number)
            process.send_signal(signal.SIGCONT)


def _wait(started: Sequence[Process], timeout_s: float) -> None:
    until = time.monotonic() + timeout_s
    for process in started:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(max(0.0, until - time.monotonic()))


def _kill_all(started: Sequence[Process], mark: str, known: set[psutil.Process]) -> Ended:
    """Kills until nothing is found any more: what is killed may have started another a moment before."""
    until = time.monotonic() + KILL_S
    known = set(known)
    while True:
        known |= _descendants(started) | _marked(mark)
        for process in started:
            if process.poll() is None:
                process.kill()
        alive = {process for process in known if _is_alive(process)}
        for found in alive:
            with contextlib.suppress(psutil.Error):
                found.kill()
        late = [process.pid for process in started if process.poll() is None]
        if not alive and not late:
            return _ended(started, known)
        if time.monotonic() >= until:
            return _ended(started, known, sorted({*late, *(process.pid for process in alive)}))
        time.sleep(_LOOK_EVERY_S)


def _ended(started: Sequence[Process], known: set[psutil.Process], alive: Sequence[int] = ()) -> Ended:
    return Ended(frozenset(process.pid for process in (*started, *known)), tuple(alive))


def _descendants(started: Sequence[Process]) -> set[psutil.Process]:
    found: set[psutil.Process] = set()
    for process in started:
        with contextlib.suppress(psutil.Error):
            if process.poll() is None:
                found |= set(psutil.Process(process.pid).children(recursive=True))
    return found


def _marked(mark: str) -> set[psutil.Process]:
    """The living processes that carry `mark`, this one left out."""
    found = set()
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):  # of another user, or just ended
            if process.environ().get(MARK) == mark and process != psutil.Process():
                found.add(process)
    return found


def _is_alive(process: psutil.Process) -> bool:
    """False for a zombie too: it holds nothing, and waits for its parent alone."""
    try:
        return bool(process.is_running()) and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
