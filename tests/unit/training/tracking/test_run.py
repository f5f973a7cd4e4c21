"""What a run says of its experiment is what the experiment's folder says."""

from __future__ import annotations

import pytest

from glaucoma.training.experiment import Status, remove_experiment
from glaucoma.training.tracking.run import TrackedRun
from glaucoma.training.tracking.settings import TrackingSettings


@pytest.fixture
def run(experiment, workspace):
    return TrackedRun(experiment, workspace, TrackingSettings(kind="wandb"))


@pytest.mark.parametrize(
    ("status", "shown"),
    [
        (Status.FAILED, "failed"),
        (Status.CANCELLED, "cancelled"),
        (Status.INTERRUPTED, "interrupted"),
        (Status.RUNNING, "lost"),
    ],
)
def test_a_run_without_a_model_says_why_and_keeps_no_artifact(run, experiment, status, shown):
    experiment.set_status(status, "the reason")
    summary = run.summary()
    assert summary["status"] == shown
    assert summary.get("reason") == (None if shown == "lost" else "the reason")
    assert run.checkpoint() is None
    assert run.dataset() is None


def test_a_rolled_back_experiment_is_removed(run, experiment, workspace):
    remove_experiment(experiment, workspace)
    assert run.summary() == {"status": "removed"}
    assert run.checkpoint() is None
    assert run.dataset() is None


def test_a_dataset_is_named_by_key_and_hash_and_its_pictures_are_not_its_files(run, experiment, workspace, spec):
    experiment.set_status(Status.COMPLETED)
    dataset = run.dataset()
    assert (dataset.name, dataset.key) == (spec.dataset, spec.prepared_key)
    assert [path.name for path in dataset.files] == ["manifest.csv"]
    assert dataset.pictures == ()
    (dataset.folder / "images").mkdir()
    assert dataset.pictures == (dataset.folder / "images",)
