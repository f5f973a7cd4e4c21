"""The child process of a training: `python -m glaucoma.training.child`. Started by `glaucoma.training.supervise`.

Exit codes: 0 complete; 2 wrong data or settings, 3 another error that has a name (both told in `logs/error.json`);
4 the disk is full, so that nothing can be told; 75 asked to stop, and saved; anything else: lost, with a trace in
`logs/child.log`.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import errno
import os
import signal
import sys
import threading
import traceback
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from glaucoma import errors
from glaucoma.errors import ArcError, InputError
from glaucoma.provenance import write_json

if TYPE_CHECKING:
    from glaucoma.training.experiment import Experiment
    from glaucoma.training.progress_log import ProgressWriter
    from glaucoma.workspace import Workspace

EXIT_COMPLETE, EXIT_INPUT, EXIT_TOLD, EXIT_DISK_FULL, EXIT_STOPPED = 0, 2, 3, 4, 75
ERROR_FILE = "error.json"
_PR_SET_PDEATHSIG = 1


def main(arguments: list[str] | None = None) -> int:
    """Trains one experiment and returns the exit code."""
    parser = argparse.ArgumentParser(prog="glaucoma.training.child", description=__doc__)
    parser.add_argument("--workspace", type=Path, required=True)
    parser.add_argument("--experiment", required=True)
    parser.add_argument("--execution", required=True, help="ExecutionSettings as JSON")
    parser.add_argument("--parent", type=int, required=True, help="process id of the parent, whose death ends this one")
    given = parser.parse_args(arguments)
    if not die_with_parent(given.parent):
        return EXIT_STOPPED
    asked = threading.Event()

    def ask(number: int, frame: FrameType | None) -> None:
        asked.set()

    signal.signal(signal.SIGTERM, ask)
    signal.signal(signal.SIGINT, ask)
    try:
        return _train(given.workspace, given.experiment, given.execution, asked)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        traceback.print_exc()
        return EXIT_DISK_FULL


def die_with_parent(parent: int) -> bool:
    """Asks the kernel to kill this process when the thread that started it ends; False where it has ended already."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    return os.getppid() == parent


def _train(root: Path, name: str, execution: str, asked: threading.Event) -> int:
    from glaucoma.training.experiment import open_experiment
    from glaucoma.training.progress_log import ProgressWriter
    from glaucoma.workspace import Workspace

    workspace = Workspace.at(root)
    experiment = open_experiment(name, workspace)
    path = experiment.folder / "logs" / ERROR_FILE
    with contextlib.closing(ProgressWriter(experiment.progress_path)) as progress:
        progress.write(event="begin", message="the training process has begun", pid=os.getpid())
        try:
            return _run(experiment, workspace, execution, progress, asked)
        except ArcError as error:
            return _tell(error, path)
        except RuntimeError as error:
            from glaucoma.training.gpu_errors import training_error

            told = training_error(error, experiment.spec.batch_size)
            if told is None:
                raise
            traceback.print_exc()
            return _tell(told, path)


def _run(
    experiment: Experiment, workspace: Workspace, execution: str, progress: ProgressWriter, asked: threading.Event
) -> int:
    from glaucoma.training.loop import StoppedError, run_training  # imports torch: seconds
    from glaucoma.training.settings import ExecutionSettings

    def should_stop(timeout_s: float) -> bool:
        return asked.wait(timeout_s) if timeout_s else asked.is_set()

    if asked.is_set():
        return EXIT_STOPPED
    try:
        run_training(experiment, workspace, ExecutionSettings.model_validate_json(execution), progress, should_stop)
    except StoppedError:
        return EXIT_STOPPED
    return EXIT_COMPLETE


def _tell(error: ArcError, path: Path) -> int:
    """Writes the error down for the parent, as the nearest class that it can find, and gives the exit code."""
    known = next(kind for kind in type(error).__mro__ if getattr(errors, kind.__name__, None) is kind)
    write_json(path, {"class": known.__name__, "message": str(error)})
    return EXIT_INPUT if isinstance(error, InputError) else EXIT_TOLD


if __name__ == "__main__":
    sys.exit(main())
