"""What can happen to a training: each attack does one thing to a running attempt, or to its files between two."""

from __future__ import annotations

import random
import signal
from collections.abc import Callable
from pathlib import Path

import psutil

from tests.chaos.running import Attempt

Attack = Callable[[Attempt, random.Random], None]


def kill_child(attempt: Attempt, rng: random.Random) -> None:
    """kill -9 of one training process."""
    _signal_one(attempt, rng, signal.SIGKILL)


def kill_parent(attempt: Attempt, rng: random.Random) -> None:
    """kill -9 of the process that watches: a flow's."""
    attempt.process.kill()


def kill_all(attempt: Attempt, rng: random.Random) -> None:
    """A power cut: all processes at once, in any order."""
    there = [*attempt.children(), psutil.Process(attempt.process.pid)]
    rng.shuffle(there)
    for process in there:
        _send(process, signal.SIGKILL)


def terminate_child(attempt: Attempt, rng: random.Random) -> None:
    """A polite request from outside."""
    _signal_one(attempt, rng, signal.SIGTERM)


def interrupt_parent(attempt: Attempt, rng: random.Random) -> None:
    """Ctrl-C."""
    attempt.process.send_signal(signal.SIGINT)


def stop_child(attempt: Attempt, rng: random.Random) -> None:
    """SIGSTOP: the process lives and does nothing, as one that hangs."""
    _signal_one(attempt, rng, signal.SIGSTOP)


def damage_last(folder: Path, rng: random.Random) -> None:
    """Some bytes of the last checkpoint are others."""
    _damage(folder / "checkpoints" / "last.pt", rng)


def truncate_last(folder: Path, rng: random.Random) -> None:
    """The last checkpoint ends early."""
    path = folder / "checkpoints" / "last.pt"
    if path.is_file():
        content = path.read_bytes()
        path.write_bytes(content[: rng.randrange(len(content))])


def damage_all_checkpoints(folder: Path, rng: random.Random) -> None:
    """None of the checkpoints is what was written."""
    for path in sorted((folder / "checkpoints").glob("*.pt")):
        _damage(path, rng)


def damage_hashes(folder: Path, rng: random.Random) -> None:
    """The list of hashes is rubbish."""
    path = folder / "checkpoints" / "checkpoints.sha256"
    if path.is_file():
        path.write_bytes(rng.randbytes(300))


def damage_progress(folder: Path, rng: random.Random) -> None:
    """The file of progress is rubbish at its end, and in the middle."""
    path = folder / "logs" / "progress.jsonl"
    if path.is_file():
        content = path.read_bytes()
        cut = rng.randrange(len(content) + 1)
        path.write_bytes(content[:cut] + rng.randbytes(200) + content[cut:] + b'{"time": "2026')


DURING: list[tuple[Attack, int]] = [
    (kill_child, 45),
    (kill_parent, 30),
    (kill_all, 15),
    (terminate_child, 5),
    (interrupt_parent, 4),
    (stop_child, 1),
]
"""On a running attempt, and how often each, in a hundred."""

BETWEEN: list[Callable[[Path, random.Random], None]] = [
    damage_last,
    truncate_last,
    damage_all_checkpoints,
    damage_hashes,
    damage_progress,
]
"""On the experiment's folder, while nobody trains."""


def _signal_one(attempt: Attempt, rng: random.Random, number: signal.Signals) -> None:
    there = attempt.children()
    if there:
        _send(rng.choice(there), number)


def _send(process: psutil.Process, number: signal.Signals) -> None:
    try:
        process.send_signal(number)
    except psutil.NoSuchProcess:
        return  # it ended by itself a moment before


def _damage(path: Path, rng: random.Random) -> None:
    if not path.is_file():
        return
    content = bytearray(path.read_bytes())
    for _ in range(rng.randint(1, 20)):
        content[rng.randrange(len(content))] ^= rng.randint(1, 255)
    path.write_bytes(bytes(content))
