"""The tracking process seen from the training: it may hang, die, or find nothing in its place, and training goes on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time

import psutil
import pytest

from glaucoma.training.experiment import Status
from glaucoma.training.progress_log import TrainingProgress, read_progress
from glaucoma.training.supervise import is_complete, train
from glaucoma.training.tracking import tracker as tracker_module
from glaucoma.training.tracking.account import Account
from glaucoma.training.tracking.settings import TrackingSettings
from glaucoma.training.tracking.tracker import Tracker, heard_by, tracked
from glaucoma.training.tracking.wandb_files import history, pieces, read_end

KEY = "0123456789abcdef" * 3
WANDB = TrackingSettings(kind="wandb", end_timeout_s=120)
LIMIT_S = 120


@pytest.fixture
def told():
    return []


@pytest.fixture
def make(experiment, workspace, told):
    def tracker(settings=WANDB, account=None):
        return Tracker(experiment, workspace, settings, account, told.append)

    return tracker


def a_line(experiment):
    return read_progress(experiment.progress_path)[-1]


def process_of(tracker):
    return psutil.Process(tracker._process.pid)


def all_gone(pids):
    return all(not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE for pid in pids)


def test_no_tracker_starts_no_process(make, experiment, write_progress, told):
    write_progress(experiment)
    tracker = make(TrackingSettings())
    tracker(a_line(experiment))
    assert tracker._process is None
    tracker.end(LIMIT_S)
    assert told == []


def test_each_listener_hears_each_line_in_turn():
    heard = []
    hear = heard_by(lambda p: heard.append(("a", p.step)), lambda p: heard.append(("b", p.step)))
    for step in (1, 2):
        hear(TrainingProgress.model_validate({"time": "2026-01-01T00:00:00Z", "step": step}))
    assert heard == [("a", 1), ("b", 1), ("a", 2), ("b", 2)]


def test_a_process_that_hangs_costs_the_limit_and_is_ended(make, experiment, write_progress, told):
    write_progress(experiment)
    tracker = make()
    tracker(a_line(experiment))
    process = process_of(tracker)
    process.send_signal(signal.SIGSTOP)
    for _ in range(1000):  # whatever is told, the parent never waits for it
        tracker(a_line(experiment))
    tracker.end(0.5)
    assert all_gone([process.pid])
    assert len(told) == 1
    assert "was not ready 0.5 s after" in told[0]


def test_a_process_that_is_killed_is_told_once_and_begun_again(make, experiment, write_progress, told, monkeypatch):
    monkeypatch.setattr(tracker_module, "_AGAIN_AFTER_S", 0.0)
    write_progress(experiment)
    tracker = make()
    pids = []
    for _ in range(2):
        tracker(a_line(experiment))
        process = process_of(tracker)
        pids.append(process.pid)
        process.kill()
        while tracker._process is not None and tracker._process.pid == process.pid:
            tracker(a_line(experiment))
    tracker(a_line(experiment))
    assert len(told) == 1
    assert "code -9" in told[0]
    tracker.end(0.1)
    assert len(set(pids)) == 2


def test_a_process_that_cannot_be_begun_is_told_once(make, experiment, write_progress, told, monkeypatch):
    write_progress(experiment)
    monkeypatch.setattr(tracker_module.sys, "executable", "/nowhere/python")
    tracker = make()
    for _ in range(3):
        tracker(a_line(experiment))
    tracker.end(LIMIT_S)
    assert len(told) == 1
    assert "FileNotFoundError" in told[0]


def test_a_package_that_is_there_and_cannot_be_imported_is_told_once(
    make, experiment, write_progress, told, tmp_path, monkeypatch
):
    (tmp_path / "broken" / "wandb").mkdir(parents=True)
    (tmp_path / "broken" / "wandb" / "__init__.py").write_text("raise ImportError('libfoo.so: cannot open')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "broken"))
    write_progress(experiment)
    tracker = make()
    tracker(a_line(experiment))
    tracker.end(LIMIT_S)
    assert "libfoo.so" in told[0]
    assert told[1:] == [f"Tracking {experiment.experiment_id} in wandb: not all was copied at the training's end"]


@pytest.mark.parametrize("kind", ["wandb", "mlflow"])
def test_a_place_that_cannot_be_written_is_told(make, experiment, write_progress, workspace, told, kind):
    workspace.tracking.write_text("no folder")
    write_progress(experiment)
    tracker = make(TrackingSettings(kind=kind, end_timeout_s=LIMIT_S))
    tracker(a_line(experiment))
    tracker.end(LIMIT_S)
    assert f"{workspace.tracking}" in told[0]
    assert "not all was copied" in told[-1]


def test_a_training_is_complete_though_its_tracker_fails_and_a_complete_one_is_not_tracked_again(
    spec, workspace, execution, told
):
    workspace.tracking.write_text("no folder")
    with tracked(spec, workspace, WANDB, None, told.append) as tracker:
        experiment = train(spec, workspace, execution, report=tracker)
    assert is_complete(experiment)
    assert len(told) == 2
    with tracked(spec, workspace, WANDB, None, told.append) as tracker:
        train(spec, workspace, execution, report=tracker)
    assert len(told) == 2


def test_a_key_stands_in_no_argument_environment_or_file(make, experiment, write_progress, workspace, told):
    write_progress(experiment)
    account = Account(KEY, "http://127.0.0.1:9", "lab")  # nobody listens there
    online = TrackingSettings(kind="wandb", mode="online", account_block="lab")
    tracker = make(online, account)
    tracker(a_line(experiment))
    process = process_of(tracker)
    while not process.children():  # until wandb's own service runs
        assert process.is_running()
    seen = [process, *process.children(recursive=True)]
    shown = [" ".join(one.cmdline()) + json.dumps(one.environ()) for one in seen]
    tracker.end(1.0)
    assert all_gone([one.pid for one in seen])
    files = [path.read_bytes() for path in workspace.root.rglob("*") if path.is_file()]
    assert files
    assert all(KEY not in text for text in [*shown, *told])
    assert all(KEY.encode() not in content for content in files)


def test_a_parent_that_is_killed_leaves_no_process_and_a_run_that_is_lost(experiment, workspace, write_progress):
    write_progress(experiment)
    experiment.set_status(Status.RUNNING)
    script = f"""
        import sys, time
        from pathlib import Path
        from glaucoma.training.experiment import Experiment
        from glaucoma.training.progress_log import read_progress
        from glaucoma.training.tracking.settings import TrackingSettings
        from glaucoma.training.tracking.tracker import Tracker
        from glaucoma.workspace import Workspace

        experiment = Experiment(Path({str(experiment.folder)!r}))
        workspace = Workspace.at({str(workspace.root)!r})
        tracker = Tracker(experiment, workspace, TrackingSettings(kind="wandb"), None, print)
        tracker(read_progress(experiment.progress_path)[-1])
        print(tracker._process.pid, flush=True)
        time.sleep(600)
    """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL
    ) as parent:
        pid = int(parent.stdout.readline())
        os.kill(parent.pid, signal.SIGKILL)
    until = time.monotonic() + LIMIT_S
    while not all_gone([pid]):
        assert time.monotonic() < until
        time.sleep(0.1)
    (piece,) = pieces(workspace, experiment.experiment_id)
    assert [row["_step"] for row in history(piece)] == list(range(1, 13))
    assert read_end(piece)["summary"]["status"] == "lost"
    assert read_end(piece)["exit_code"] == 1
