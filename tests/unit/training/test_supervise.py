"""Real child processes: killed, stalled, cancelled, orphaned."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch

import glaucoma
from glaucoma.errors import (
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
from glaucoma.training.experiment import Status, create_experiment, list_experiments, remove_held
from glaucoma.training.outcome import End, raise_for
from glaucoma.training.progress_log import ProgressWriter, read_progress
from glaucoma.training.settings import Device
from glaucoma.training.stopping import StopRequests
from glaucoma.training.supervise import is_complete, train
from glaucoma.training.watch import Watch
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


class Clock:
    """The watch's steady clock, which a test may put forward."""

    def __init__(self):
        self.ahead_s = 0.0

    def monotonic(self):
        return time.monotonic() + self.ahead_s


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr("glaucoma.training.watch.time", clock)
    return clock


def test_a_stopped_child_is_a_stall_and_is_ended(spec, workspace, execution, stand_in, clock):
    stand_in("wait_for_stop(should_stop)")
    stop = kill_at("begin", signal.SIGSTOP)

    def report(progress):
        stop(progress)
        clock.ahead_s += 1000

    with pytest.raises(TransientError, match="made no progress for 240 s"):
        train(spec, workspace, execution, report=report)
    assert gone(stop.sent[0])
    assert create_experiment(spec, workspace).status is Status.INTERRUPTED


def test_lines_that_repeat_the_same_step_are_no_progress(spec, workspace, execution, stand_in, clock):
    stand_in("while not should_stop(0.05): progress.write(epoch=1, epochs=2, step=1, steps=9)\nraise StoppedError")
    same = []

    def report(progress):
        same.extend([progress] if progress.step else [])
        clock.ahead_s += 100 if len(same) > 1 else 0

    with pytest.raises(TransientError, match="made no progress for 240 s"):
        train(spec, workspace, execution, report=report)


@pytest.mark.parametrize(
    ("lines", "stalls"),
    [
        ([{"step": 1}, {"step": 2}], False),
        ([{"step": 1}, {"step": 1}], True),
        ([{"event": "waiting"}, {"event": "waiting"}], False),
        ([{"phase": "waiting"}, {"phase": "waiting"}], False),
        ([{"phase": "validation", "phase_done": 1}, {"phase": "validation", "phase_done": 2}], False),
        ([{"phase": "validation", "phase_done": 1}, {"phase": "validation", "phase_done": 1}], True),
        ([{"phase": "loading"}, {"phase": "compiling"}], False),
        ([{"step": 9}, {"step": 9, "val": {"loss": 1.0}}], False),
    ],
)
def test_a_phase_is_progress_while_its_own_counter_moves_and_waiting_always_is(
    spec, workspace, execution, clock, lines, stalls
):
    experiment = create_experiment(spec, workspace)
    watch = Watch(experiment, execution, lambda _: None)
    writer = ProgressWriter(experiment.progress_path)
    for line in lines:
        clock.ahead_s += 200
        writer.write(**line)
        watch.pass_on()
    writer.close()
    clock.ahead_s += 200
    assert bool(watch.limit_passed()) is stalls


def test_a_line_that_cannot_be_read_is_told_once_and_is_not_taken_for_a_stall(spec, workspace, execution, clock):
    experiment = create_experiment(spec, workspace)
    told = []
    watch = Watch(experiment, execution, told.append)
    for _ in range(3):
        clock.ahead_s += 200
        with experiment.progress_path.open("ab") as handle:
            handle.write(b"\x00\xff\n")
        watch.pass_on()
    assert not watch.limit_passed()
    assert [progress.event for progress in told] == ["unreadable"]
    assert "is left out. The training goes on" in watch.complaint


def test_the_time_in_a_line_means_nothing_to_the_watch(spec, workspace, execution):
    experiment = create_experiment(spec, workspace)
    told = []
    watch = Watch(experiment, execution, told.append)
    with experiment.progress_path.open("a") as handle:
        for step, year in ((1, 2090), (2, 1970), (3, 2026)):
            handle.write(f'{{"time": "{year}-01-01T00:00:00Z", "step": {step}}}\n')
    watch.pass_on()
    assert [progress.step for progress in told] == [1, 2, 3]
    assert not watch.limit_passed()


def test_a_progress_file_that_is_damaged_while_it_trains_never_ends_the_training(spec, workspace, execution, stand_in):
    stand_in(
        """
        path = experiment.progress_path
        for step, damage in enumerate((
            lambda: path.open("ab").write(b"\\x00\\xff\\n{\\"time\\": 3"),
            lambda: os.truncate(path, 5),
            lambda: path.open("ab").write(b"x" * 3_000_000),
            path.unlink,
            lambda: path.rename(path.with_name("moved")),
        ), 1):
            damage()
            progress.write(event="damaged", message="after the damage", step=step)
        finish(experiment)
        """
    )
    told = []
    experiment = train(spec, workspace, execution, report=told.append)
    assert is_complete(experiment)
    assert read_progress(experiment.progress_path)[-1].step == 5
    assert told[-1].step == 5


def test_too_long_a_run_is_stopped(spec, workspace, execution, stand_in):
    stand_in("wait_for_stop(should_stop)")
    with pytest.raises(TransientError, match=r"took longer than 0\.5 s"):
        train(spec, workspace, execution.model_copy(update={"timeout_s": 0.5}))


def test_a_child_asked_to_stop_saves_first(make_spec, workspace, execution):
    spec = make_spec(epochs=9999)
    with pytest.raises(TransientError, match=r"asked to stop by a signal.*state is saved"):
        train(spec, workspace, execution, report=kill_at(40, signal.SIGTERM))
    saved = Checkpoints(create_experiment(spec, workspace).checkpoints).load_last(pytest.fail)
    assert saved["state"]["epoch"] >= 1


def cancel_at_once(pids):
    def report(progress):
        if progress.pid:
            pids.append(progress.pid)
            raise KeyboardInterrupt

    return report


FAMILY = """
    child = subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(600)"], start_new_session=True)
    progress.write(event="family", message="another", pid=child.pid)
    wait_for_stop(should_stop)
"""


def test_a_cancel_of_the_parent_ends_the_child_with_its_own_children_and_is_recorded(
    spec, workspace, execution, stand_in
):
    stand_in(FAMILY)
    pids = []

    def report(progress):
        pids.extend(filter(None, [progress.pid]))
        if len(pids) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(spec, workspace, execution, report=report)
    assert len(pids) == 2
    assert all(gone(pid) for pid in pids)
    assert create_experiment(spec, workspace).status is Status.CANCELLED


def test_a_cancel_of_the_whole_group_lets_the_child_save(spec, workspace, execution, stand_in):
    stand_in(
        """
        while not should_stop(60.0):
            pass
        asked = time.monotonic()
        while time.monotonic() < asked + 0.5:  # the step's end; both requests arrive before
            pass
        (experiment.checkpoints / "saved").touch()
        raise StoppedError
        """
    )

    def report(progress):
        if progress.pid:
            os.kill(progress.pid, signal.SIGTERM)  # as the group's own signal does
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(spec, workspace, execution, report=report)
    assert (create_experiment(spec, workspace).checkpoints / "saved").exists()


def test_a_second_signal_ends_the_child_at_once_and_says_that_nothing_was_saved(spec, workspace, execution, stand_in):
    stand_in("progress.write(event='ready')\nwait_for_stop(lambda timeout_s: should_stop(timeout_s) and False)")

    def report(progress):
        report.pid = progress.pid or report.pid
        if progress.event == "ready":
            for _ in range(2):
                os.kill(report.pid, signal.SIGTERM)
                while signal.SIGTERM in pending(report.pid):
                    pass

    report.pid = 0
    with pytest.raises(TransientError, match=r"asked to stop by a signal from outside\. It stopped at once"):
        train(spec, workspace, execution, report=report)


def pending(pid):
    """Signals that the process has not taken yet."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return set()
    masks = [int(line.split()[1], 16) for line in lines if line.startswith(("SigPnd", "ShdPnd"))]
    return {n for n in range(1, 65) if any(mask & 1 << (n - 1) for mask in masks)}


@pytest.mark.parametrize("rollback", [True, False])
def test_a_cancel_with_rollback_leaves_nothing_of_the_experiment(spec, workspace, execution, stand_in, rollback):
    stand_in("wait_for_stop(should_stop)")
    pids = []
    with pytest.raises(KeyboardInterrupt):
        train(spec, workspace, execution.model_copy(update={"rollback": rollback}), report=cancel_at_once(pids))
    assert gone(pids[0])
    assert bool(list(workspace.experiments.glob("[!.]*"))) is not rollback
    assert not list(workspace.experiments.glob(".removed/*"))


def test_an_error_of_its_own_is_never_rolled_back(spec, workspace, execution, stand_in):
    stand_in("sys.exit(9)")
    with pytest.raises(TransientError, match="ended with exit code 9"):
        train(spec, workspace, execution.model_copy(update={"rollback": True}))
    assert create_experiment(spec, workspace).status is Status.INTERRUPTED


def test_what_was_completed_before_is_never_rolled_back(spec, workspace, execution, stand_in):
    stand_in("finish(experiment)")
    experiment = train(spec, workspace, execution)
    (experiment.checkpoints / "best.pt").write_bytes(b"damaged")
    stand_in("wait_for_stop(should_stop)")
    with pytest.raises(KeyboardInterrupt):
        train(spec, workspace, execution.model_copy(update={"rollback": True}), report=cancel_at_once([]))
    assert experiment.status is Status.CANCELLED


PROGRAM = """
import sys
from glaucoma.training.spec import ExecutionSettings, ExperimentSpec
from glaucoma.training.supervise import train
from glaucoma.workspace import Workspace
spec = ExperimentSpec.model_validate_json(sys.argv[2])
train(spec, Workspace.at(sys.argv[1]), ExecutionSettings.model_validate_json(sys.argv[3]))
"""


def start_parent(spec, workspace, execution):
    """Another process that trains the experiment."""
    paths = [str(Path(glaucoma.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(workspace.root), spec.model_dump_json(), execution.model_dump_json()],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
    )


def test_the_child_dies_when_its_parent_is_killed_and_the_next_call_ends_what_is_left(
    spec, workspace, execution, stand_in
):
    stand_in(FAMILY)
    experiment = create_experiment(spec, workspace)
    with start_parent(spec, workspace, execution) as parent:
        pids, deadline = [], time.monotonic() + WAIT_S
        while len(pids) < 2 and time.monotonic() < deadline and parent.poll() is None:
            pids = [line.pid for line in read_progress(experiment.progress_path) if line.pid]
        parent.kill()
    child_pid, grandchild_pid = pids
    assert gone(child_pid)
    with experiment.lock(workspace):
        assert experiment.status is Status.RUNNING, "nobody was left to say otherwise; the next call takes it up again"
    assert psutil.pid_exists(grandchild_pid), "a session of its own, and nobody left to end it"

    stand_in("finish(experiment)")
    assert is_complete(train(spec, workspace, execution))
    assert gone(grandchild_pid)
    assert any(f"left behind: {grandchild_pid}" in note.text for note in experiment.metadata.notes)


def test_what_the_child_forks_dies_with_it_and_does_not_hold_the_experiment(spec, workspace, execution, stand_in):
    stand_in(
        """
        if (pid := os.fork()) == 0:
            time.sleep(600)
        progress.write(event="fork", pid=pid)
        os.kill(os.getpid(), signal.SIGKILL)
        """
    )
    experiment = create_experiment(spec, workspace)
    with start_parent(spec, workspace, execution) as parent:
        assert parent.wait(WAIT_S) == 1
    forked = [line.pid for line in read_progress(experiment.progress_path) if line.pid][-1]
    assert gone(forked)
    with experiment.lock(workspace, wait=False):
        assert experiment.status is Status.INTERRUPTED


def test_two_calls_at_once_share_the_work(spec, workspace, execution, stand_in):
    stand_in("finish(experiment)")
    parents = [start_parent(spec, workspace, execution) for _ in range(2)]
    assert [parent.wait(WAIT_S) for parent in parents] == [0, 0]
    assert create_experiment(spec, workspace).metadata.attempts == 1


def test_a_call_that_waited_for_one_that_was_rolled_back_begins_anew(spec, workspace, execution, stand_in):
    stand_in("finish(experiment)")
    experiment = create_experiment(spec, workspace)
    with experiment.lock(workspace) as lock:
        parent = start_parent(spec, workspace, execution)
        inode = f":{os.fstat(lock.fileno()).st_ino} "
        while not any("->" in line and inode in line for line in Path("/proc/locks").read_text().splitlines()):
            assert parent.poll() is None
        remove_held(experiment)
    assert parent.wait(WAIT_S) == 0
    assert is_complete(experiment)


def test_a_child_that_ends_well_and_leaves_no_model_has_failed(spec, workspace, execution, stand_in):
    stand_in("pass")
    with pytest.raises(TransientError, match="without an error and without a model"):
        train(spec, workspace, execution)


def test_a_child_that_the_kernel_killed_for_want_of_memory_is_told_as_that(
    spec, workspace, execution, stand_in, monkeypatch
):
    kills = iter([{"memory.events": 3}, {"memory.events": 4}])
    monkeypatch.setattr("glaucoma.training.supervise.oom_kills", lambda: next(kills))
    stand_in("os.kill(os.getpid(), signal.SIGKILL)")
    with pytest.raises(TransientError, match="most likely by the kernel because the memory of this machine"):
        train(spec, workspace, execution)


def test_an_unknown_model_is_told_as_such_by_the_parent(spec, workspace, execution, stand_in):
    stand_in("from glaucoma.errors import UnknownModelError\nraise UnknownModelError('No network is called b3')")
    with pytest.raises(UnknownModelError, match="No network is called b3") as caught:
        train(spec, workspace, execution)
    assert not is_retryable(caught.value)
    (experiment,) = list_experiments(workspace)
    assert experiment.status is Status.FAILED


def refused_in_process(spec, workspace, execution, stop=None):
    """What the parent would raise for what the real loop meets, without the child's start."""
    experiment = create_experiment(spec, workspace)
    given = execution.model_dump_json()
    code = child.train(workspace.root, experiment.experiment_id, given, stop or StopRequests(), watched=True)
    raise_for([End(0, code)], experiment)


def test_a_gpu_that_is_not_there_is_told_at_once(spec, workspace, execution):
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(SettingsError, match="No GPU is visible"):
        refused_in_process(spec, workspace, execution.model_copy(update={"device": Device.CUDA}))


@pytest.mark.parametrize(
    ("asked", "told"), [(False, r"\(pid 123\) is killed.*its last checkpoint is kept"), (True, "asked to stop")]
)
def test_a_killed_process_that_reads_ahead_can_pass(asked, told, spec, workspace, execution, monkeypatch):
    def run(*_):
        raise RuntimeError("DataLoader worker (pid 123) is killed by signal: Killed. ")

    monkeypatch.setattr(child, "_run", run)
    stop = StopRequests()
    stop.asked = asked
    with pytest.raises(TransientError, match=told):
        refused_in_process(spec, workspace, execution, stop)


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
        refused_in_process(spec, workspace, execution)
    assert not is_retryable(caught.value)


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
    with pytest.raises(kind) as raised:
        refused_in_process(spec, workspace, execution)
    assert type(raised.value) is kind
