"""Training seen from outside: a child process that is watched, ended when it stalls, and resumed by the next call."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from glaucoma import errors
from glaucoma.errors import ArcError, DiskSpaceError, TrainingError, TransientError, is_outside_cause, shown_bytes
from glaucoma.provenance import code_sha256, file_sha256
from glaucoma.training.child import ERROR_FILE, EXIT_COMPLETE, EXIT_DISK_FULL, EXIT_INPUT, EXIT_STOPPED, EXIT_TOLD
from glaucoma.training.data import prepared_folder
from glaucoma.training.experiment import Experiment, Metadata, Status, StatusChange, create_experiment
from glaucoma.training.progress_log import ProgressReader, TrainingProgress
from glaucoma.training.spec import ExecutionSettings, ExperimentSpec
from glaucoma.workspace import Workspace

Report = Callable[[TrainingProgress], None]

_LOOK_EVERY_S = 0.2
_TAIL_LINES = 20
_LOOP = "glaucoma.training.loop"
_CHILD_ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",  # weights come from local files: nothing may wait for a network
    "NO_ALBUMENTATIONS_UPDATE": "1",
    "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
    "PYTHONUNBUFFERED": "1",
}


def unheard(progress: TrainingProgress) -> None:
    """Tells nobody."""


def train(
    spec: ExperimentSpec,
    workspace: Workspace,
    execution: ExecutionSettings | None = None,
    *,
    report: Report = unheard,
) -> Experiment:
    """Trains `spec`'s experiment in a child process, from its last checkpoint; returns at once where it is complete.

    Whatever ends this call ends the child: an error or a cancel here asks it to save and stop; if this process or
    thread dies, the kernel kills it. So call it from the main thread, or from one that lives until it returns. Two
    calls for the same spec share the work.

    Args:
        execution: Device, threads, time limits; the base preset's where not given.
        report: Called with each new line of progress, in this thread.

    Raises:
        InputError: Wrong data, settings, model name or weights, as the child says.
        TrainingError: The loss diverged; `GpuMemoryError`: a step does not fit the GPU's memory.
        IntegrityError: What it reads is not what was written.
        DiskSpaceError: The disk is full.
        TransientError: Stalled, out of time, stopped or lost; the next call resumes.
    """
    chosen = execution or ExecutionSettings.for_preset("base")
    prepared_folder(spec, workspace)
    experiment = create_experiment(spec, workspace)
    with experiment.lock(workspace) as lock:
        if is_complete(experiment):
            return experiment
        started = time.monotonic()
        _begin(experiment)
        try:
            _run_child(experiment, workspace, chosen, lock, report)
        except BaseException as error:
            reason = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
            with contextlib.suppress(OSError):  # on a full disk the error itself must still be told
                _end(experiment, _status_after(error), reason, started)
            raise
        _end(experiment, Status.COMPLETED, "", started)
    return experiment


def is_complete(experiment: Experiment) -> bool:
    """True where the experiment is completed and its best checkpoint is still what was written."""
    return experiment.status is Status.COMPLETED and is_trained(experiment)


def is_trained(experiment: Experiment) -> bool:
    """True where the metadata name a checkpoint, and the file has that hash."""
    checkpoint = experiment.metadata.checkpoint
    if checkpoint is None:
        return False
    path = experiment.folder / checkpoint.path
    return path.is_file() and file_sha256(path) == checkpoint.sha256


def other_code(experiment: Experiment) -> str:
    """What a reader must know of a model that other code than today's trained; empty where it was today's."""
    recorded, today = experiment.metadata.code_sha256, code_sha256(_LOOP)
    if recorded is None or recorded == today:
        return ""
    return (
        f"{experiment.experiment_id} was trained by other code than today's ({recorded[:8]}, now {today[:8]}). "
        "It is the same experiment by its settings, so its model and results stay. To train it anew, remove it first."
    )


def _begin(experiment: Experiment) -> None:
    def change(metadata: Metadata) -> None:
        metadata.attempts += 1
        metadata.status = Status.RUNNING
        metadata.checkpoint = None
        reason = f"attempt {metadata.attempts}"
        metadata.history.append(StatusChange(status=Status.RUNNING, at=datetime.now(UTC), reason=reason))

    (experiment.folder / "logs" / ERROR_FILE).unlink(missing_ok=True)
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


def _run_child(
    experiment: Experiment, workspace: Workspace, execution: ExecutionSettings, lock: IO[str], report: Report
) -> None:
    """Runs the child to its end; returns only where it says that it is complete."""
    reader = ProgressReader(experiment.progress_path)
    with experiment.child_log.open("ab") as log:
        child = _spawn(experiment, workspace, execution, lock, log)
        try:
            verdict = _watch(child, reader, execution, report)
        finally:
            stop_child(child, execution.stop_grace_s)
    for progress in reader.new():
        report(progress)
    if verdict and child.returncode != EXIT_COMPLETE:
        raise TransientError(
            f"The training of {experiment.experiment_id} {verdict}",
            consequence="It was stopped; its last checkpoint is kept",
            remedy="start it again, and it resumes; raise the limit if the work is simply that long",
        )
    _raise_for(child.returncode, experiment)


def _spawn(
    experiment: Experiment, workspace: Workspace, execution: ExecutionSettings, lock: IO[str], log: IO[bytes]
) -> subprocess.Popen[bytes]:
    """Starts the child in this process group, holding the experiment's lock too, so that no second one ever writes."""
    root = str(Path(errors.__file__).parents[1])
    paths = [root, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    environment = {**os.environ, **_CHILD_ENVIRONMENT, "PYTHONPATH": os.pathsep.join(paths)}
    environment["OMP_NUM_THREADS"] = str(execution.threads)
    command = [sys.executable, "-P", "-m", "glaucoma.training.child"]
    command += ["--workspace", str(workspace.root), "--experiment", experiment.experiment_id]
    command += ["--execution", execution.model_dump_json(), "--parent", str(os.getpid())]
    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        env=environment,
        pass_fds=(lock.fileno(),),
    )


def _watch(
    child: subprocess.Popen[bytes], reader: ProgressReader, execution: ExecutionSettings, report: Report
) -> str | None:
    """Passes progress on until the child ends (None) or a limit is passed (what a person is to be told)."""
    began = last = time.monotonic()
    while True:
        ended = _ended_within(child, _LOOK_EVERY_S)
        for progress in reader.new():
            last = time.monotonic()
            report(progress)
        if ended:
            return None
        now = time.monotonic()
        if now - last > execution.stall_timeout_s:
            return f"made no progress for {execution.stall_timeout_s:g} s (stall_timeout_s)"
        if execution.timeout_s is not None and now - began > execution.timeout_s:
            return f"took longer than {execution.timeout_s:g} s (timeout_s)"


def _ended_within(child: subprocess.Popen[bytes], timeout_s: float) -> bool:
    try:
        child.wait(timeout_s)
    except subprocess.TimeoutExpired:
        return False
    return True


def stop_child(child: subprocess.Popen[bytes], grace_s: float) -> None:
    """Asks the child to save and stop, waits `grace_s`, kills it; when this returns, however it returns, it is dead."""
    if child.poll() is not None:
        return
    try:
        child.terminate()
        child.wait(grace_s)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
    finally:  # a second cancel may have broken the wait
        if child.poll() is None:
            child.kill()


def _raise_for(code: int, experiment: Experiment) -> None:
    """Raises what the child's exit code means; a child that says it is complete must have left a model."""
    if code == EXIT_COMPLETE:
        if not is_trained(experiment):
            raise _lost(experiment, "ended without an error and without a model")
        return
    if code in (EXIT_INPUT, EXIT_TOLD):
        told = _told_error(experiment)
        if told is not None:
            raise told
    if code == EXIT_DISK_FULL:
        raise DiskSpaceError(
            f"The disk or the quota at {experiment.folder} filled up while {experiment.experiment_id} was trained "
            f"({shown_bytes(shutil.disk_usage(experiment.folder).free)} free now)",
            consequence="Its last checkpoint is kept",
            remedy="free some space there and start it again: it resumes",
        )
    if code == EXIT_STOPPED:
        raise TransientError(
            f"The training of {experiment.experiment_id} was asked to stop by a signal from outside",
            consequence="Its state is saved",
            remedy="start it again, and it resumes",
        )
    raise _lost(experiment, f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}")


def _told_error(experiment: Experiment) -> ArcError | None:
    """The error that the child wrote down, as the class that it was; None where it wrote none that can be read."""
    try:
        told = json.loads((experiment.folder / "logs" / ERROR_FILE).read_text(encoding="utf-8"))
        kind, message = getattr(errors, told["class"], TrainingError), str(told["message"])
    except (OSError, ValueError, KeyError):
        return None
    error: ArcError = kind(message)
    return error


def _lost(experiment: Experiment, what: str) -> TransientError:
    tail = experiment.child_log.read_text(encoding="utf-8", errors="replace").splitlines()[-_TAIL_LINES:]
    return TransientError(
        f"The training process of {experiment.experiment_id} {what}; its last lines: {' | '.join(tail) or '(none)'}",
        consequence="Its last checkpoint is kept",
        remedy=f"start it again, and it resumes; see {experiment.child_log}",
    )
