"""Whether somebody trains an experiment right now: its lock says so, whatever its metadata say."""

from __future__ import annotations

import contextlib
import fcntl
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from glaucoma.training.experiment import Experiment
from glaucoma.workspace import Workspace

_LOOK_EVERY_S = 0.1


@contextlib.contextmanager
def claimed(experiment: Experiment, workspace: Workspace, patience_s: float = 0.0) -> Iterator[bool]:
    """Holds the experiment while the block runs, where nobody else holds it; yields whether it does.

    Unlike `Experiment.lock`, which waits for as long as a training takes.

    Args:
        patience_s: How long to wait for a holder that is about to end, such as a process that was just killed.
    """
    with tried(workspace.locks / f"experiment-{experiment.experiment_id}.lock", patience_s) as handle:
        yield handle is not None


@contextlib.contextmanager
def tried(path: Path, patience_s: float = 0.0) -> Iterator[IO[str] | None]:
    """Holds an flock on `path` while the block runs; yields None where another holder has it all that time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as handle:
        yield handle if _lock(handle, time.monotonic() + patience_s) else None


def _lock(handle: IO[str], deadline: float) -> bool:
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(_LOOK_EVERY_S)
        else:
            return True


def is_trained_now(experiment: Experiment, workspace: Workspace) -> bool:
    """True where a living process holds the experiment."""
    with claimed(experiment, workspace) as free:
        return not free
