"""A training's tracker as its parent sees it: a process of its own, which may fail or hang without harm."""

from __future__ import annotations

import contextlib
import errno
import importlib.util
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from glaucoma import errors
from glaucoma.errors import SettingsError, problems
from glaucoma.training.experiment import Experiment
from glaucoma.training.progress_log import TrainingProgress
from glaucoma.training.spec import ExperimentSpec, experiment_id
from glaucoma.training.tracking import mlflow_tracker, wandb_files
from glaucoma.training.tracking.account import Account
from glaucoma.training.tracking.child import DONE, Job, end_descendants
from glaucoma.training.tracking.settings import TrackerKind, TrackingSettings, WandbMode
from glaucoma.workspace import Workspace

Listener = Callable[[TrainingProgress], None]
Tell = Callable[[str], None]

_CHILD = "glaucoma.training.tracking.child"
_AGAIN_AFTER_S = 60.0
_MARGIN_S = 2.0
_CANCELLED_S = 5.0
"""Less than a cancelled run has before it is killed."""
_REMEDIES = {
    TrackerKind.WANDB: "install wandb again: pip install wandb",
    TrackerKind.MLFLOW: "install the extra mlflow: pip install 'arc-glaucoma[mlflow]'",
}


def require_installed(settings: TrackingSettings) -> None:
    """Refuses, before any work is done, a tracker whose package is not there, with a `SettingsError`."""
    kind = settings.kind
    if kind is not TrackerKind.NONE and importlib.util.find_spec(kind.value) is None:
        raise SettingsError(
            f"The tracker {kind} was chosen, and the package {kind} is not installed",
            consequence="Nothing was begun",
            remedy=f"{_REMEDIES[kind]}; or set execution.tracking.kind to none",
        )


def require_account(settings: TrackingSettings, account: Account | None) -> None:
    """Refuses to go online without an account, with a `SettingsError`."""
    if settings.mode is WandbMode.ONLINE and account is None:
        raise SettingsError(
            "W&B goes online without an account",
            expected="an account with an API key",
            remedy="name a block wandb-account in execution.tracking.account_block",
        )


def heard_by(*listeners: Listener) -> Listener:
    """One listener that passes each line on to all of these, in their order."""

    def hear(progress: TrainingProgress) -> None:
        for listener in listeners:
            listener(progress)

    return hear


@contextlib.contextmanager
def tracked(
    spec: ExperimentSpec, workspace: Workspace, settings: TrackingSettings, account: Account | None, tell: Tell
) -> Iterator[Tracker]:
    """A tracker for one call of `train`, ended with it. Let the training report to it.

    Args:
        tell: Told, in this thread, what people should know of the tracker, such as that it failed.

    Raises:
        SettingsError: The tracker's package is not installed, or it goes online without an account.
    """
    require_installed(settings)
    require_account(settings, account)
    tracker = Tracker(Experiment(workspace.experiments / experiment_id(spec)), workspace, settings, account, tell)
    limit_s = settings.end_timeout_s
    try:
        yield tracker
    except Exception:
        raise
    except BaseException:
        limit_s = min(limit_s, _CANCELLED_S)
        raise
    finally:
        tracker.end(limit_s)


class Tracker:
    """Begins the tracking process at the first line of progress, and ends it. No call raises or waits, but `end`."""

    def __init__(
        self,
        experiment: Experiment,
        workspace: Workspace,
        settings: TrackingSettings,
        account: Account | None,
        tell: Tell,
    ) -> None:
        self._experiment, self._workspace, self._settings = experiment, workspace, settings
        self._account, self._tell = account, tell
        self._process: subprocess.Popen[bytes] | None = None
        self._again_at = 0.0
        self._rest = b""

    def __call__(self, progress: TrainingProgress) -> None:
        """Hears that there is progress. The process reads it from its file."""
        if self._settings.kind is TrackerKind.NONE:
            return
        try:
            if self._process is None:
                if time.monotonic() < self._again_at:
                    return
                self._process = self._begin()
            self._hear()
            self._notice_loss()
        except Exception as error:  # noqa: BLE001  whatever it is, training goes on
            self._lost(f"{type(error).__name__}: {problems(error)}")

    def end(self, limit_s: float) -> None:
        """Lets the process copy the rest, for at most `limit_s`; when this returns, it and what it began are gone."""
        process = self._process
        if process is None:
            return
        try:
            with contextlib.suppress(OSError):  # it is gone already
                self._input(f"{limit_s}\n".encode())
            code = process.wait(limit_s + _MARGIN_S)
            self._hear()
            if code != DONE:
                self._say("not all was copied at the training's end")
        except subprocess.TimeoutExpired:
            self._say(f"was not ready {limit_s:g} s after the training's end, and was ended")
        except Exception as error:  # noqa: BLE001  the training's own outcome stands
            self._say(f"{type(error).__name__}: {problems(error)}")
        finally:
            self._remove()

    def _begin(self) -> subprocess.Popen[bytes]:
        """Starts the process in a session of its own: it ends with its input, not with a signal to this group."""
        root = str(Path(errors.__file__).parents[1])
        paths = [root, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
        if self._settings.kind is TrackerKind.WANDB:
            environment = wandb_files.environment(self._workspace, self._account)
        else:
            environment = mlflow_tracker.environment()
        environment |= {
            "PYTHONPATH": os.pathsep.join(paths),
            "CUDA_VISIBLE_DEVICES": "",  # the GPU is the training's
            "OMP_NUM_THREADS": "1",
        }
        with (self._experiment.folder / "logs" / "tracking.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", _CHILD],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=environment,
                start_new_session=True,
            )
        self._process = process
        os.set_blocking(_stream(process.stdout).fileno(), False)
        self._input(self._job().model_dump_json().encode() + b"\n", last=False)
        return process

    def _job(self) -> Job:
        account = self._account
        own = (
            {"api_key": account.api_key, "base_url": account.base_url, "entity": account.entity}
            if account and self._settings.mode is WandbMode.ONLINE
            else {}
        )
        return Job.model_validate(
            {
                "workspace": self._workspace.root,
                "experiment_id": self._experiment.experiment_id,
                "settings": self._settings,
                **own,
            }
        )

    def _input(self, line: bytes, *, last: bool = True) -> None:
        """Writes a line, which is far shorter than a pipe is long: it never waits."""
        pipe = _stream(self._process.stdin if self._process else None)
        pipe.write(line)
        pipe.flush()
        if last:
            pipe.close()

    def _hear(self) -> None:
        """Passes on what the process has to tell."""
        pipe = _stream(self._process.stdout if self._process else None)
        while piece := pipe.read(4096):
            *lines, self._rest = (self._rest + piece).split(b"\n")
            for line in lines:
                self._say(line.decode(errors="replace"))

    def _notice_loss(self) -> None:
        code = self._process.poll() if self._process else None
        if code is not None:
            self._lost(f"its process ended with code {code}")

    def _lost(self, why: str) -> None:
        self._remove()
        if self._again_at == 0.0:
            self._say(f"{why}; training goes on, and it is begun again later")
        self._again_at = time.monotonic() + _AGAIN_AFTER_S

    def _remove(self) -> None:
        """Ends the process and all that it began, and lets go of it."""
        process, self._process = self._process, None
        if process is None:
            return
        if process.poll() is None:
            end_descendants(process.pid)
            process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()

    def _say(self, what: str) -> None:
        text = f"Tracking {self._experiment.experiment_id} in {self._settings.kind}: {what}"
        self._tell(self._account.redact(text) if self._account else text)


def _stream(pipe: IO[bytes] | None) -> IO[bytes]:
    if pipe is None:
        raise BrokenPipeError(errno.EPIPE, "the tracking process is gone")
    return pipe
