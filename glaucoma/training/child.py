"""A process of a training: `python -m glaucoma.training.child`. `supervise` starts it, or torchrun.

How it ends is told by its exit code (`glaucoma.training.exits.Exit`), and by `logs/error.json` where there is more to
tell. SIGTERM once: save at the step's end, exit 75; twice: exit 76 at once. With torchrun's variables in the
environment it is one of several ranks; the first alone writes progress. Without `--parent` nobody watches it: then it
takes the experiment's lock and keeps its status itself.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from glaucoma import errors
from glaucoma.errors import ArcError, SettingsError, TransientError, problems
from glaucoma.provenance import write_json
from glaucoma.training.exits import Exit, exit_of, exit_of_storage
from glaucoma.training.stopping import StopRequests, die_with_parent, tie_forks

if TYPE_CHECKING:
    from glaucoma.training.experiment import Experiment
    from glaucoma.training.progress_log import ProgressWriter
    from glaucoma.training.settings import ExecutionSettings
    from glaucoma.workspace import Workspace


class _AskedError(TransientError):
    """The loop saved and stopped, as it was asked to."""


def main(arguments: list[str] | None = None) -> int:
    """Trains one experiment and returns the exit code."""
    given = _parser().parse_args(arguments)
    if not die_with_parent(given.parent):
        return Exit.STOPPED
    tie_forks(given.lock)
    stop = StopRequests()
    stop.listen()
    try:
        return train(given.workspace, given.experiment, given.execution, stop, watched=given.parent is not None)
    except OSError as error:
        code = exit_of_storage(error, given.workspace.resolve())
        if code is None:
            raise
        _trace()
        return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="glaucoma.training.child", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--workspace", type=Path, required=True)
    parser.add_argument("--experiment", required=True, help="id of an experiment that is there")
    parser.add_argument("--execution", default="{}", help="ExecutionSettings as JSON; what is left out as in base")
    parser.add_argument("--parent", type=int, help="process id of the parent that watches, whose death ends this one")
    parser.add_argument("--lock", type=int, help="descriptor of the experiment's lock, which the parent holds")
    return parser


def train(root: Path, name: str, execution: str, stop: StopRequests, *, watched: bool) -> int:
    """Trains the experiment `name` of the workspace at `root`, tells its error where there is one; the exit code.

    Raises:
        OSError: The disk's; the caller knows how to tell it.
    """
    from glaucoma.training.experiment import open_experiment
    from glaucoma.training.images_at_once import images_at_once
    from glaucoma.training.progress_log import ProgressWriter, SilentProgress
    from glaucoma.training.ranks import error_file
    from glaucoma.workspace import Workspace

    workspace = Workspace.at(root)
    experiment = open_experiment(name, workspace)
    rank = int(os.environ.get("RANK", "0"))
    told = error_file(experiment, rank)
    told.unlink(missing_ok=True)
    try:
        settings = _settings(execution)
        progress = ProgressWriter(experiment.progress_path) if rank == 0 else SilentProgress()
        with contextlib.closing(progress), _kept_by_itself(experiment, workspace, rank, watched=watched):
            progress.write(event="begin", message="the training process has begun", pid=os.getpid())
            _run(experiment, workspace, settings, progress, stop)
    except _AskedError:
        return Exit.STOPPED
    except ArcError as error:
        return _tell(error, told)
    except (RuntimeError, MemoryError) as error:
        from glaucoma.training.gpu_errors import lost_worker_error, training_error

        _trace()
        meant = training_error(error, images_at_once(experiment.spec, settings))
        if meant is not None:
            return _tell(meant, told)
        if stop.asked:  # a process that reads ahead, or another rank, ended by the same signal
            return Exit.STOPPED_UNSAVED
        lost = lost_worker_error(error)
        if lost is not None:
            return _tell(lost, told)
        raise
    return Exit.COMPLETE


def _settings(text: str) -> ExecutionSettings:
    from glaucoma.training.settings import ExecutionSettings

    try:
        given = ExecutionSettings.for_preset("base", **json.loads(text))
    except (ValueError, TypeError) as error:
        raise SettingsError(
            f"--execution does not hold ({problems(error)})", expected="ExecutionSettings as JSON", remedy="correct it"
        ) from error
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if given.devices != world:
        raise SettingsError(
            f"devices is {given.devices} in --execution, and there are {world} processes (WORLD_SIZE)",
            expected="the same number",
            remedy="start as many processes as devices says: torchrun --nproc-per-node",
        )
    return given


@contextlib.contextmanager
def _kept_by_itself(experiment: Experiment, workspace: Workspace, rank: int, *, watched: bool) -> Iterator[None]:
    """Where no parent watches, the first rank holds the experiment and keeps its status."""
    if watched or rank:
        yield
        return
    from glaucoma.training.attempts import attempt

    with contextlib.ExitStack() as held:
        try:
            held.enter_context(experiment.lock(workspace, wait=False))
        except BlockingIOError as error:
            raise TransientError(
                f"Another process trains {experiment.experiment_id}",
                consequence="Nothing was trained",
                remedy="wait until it has ended, and start it again",
            ) from error
        held.enter_context(attempt(experiment))
        yield


def _run(
    experiment: Experiment,
    workspace: Workspace,
    execution: ExecutionSettings,
    progress: ProgressWriter,
    stop: StopRequests,
) -> None:
    from glaucoma.training.compiler import spare_compiler

    if not execution.compile:
        spare_compiler()
    from glaucoma.training.loop import StoppedError, run_training  # imports torch: seconds

    try:
        run_training(experiment, workspace, execution, progress, stop)
    except StoppedError as error:
        raise _AskedError("The training was asked to stop by a signal", consequence="Its state is saved") from error


def _trace() -> None:
    with contextlib.suppress(OSError):  # the log's disk may be the one that is full
        traceback.print_exc()


def _tell(error: ArcError, path: Path) -> int:
    """Writes the error down for the parent, as the nearest class that it can find, and gives the exit code."""
    known = next(kind for kind in type(error).__mro__ if getattr(errors, kind.__name__, None) is kind)
    write_json(path, {"class": known.__name__, "message": str(error)})
    return exit_of(error)


if __name__ == "__main__":
    sys.exit(main())
