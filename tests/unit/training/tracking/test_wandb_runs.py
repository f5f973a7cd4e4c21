"""Real trainings in W&B's own files, read back from them, and sent to a server that keeps what it gets."""

from __future__ import annotations

import os
import signal
import socket
from itertools import accumulate

import pytest

from glaucoma.errors import SettingsError, TransientError
from glaucoma.training.progress_log import read_progress
from glaucoma.training.supervise import train
from glaucoma.training.tracking.account import Account
from glaucoma.training.tracking.points import point_of
from glaucoma.training.tracking.settings import TrackingSettings
from glaucoma.training.tracking.tracker import Tracker, heard_by, tracked
from glaucoma.training.tracking.wandb_files import history, pieces, read_end, run_held, wandb_root
from glaucoma.training.tracking.wandb_sync import SyncOutcome, sync_runs

WANDB = TrackingSettings(kind="wandb", end_timeout_s=120)


def merged(experiment):
    """By step, all that the lines of progress say of it."""
    found = {}
    for point in filter(None, map(point_of, read_progress(experiment.progress_path))):
        found.setdefault(point.step, {}).update(point.values)
    return found


def forward(experiment):
    """The steps in the order of the lines, without those that come after a later one: W&B takes no step back."""
    steps = [point.step for point in map(point_of, read_progress(experiment.progress_path)) if point is not None]
    return {step for step, furthest in zip(steps, accumulate(steps, max), strict=True) if step == furthest}


def without_times(row):
    return {name: value for name, value in row.items() if not name.startswith("_")}


def without_speed(row):
    """What a step says the same however often it is done: after a kill some are done again, in another time."""
    return {name: value for name, value in row.items() if not name.startswith(("_", "speed/"))}


@pytest.fixture
def told():
    return []


@pytest.fixture
def track(experiment, workspace, told):
    """Copies the progress that is there, as one attempt does."""

    def attempt(settings=WANDB):
        tracker = Tracker(experiment, workspace, settings, None, told.append)
        tracker(read_progress(experiment.progress_path)[-1])
        tracker.end(120)
        assert told == []

    return attempt


def test_a_training_killed_and_resumed_is_one_run_offline_without_any_network(
    spec, workspace, execution, told, monkeypatch
):
    killed, pids = [], []

    def kill(progress):
        if progress.pid:
            pids.append(progress.pid)
        if progress.val is not None and not killed:
            killed.append(pids[-1])
            os.kill(pids[-1], signal.SIGKILL)

    with socket.create_server(("127.0.0.1", 0)) as proxy:
        proxy.setblocking(False)
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.getsockname()[1]}")
        monkeypatch.setenv("WANDB_MODE", "online")  # of whoever started the worker: it does not count
        monkeypatch.setenv("WANDB_API_KEY", "x" * 40)
        with (
            pytest.raises(TransientError),
            tracked(spec, workspace, WANDB, None, told.append) as tracker,
        ):
            train(spec, workspace, execution, report=heard_by(kill, tracker))
        with tracked(spec, workspace, WANDB, None, told.append) as tracker:
            experiment = train(spec, workspace, execution, report=tracker)
        with pytest.raises(BlockingIOError):  # nobody asked the way out
            proxy.accept()
    assert told == []
    found = pieces(workspace, experiment.experiment_id)
    assert len(found) == 2
    assert all(piece.offline for piece in found)
    rows = [row for piece in found for row in history(piece)]
    steps = [row["_step"] for row in rows]
    assert steps == sorted(set(steps))
    lines = merged(experiment)
    assert [without_speed(lines[row["_step"]]) for row in rows] == [without_speed(row) for row in rows]
    assert set(steps) == forward(experiment)  # the child may have gone on for a moment when it was killed
    first, last = (read_end(piece) for piece in found)
    assert first["summary"]["status"] == "interrupted"
    assert first["artifacts"] == {}
    assert last["exit_code"] == 0
    assert last["run"]["run_id"] == experiment.experiment_id
    assert last["artifacts"] == {f"dataset-{spec.dataset}": "dataset", f"model-{experiment.experiment_id}": "model"}
    metadata = experiment.metadata
    assert last["summary"]["checkpoint_sha256"] == metadata.checkpoint.sha256
    assert last["summary"]["best/epoch"] == metadata.training["best_epoch"]
    assert last["summary"]["best/auc"] == metadata.training["best_scores"]["auc"]
    config = {name: value for name, value in last["config"].items() if name != "_wandb"}
    assert config == spec.model_dump(mode="json")


def test_artifacts_are_kept_as_asked(experiment, workspace, write_progress, spec, told):
    write_progress(experiment)
    from glaucoma.training.experiment import Status

    experiment.set_status(Status.COMPLETED)
    tracker = Tracker(experiment, workspace, TrackingSettings(kind="wandb", log_dataset=False), None, told.append)
    tracker(read_progress(experiment.progress_path)[-1])
    tracker.end(120)
    (piece,) = pieces(workspace)
    assert read_end(piece)["artifacts"] == {}
    assert read_end(piece)["exit_code"] == 0


def test_what_is_sent_is_sent_once_and_the_pieces_are_one_run(experiment, workspace, write_progress, track, fake_wandb):
    write_progress(experiment, 1, 7)
    track()
    write_progress(experiment, 5, 12)
    track()
    account = Account(fake_wandb.accepts, fake_wandb.url)
    name = experiment.experiment_id

    (listed,) = sync_runs(workspace, None, dry_run=True)
    assert (listed.outcome, len(listed.pieces)) == (SyncOutcome.WOULD_BE_SENT, 2)
    with run_held(workspace, name):
        (left,) = sync_runs(workspace, account, dry_run=False)
    assert left.outcome is SyncOutcome.BEING_WRITTEN
    assert fake_wandb.history == {}

    (sent,) = sync_runs(workspace, account, dry_run=False)
    assert (sent.outcome, len(sent.pieces)) == (SyncOutcome.SENT, 2), sent.reason
    lines = merged(experiment)
    rows = fake_wandb.history[name]
    assert [row["_step"] for row in rows] == list(range(1, 13))
    assert [without_times(row) for row in rows] == [lines[row["_step"]] for row in rows]

    asked = fake_wandb.requests
    (again,) = sync_runs(workspace, account, dry_run=False)
    assert again.outcome is SyncOutcome.SENT_BEFORE
    assert sync_runs(workspace, None, dry_run=False)[0].outcome is SyncOutcome.SENT_BEFORE
    assert fake_wandb.requests == asked


def test_what_cannot_be_sent_changes_nothing_and_says_why(experiment, workspace, write_progress, track, fake_wandb):
    write_progress(experiment, 1, 4)
    track()
    before = set(wandb_root(workspace).glob("wandb/offline-run-*/*"))
    with pytest.raises(SettingsError, match="account_block"):
        sync_runs(workspace, None, dry_run=False)
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with pytest.raises(TransientError, match="cannot be reached"):
        sync_runs(workspace, Account("k" * 40, f"http://127.0.0.1:{port}"), dry_run=False)
    key = "w" * 40
    (refused,) = sync_runs(workspace, Account(key, fake_wandb.url), dry_run=False, timeout_s=60)
    assert refused.outcome is SyncOutcome.FAILED
    assert refused.reason
    assert key not in refused.reason
    assert set(wandb_root(workspace).glob("wandb/offline-run-*/*")) == before


def test_nothing_tracked_is_nothing_to_send(workspace):
    assert sync_runs(workspace, None, dry_run=False) == []
