"""Real child processes: killed, stalled, cancelled, orphaned."""

import os
import signal
import subprocess
import sys
import textwrap
import time

import numpy as np
import psutil
import pytest
import torch

from glaucoma.errors import (
    DiskSpaceError,
    GpuMemoryError,
    InputError,
    IntegrityError,
    NotFoundError,
    SettingsError,
    TransientError,
    UnknownModelError,
    is_retryable,
)
from glaucoma.planning.settings import RuleBrokenError
from glaucoma.training import child
from glaucoma.training.checkpoints import Checkpoints
from glaucoma.training.experiment import Status, create_experiment, list_experiments
from glaucoma.training.outcome import End, raise_for
from glaucoma.training.progress_log import ProgressWriter, read_progress
from glaucoma.training.settings import Device
from glaucoma.training.stopping import StopRequests
from glaucoma.training.supervise import is_complete, train
from glaucoma.workspace import Workspace

WAIT_S = 60


def kill_at(event_or_step, number):
    """A report that sends signal `number` to the child, once, at an event's line or from a step on."""
    pids, sent = [], []

    def report(progress):
        if progress.pid:
            pids.append(progress.pid)
        reached = (
            progress.event == event_or_step
            if isinstance(event_or_step, str)
            else progress.event is None and progress.step >= event_or_step
        )
        if reached and not sent:
            sent.append(pids[-1])
            os.kill(pids[-1], number)

    report.sent = sent
    return report


def gone(pid):
    """Waits until the process has ended; a zombie has."""
    try:
        process = psutil.Process(pid)
        while process.status() != psutil.STATUS_ZOMBIE:
            try:
                process.wait(0.1)
            except psutil.TimeoutExpired:
                continue
            break
    except psutil.NoSuchProcess:
        return True
    return True


def in_process(spec, workspace, execution):
    """The undisturbed run, without a child."""
    from glaucoma.training.loop import run_training

    experiment = create_experiment(spec, workspace)
    progress = ProgressWriter(experiment.progress_path)
    run_training(experiment, workspace, execution, progress, lambda _: False)
    progress.close()
    return experiment


def test_a_child_killed_in_mid_training_resumes_and_ends_with_the_same_weights_bit_for_bit(
    make_spec, workspace, execution, tmp_path, prepare
):
    spec = make_spec(epochs=30)
    often = execution.model_copy(update={"checkpoint_every_s": 1e-6})
    report = kill_at(3, signal.SIGKILL)
    with pytest.raises(TransientError, match="killed by signal 9") as caught:
        train(spec, workspace, often, report=report)
    assert is_retryable(caught.value)
    experiment = create_experiment(spec, workspace)
    assert experiment.status is Status.INTERRUPTED

    seen = []
    train(spec, workspace, execution, report=seen.append)
    assert "resume" in [progress.event for progress in seen]
    assert 0 < next(progress.step for progress in seen if progress.event == "resume") < seen[-1].steps
    metadata = experiment.metadata
    assert (metadata.status, metadata.attempts) == (Status.COMPLETED, 2)
    assert [change.status for change in metadata.history] == [
        "created",
        "running",
        "interrupted",
        "running",
        "completed",
    ]

    prepare(tmp_path / "other")
    undisturbed = in_process(spec, Workspace.at(tmp_path / "other"), execution)
    one, two = (Checkpoints(e.checkpoints).load_best() for e in (experiment, undisturbed))
    assert one["scores"] == two["scores"]
    assert all(torch.equal(one["model"][key], two["model"][key]) for key in two["model"])
    assert metadata.checkpoint == undisturbed.metadata.checkpoint, "the files are equal too"

    began = time.monotonic()
    assert train(spec, workspace, execution).metadata.attempts == 2
    assert time.monotonic() - began < 1, "a completed experiment is returned at once"

    (experiment.checkpoints / "best.pt").write_bytes(b"damaged")
    assert not is_complete(experiment), "a damaged result is made again"


def test_a_stall_is_ended_by_the_watchdog(spec, workspace, execution):
    report = kill_at("begin", signal.SIGSTOP)
    impatient = execution.model_copy(update={"stall_timeout_s": 1.0, "stop_grace_s": 0.5})
    with pytest.raises(TransientError, match="made no progress for 1 s"):
        train(spec, workspace, impatient, report=report)
    assert gone(report.sent[0])
    assert create_experiment(spec, workspace).status is Status.INTERRUPTED


def test_too_long_a_run_is_stopped(make_spec, workspace, execution):
    hurried = execution.model_copy(update={"timeout_s": 0.5, "stop_grace_s": 0.5})
    with pytest.raises(TransientError, match=r"took longer than 0\.5 s"):
        train(make_spec(epochs=9999), workspace, hurried)


def test_a_child_asked_to_stop_saves_first(make_spec, workspace, execution):
    spec = make_spec(epochs=9999)
    with pytest.raises(TransientError, match=r"asked to stop by a signal.*state is saved"):
        train(spec, workspace, execution, report=kill_at(40, signal.SIGTERM))
    saved = Checkpoints(create_experiment(spec, workspace).checkpoints).load_last(pytest.fail)
    assert saved["state"]["epoch"] >= 1


def test_a_cancel_of_the_parent_ends_the_child_and_is_recorded(spec, workspace, execution):
    pids = []

    def report(progress):
        pids.append(progress.pid)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(spec, workspace, execution, report=report)
    assert gone(pids[0])
    assert create_experiment(spec, workspace).status is Status.CANCELLED


def test_the_child_dies_when_its_parent_is_killed(make_spec, workspace, execution):
    spec = make_spec(epochs=9999)
    program = textwrap.dedent(
        """
        import sys
        from glaucoma.training.spec import ExecutionSettings, ExperimentSpec
        from glaucoma.training.supervise import train
        from glaucoma.workspace import Workspace
        spec = ExperimentSpec.model_validate_json(sys.argv[2])
        train(spec, Workspace.at(sys.argv[1]), ExecutionSettings.model_validate_json(sys.argv[3]))
        """
    )
    arguments = [str(workspace.root), spec.model_dump_json(), execution.model_dump_json()]
    experiment = create_experiment(spec, workspace)
    with subprocess.Popen([sys.executable, "-c", program, *arguments]) as parent:
        pid = None
        deadline = time.monotonic() + WAIT_S
        while pid is None and time.monotonic() < deadline and parent.poll() is None:
            pid = next((line.pid for line in read_progress(experiment.progress_path) if line.pid), None)
        assert pid is not None
        parent.kill()
    assert gone(pid)
    with experiment.lock(workspace):
        assert experiment.status is Status.RUNNING, "nobody was left to say otherwise; the next call takes it up again"


def test_an_unknown_model_is_told_as_such_by_the_parent(make_spec, workspace, execution):
    with pytest.raises(UnknownModelError, match="lcnet_050") as caught:
        train(make_spec(model="lcnet_05O"), workspace, execution)
    assert not is_retryable(caught.value)
    (experiment,) = list_experiments(workspace)
    assert experiment.status is Status.FAILED


def test_a_gpu_that_is_not_there_is_told_at_once(spec, workspace, execution):
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(SettingsError, match="No GPU is visible"):
        train(spec, workspace, execution.model_copy(update={"device": Device.CUDA}))


def test_a_missing_dataset_starts_no_child(spec, workspace, execution):
    with pytest.raises(NotFoundError):
        train(spec.model_copy(update={"prepared_key": "ffff"}), workspace, execution)
    assert not workspace.experiments.exists()


def test_a_child_that_crashes_leaves_its_last_lines_in_the_error(spec, workspace, execution, monkeypatch):
    monkeypatch.setattr("glaucoma.training.ranks.sys.executable", "/bin/false")
    with pytest.raises(TransientError, match="ended with exit code 1"):
        train(spec, workspace, execution)


def test_stored_data_that_are_not_what_was_written_are_told_as_that(spec, workspace, execution):
    np.save(workspace.prepared("tiny") / "0123456789abcdef" / "images.npy", np.zeros((2, 8, 8, 3), np.uint8))
    with pytest.raises(IntegrityError, match="preprocess again") as caught:
        train(spec, workspace, execution)
    assert not is_retryable(caught.value)


def test_a_full_disk_is_told_as_that(spec, workspace, execution):
    experiment = create_experiment(spec, workspace)
    experiment.progress_path.symlink_to("/dev/full")
    with pytest.raises(DiskSpaceError, match=r"filled up while cls-.* was trained.*Remedy: free some space") as caught:
        train(spec, workspace, execution)
    assert not is_retryable(caught.value)
    assert experiment.status is Status.INTERRUPTED


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."), GpuMemoryError),
        (torch.AcceleratorError("CUDA error: an illegal memory access was encountered"), TransientError),
        (RuleBrokenError("of a class that the parent need not know"), InputError),
    ],
)
def test_what_the_child_meets_is_what_the_parent_raises(spec, workspace, execution, monkeypatch, error, kind):
    def run_training(*_):
        raise error

    monkeypatch.setattr("glaucoma.training.loop.run_training", run_training)
    experiment = create_experiment(spec, workspace)
    given = execution.model_dump_json()
    code = child.train(workspace.root, experiment.experiment_id, given, StopRequests(), watched=True)
    with pytest.raises(kind) as raised:
        raise_for([End(0, code)], experiment)
    assert type(raised.value) is kind
