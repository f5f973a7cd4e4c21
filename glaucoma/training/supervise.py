"""Training seen from outside: a child process that is watched, ended when it stalls, and resumed by the next call."""

from __future__ import annotations

import contextlib
from typing import IO

from glaucoma.errors import ArcError, GpuMemoryError, TransientError
from glaucoma.provenance import code_sha256
from glaucoma.training.attempts import attempt
from glaucoma.training.data import prepared_folder
from glaucoma.training.exits import STOPPED, Exit
from glaucoma.training.experiment import Experiment, Status, create_experiment, remove_held
from glaucoma.training.gpu_memory import wait_until_free
from glaucoma.training.host_memory import grown, oom_kills
from glaucoma.training.images_at_once import remembered, take_fewer
from glaucoma.training.outcome import End, is_trained, raise_for
from glaucoma.training.processes import end_processes, kill_left_behind, mark_of
from glaucoma.training.progress_log import TrainingProgress
from glaucoma.training.ranks import Launch, Rank, log_file, started_ranks
from glaucoma.training.settings import Device
from glaucoma.training.spec import ExecutionSettings, ExperimentSpec, experiment_id
from glaucoma.training.storage import storage_errors_told
from glaucoma.training.watch import Report, Watch
from glaucoma.workspace import Workspace

__all__ = ["is_complete", "is_trained", "other_code", "train", "unheard"]

_LOOP = "glaucoma.training.loop"


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

    Whatever ends this call ends the child and all its descendants: an error or a cancel here asks it to save and stop;
    if this process or thread dies, the kernel kills it. So call it from the main thread, or from one that lives until
    it returns. Two calls for the same spec share the work. A step that does not fit the memory is started again with
    half the images at once.

    Args:
        execution: Device, threads, time limits; the base preset's where not given. With `rollback`, a cancel (not an
            error) removes all that the experiment wrote, unless it was completed before.
        report: Called with each new line of progress, in this thread.

    Raises:
        InputError: Wrong data, settings, model name or weights, as the child says; a folder that cannot be written.
        TrainingError: The loss diverged; `GpuMemoryError`: not even two images at once fit the memory.
        IntegrityError: What it reads is not what was written.
        DiskSpaceError: The disk is full.
        TransientError: Stalled, out of time, stopped or lost; the next call resumes.
    """
    chosen = execution or ExecutionSettings.for_preset("base")
    prepared_folder(spec, workspace)
    with storage_errors_told(workspace.experiments / experiment_id(spec), workspace.root):
        experiment = create_experiment(spec, workspace)
        with experiment.lock(workspace) as lock:
            create_experiment(spec, workspace)  # again, where the call that was waited for removed it
            if not is_complete(experiment):
                _train_held(experiment, workspace, chosen, lock, report)
    return experiment


def is_complete(experiment: Experiment) -> bool:
    """True where the experiment is completed and its best checkpoint is still what was written."""
    return experiment.status is Status.COMPLETED and is_trained(experiment)


def other_code(experiment: Experiment) -> str:
    """What a reader must know of a model that other code than today's trained; empty where it was today's."""
    recorded, today = experiment.metadata.code_sha256, code_sha256(_LOOP)
    if recorded is None or recorded == today:
        return ""
    return (
        f"{experiment.experiment_id} was trained by other code than today's ({recorded[:8]}, now {today[:8]}). "
        "It is the same experiment by its settings, so its model and results stay. To train it anew, remove it first."
    )


def _train_held(
    experiment: Experiment, workspace: Workspace, execution: ExecutionSettings, lock: IO[str], report: Report
) -> None:
    """One attempt, by who holds the experiment's lock."""
    completed_before = experiment.status is Status.COMPLETED
    try:
        with attempt(experiment):
            _run(experiment, workspace, execution, lock, report)
    except Exception:
        raise
    except BaseException:  # a cancel, whatever the caller's world calls it
        if execution.rollback and not completed_before:
            remove_held(experiment)
        raise


def _run(
    experiment: Experiment, workspace: Workspace, execution: ExecutionSettings, lock: IO[str], report: Report
) -> None:
    """Runs the processes to their end, with fewer images at once each time that the memory does not hold them."""
    mark = mark_of(experiment.folder)
    if left := kill_left_behind(mark):
        experiment.note(f"killed processes that an earlier attempt left behind: {', '.join(map(str, left))}")
    watch = Watch(experiment, execution, report)
    while True:
        fitting = remembered(execution, experiment)
        try:
            _run_once(experiment, fitting, Launch(workspace, fitting, lock.fileno(), mark), watch)
        except GpuMemoryError as error:
            take_fewer(experiment, fitting, error)
            watch.pass_on()
        else:
            return


def _run_once(experiment: Experiment, execution: ExecutionSettings, launch: Launch, watch: Watch) -> None:
    """Starts the processes and watches them; returns only where they say that they are complete."""
    killed_before, ask_s, ends = oom_kills(), execution.stop_grace_s, list[End]()
    started: list[Rank] = []
    try:
        with started_ranks(experiment, launch, started):
            limit, ends = watch.until_end(started)
        if any(end.code not in (Exit.COMPLETE, *STOPPED) for end in ends):
            ask_s = 0.0  # the others wait for the one that failed, and would not hear
    finally:
        warnings = _end(experiment, execution, started, launch.mark, ask_s)
        _note(experiment, [*warnings, *filter(None, [watch.complaint])])
    for warning in warnings:
        watch.tell("warning", warning)
    watch.pass_on()
    if limit:
        ends = [End(rank.number, rank.process.returncode) for rank in started]
        if any(end.code != Exit.COMPLETE for end in ends):
            raise TransientError(
                f"The training of {experiment.experiment_id} {limit}",
                consequence="It was stopped; its last checkpoint is kept",
                remedy="start it again, and it resumes; raise the limit if the work is simply that long",
            )
    raise_for(ends, experiment, oom_kills=grown(killed_before, oom_kills()))


def _end(
    experiment: Experiment, execution: ExecutionSettings, started: list[Rank], mark: str, ask_s: float
) -> list[str]:
    """Ends what still lives of the training and sees to it that the GPU is free; what a person should know of it."""
    ended = end_processes([rank.process for rank in started], mark, ask_s)
    warnings = []
    if ended.alive:
        warnings.append(
            f"Processes {', '.join(map(str, ended.alive))} of the training were killed and have not ended: they hang "
            "in the kernel, in a driver or a disk. Restart the machine if they stay"
        )
    if execution.device is not Device.CPU and started:
        release = wait_until_free(ended.pids)
        with contextlib.suppress(OSError), log_file(experiment).open("a", encoding="utf-8") as log:
            log.write(f"{release.message}\n")
        if not release.free:
            warnings.append(release.message)
    return warnings


def _note(experiment: Experiment, texts: list[str]) -> None:
    """Keeps them with the experiment if its folder takes them; what ended the training must be told in any case."""
    with contextlib.suppress(OSError, ArcError):
        for text in texts:
            experiment.note(text)
