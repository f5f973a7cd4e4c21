"""The process that copies one training's progress: `python -m glaucoma.training.tracking.child`, by `tracker`.

It is told its job on its first line of input: no key stands in its command line or its environment. The second line, or
the end of the input where the training's parent died, says that the training has ended; after the seconds that the line
names it ends itself, whatever it waits for. What it has to tell people goes to its output, a line each; what libraries
say goes to `logs/tracking.log`. Exit codes: 0 all copied, 1 not all.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TextIO

from pydantic import BaseModel, ConfigDict

from glaucoma.training.tracking.settings import TrackerKind, TrackingSettings

DONE, NOT_ALL = 0, 1
_LOOK_EVERY_S = 1.0
_GRACE_AFTER_LOSS_S = 20.0
_NICENESS = 5


class Job(BaseModel):
    """What the process is told."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    workspace: Path
    experiment_id: str
    settings: TrackingSettings
    api_key: str | None = None
    base_url: str = ""
    entity: str | None = None


def main() -> int:
    """Follows the experiment to its end and returns the exit code."""
    tell = _own_output()
    with contextlib.suppress(OSError):
        os.nice(_NICENESS)
    job = Job.model_validate_json(sys.stdin.readline())
    ended = threading.Event()
    threading.Thread(target=_await_the_end, args=(sys.stdin, ended), daemon=True).start()
    return _follow(job, ended, tell)


def _own_output() -> Callable[[str], None]:
    """Keeps standard output for what people are told, and sends what libraries print to the log."""
    handle = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    os.dup2(2, 1)

    def tell(line: str) -> None:
        with contextlib.suppress(OSError):  # the parent is gone
            handle.write(" ".join(line.split()) + "\n")

    return tell


def _await_the_end(told: TextIO, ended: threading.Event) -> None:
    """Waits for the line that ends the job, and for the last moment after it."""
    line = told.readline().strip()
    ended.set()
    time.sleep(float(line) if line else _GRACE_AFTER_LOSS_S)
    end_descendants()
    os._exit(NOT_ALL)


def end_descendants(pid: int | None = None) -> None:
    """Kills all processes that the process `pid`, or this one, has begun; wandb's service is one."""
    import psutil

    with contextlib.suppress(psutil.NoSuchProcess):
        for process in psutil.Process(pid).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()


def _follow(job: Job, ended: threading.Event, tell: Callable[[str], None]) -> int:
    from glaucoma.training.experiment import open_experiment
    from glaucoma.training.tracking.account import Account
    from glaucoma.training.tracking.follow import Follower
    from glaucoma.training.tracking.points import ProgressFile
    from glaucoma.training.tracking.run import Store, TrackedRun
    from glaucoma.training.tracking.wandb_files import run_held
    from glaucoma.workspace import Workspace

    workspace = Workspace.at(job.workspace)
    experiment = open_experiment(job.experiment_id, workspace)
    account = Account(job.api_key, job.base_url, job.entity) if job.api_key else None
    run = TrackedRun(experiment, workspace, job.settings, account)

    def make() -> Store:
        if job.settings.kind is TrackerKind.WANDB:
            from glaucoma.training.tracking.wandb_tracker import WandbStore

            return WandbStore(run)
        from glaucoma.training.tracking.mlflow_tracker import MlflowStore

        return MlflowStore(run)

    follower = Follower(make, ProgressFile(experiment.progress_path), tell)
    while True:
        with run_held(workspace, run.run_id) as held:  # a dead parent's may still be at its end, or it is being sent
            if held:
                while not ended.wait(_LOOK_EVERY_S):
                    follower.look()
                return DONE if follower.finish() else NOT_ALL
        time.sleep(_LOOK_EVERY_S)


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    end_descendants()
    os._exit(code)  # what hangs on to this process, such as wandb's hooks, must not outlive the work
