"""What the end of a training's processes means: nothing where a model is there, else the error that says why not."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Sequence
from dataclasses import dataclass

from glaucoma import errors
from glaucoma.errors import ArcError, TrainingError, TransientError
from glaucoma.provenance import file_sha256
from glaucoma.training.exits import NAMED, STOPPED, Exit
from glaucoma.training.experiment import Experiment
from glaucoma.training.ranks import error_file, log_file
from glaucoma.training.storage import storage_error

_TAIL_LINES = 20
_TAIL_BYTES = 64 * 1024
_LONGEST_TOLD_BYTES = 1024 * 1024


@dataclass(frozen=True)
class End:
    """How one process ended, of itself."""

    rank: int
    code: int
    """As `subprocess` gives it: below 0 the signal that killed it."""


def is_trained(experiment: Experiment) -> bool:
    """True where the metadata name a checkpoint, and the file has that hash."""
    checkpoint = experiment.metadata.checkpoint
    if checkpoint is None:
        return False
    path = experiment.folder / checkpoint.path
    return path.is_file() and file_sha256(path) == checkpoint.sha256


def raise_for(ends: Sequence[End], experiment: Experiment, *, oom_kills: int = 0) -> None:
    """Raises what the ends of the processes mean; where all say that they are complete, there must be a model.

    Args:
        ends: In the order in which they ended, at least one.
        oom_kills: How many processes the kernel killed meanwhile for want of memory.
    """
    end = _telling(ends)
    if end.code == Exit.COMPLETE:
        if not is_trained(experiment):
            raise _lost(experiment, end.rank, "ended without an error and without a model")
        return
    if end.code in NAMED and (told := _told_error(experiment, end.rank)) is not None:
        raise told
    if end.code in (Exit.DISK_FULL, Exit.NOT_WRITABLE):
        raise storage_error(Exit(end.code), experiment.folder)
    if end.code in STOPPED:
        saved = end.code == Exit.STOPPED
        raise TransientError(
            f"The training of {experiment.experiment_id} was asked to stop by a signal from outside",
            consequence="Its state is saved" if saved else "It stopped at once; its last checkpoint is kept",
            remedy="start it again, and it resumes",
        )
    if end.code == -signal.SIGKILL and oom_kills:
        raise TransientError(
            f"The training process of {experiment.experiment_id} was killed by signal 9, most likely by the kernel "
            f"because the memory of this machine or of its container was full (it killed {oom_kills} meanwhile)",
            consequence="Its last checkpoint is kept",
            remedy="lower workers, batch_size or the input's side, end what else uses the memory, or allow the "
            "container more; then start it again, and it resumes",
        )
    code = end.code
    raise _lost(experiment, end.rank, f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}")


def _telling(ends: Sequence[End]) -> End:
    """The end that says most: one with a named cause, else one that was lost, else a stop; the first rank's before all.

    A rank that is lost because another one failed says nothing of the cause; so a cause goes first, whoever has it.
    """
    causes = [end for end in ends if end.code in NAMED]
    lost = [end for end in ends if end.code not in (*NAMED, *STOPPED, Exit.COMPLETE)]
    stopped = [end for end in ends if end.code in STOPPED]
    group = causes or lost or stopped or ends
    return next((end for end in group if end.rank == 0), group[0])


def _told_error(experiment: Experiment, rank: int) -> ArcError | None:
    """The error that a process wrote down, as the class that it was; None where it wrote none that can be read."""
    try:
        with error_file(experiment, rank).open("rb") as handle:
            told = json.loads(handle.read(_LONGEST_TOLD_BYTES))
        kind, message = getattr(errors, told["class"], TrainingError), str(told["message"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    known = isinstance(kind, type) and issubclass(kind, ArcError)
    error: ArcError = kind(message) if known else TrainingError(message)
    return error


def _lost(experiment: Experiment, rank: int, what: str) -> TransientError:
    path = log_file(experiment, rank)
    which = f" (rank {rank})" if rank else ""
    return TransientError(
        f"The training process{which} of {experiment.experiment_id} {what}; "
        f"its last lines: {' | '.join(_tail(experiment, rank)) or '(none)'}",
        consequence="Its last checkpoint is kept",
        remedy=f"start it again, and it resumes; see {path}",
    )


def _tail(experiment: Experiment, rank: int) -> list[str]:
    try:
        with log_file(experiment, rank).open("rb") as handle:
            handle.seek(max(0, handle.seek(0, os.SEEK_END) - _TAIL_BYTES))
            return handle.read(_TAIL_BYTES).decode("utf-8", errors="replace").splitlines()[-_TAIL_LINES:]
    except OSError:
        return []
