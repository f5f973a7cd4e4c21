"""One attempt at an experiment, as its metadata tell it: when it began, how it ended, how long it took."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from datetime import UTC, datetime

from glaucoma.errors import IntegrityError, is_outside_cause
from glaucoma.training.experiment import Experiment, Metadata, Status, StatusChange


@contextlib.contextmanager
def attempt(experiment: Experiment) -> Iterator[None]:
    """Counts and times an attempt; whatever ends the block ends the attempt, with the status that follows from it."""
    started = time.monotonic()
    _begin(experiment)
    try:
        yield
    except BaseException as error:
        reason = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        with contextlib.suppress(OSError, IntegrityError):  # on a full disk the error itself must still be told
            _end(experiment, _status_after(error), reason, started)
        raise
    _end(experiment, Status.COMPLETED, "", started)


def _begin(experiment: Experiment) -> None:
    def change(metadata: Metadata) -> None:
        metadata.attempts += 1
        metadata.status = Status.RUNNING
        metadata.checkpoint = None
        reason = f"attempt {metadata.attempts}"
        metadata.history.append(StatusChange(status=Status.RUNNING, at=datetime.now(UTC), reason=reason))

    experiment.update(change)


def _status_after(error: BaseException) -> Status:
    if not isinstance(error, Exception):
        return Status.CANCELLED
    return Status.INTERRUPTED if is_outside_cause(error) else Status.FAILED


def _end(experiment: Experiment, status: Status, reason: str, started: float) -> None:
    def change(metadata: Metadata) -> None:
        metadata.status = status
        metadata.duration_s = round(metadata.duration_s + time.monotonic() - started, 3)
        metadata.history.append(StatusChange(status=status, at=datetime.now(UTC), reason=reason))

    experiment.update(change)
