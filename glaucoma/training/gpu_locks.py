"""GPUs held by trainings: a lock for each, freed by the kernel when its holder dies, behind one turnstile a machine.

Who wants one GPU passes through the turnstile to try for it. Who wants several stands in it until all of them are
theirs: meanwhile nobody takes one of those that come free, so they neither starve nor hold one while another waits the
other way round. The locks of a machine lie in a folder of their own, as several machines may share a workspace.

A training of several GPUs is several processes. The first takes all locks and then shares them; the others join it,
so that a GPU is held for as long as any of them lives.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO

from glaucoma.machine.drained import this_host
from glaucoma.workspace import Workspace

Wait = Callable[[str], None]
"""Called again and again with what is waited for; sleeps a moment, and may raise."""

BUSY = "waiting for the GPU, which another training holds"
TURN = "waiting for the GPU: a training of several GPUs waits for all of them and goes first"
QUEUE = "waiting for the GPUs: another training of several GPUs waits for them first"
_LONGEST_GROUP = 300


def lock_folder(workspace: Workspace) -> Path:
    """Where the locks of this machine's GPUs lie."""
    return workspace.locks / "gpus" / this_host()


@contextlib.contextmanager
def hold(gpus: Sequence[str], folder: Path, wait: Wait, group: str = "") -> Iterator[None]:
    """Holds these GPUs while the block runs.

    Args:
        gpus: Their names; each becomes a file's name.
        group: By which the other processes of this training `join`; none of them does where it is empty.
    """
    with contextlib.ExitStack() as opened:
        turnstile = opened.enter_context(_lock_file(folder, "turnstile"))
        locks = [opened.enter_context(_lock_file(folder, f"gpu-{name}")) for name in sorted(set(gpus))]
        if len(locks) == 1:
            _take_one(turnstile, locks[0], wait)
        else:
            _take_all(turnstile, locks, wait, group)
        yield


@contextlib.contextmanager
def join(gpu: str, folder: Path, wait: Wait, group: str) -> Iterator[None]:
    """Holds the GPU too that the first process of `group` holds; waits until it does."""
    with _lock_file(folder, f"gpu-{gpu}") as lock:
        while not (_group_of(lock) == group and _try(lock, fcntl.LOCK_SH)):
            wait("waiting for the first process of this training, which takes the GPUs")
        yield


def _take_one(turnstile: IO[bytes], lock: IO[bytes], wait: Wait) -> None:
    while True:
        if not _try(turnstile, fcntl.LOCK_SH):
            wait(TURN)
            continue
        try:
            if _try(lock, fcntl.LOCK_EX):
                return
        finally:
            fcntl.flock(turnstile, fcntl.LOCK_UN)
        wait(BUSY)


def _take_all(turnstile: IO[bytes], locks: Sequence[IO[bytes]], wait: Wait, group: str) -> None:
    while not _try(turnstile, fcntl.LOCK_EX):
        wait(QUEUE)
    for number, lock in enumerate(locks):
        while not _try(lock, fcntl.LOCK_EX):
            wait(f"waiting for GPU {number + 1} of {len(locks)}, which another training holds; no other begins before")
    if group:
        for lock in locks:  # the kernel lets go of a lock to change it, and nobody else is in the turnstile
            fcntl.flock(lock, fcntl.LOCK_SH)
            _write_group(lock, group)
    fcntl.flock(turnstile, fcntl.LOCK_UN)


def _lock_file(folder: Path, name: str) -> IO[bytes]:
    folder.mkdir(parents=True, exist_ok=True)
    return (folder / f"{name}.lock").open("a+b", buffering=0)  # a shared lock needs reading where NFS keeps it


def _try(lock: IO[bytes], kind: int) -> bool:
    try:
        fcntl.flock(lock, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _write_group(lock: IO[bytes], group: str) -> None:
    lock.truncate(0)
    lock.write(group.encode())


def _group_of(lock: IO[bytes]) -> str:
    return os.pread(lock.fileno(), _LONGEST_GROUP, 0).decode(errors="replace")
