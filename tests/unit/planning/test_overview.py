"""What is listed of experiments, what is known of one, and one that is made without being run."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from glaucoma.errors import NotFoundError
from glaucoma.planning.archive import archive_experiment
from glaucoma.planning.overview import ExperimentFilter, describe_experiment, list_overview
from glaucoma.provenance import remove_tree
from glaucoma.records.creation import make_experiment
from glaucoma.records.ended import run_of
from glaucoma.records.ledger import Ledger
from glaucoma.records.resumable import execution_of, resumable
from glaucoma.records.words import Standing
from glaucoma.schema import Task
from glaucoma.training.experiment import Experiment, Status
from glaucoma.training.progress_log import ProgressWriter
from glaucoma.training.settings import ExecutionSettings, TrainSettings
from glaucoma.training.spec import spec_from
from glaucoma.workspace import Workspace

AT = datetime(2026, 1, 5, 8, 30, tzinfo=UTC)
Trained = Callable[..., Experiment]


@pytest.fixture
def ledger(workspace: Workspace) -> Ledger:
    return Ledger(workspace.ledger_url)


def test_experiments_are_listed_newest_first_by_every_filter(
    trained: Trained, workspace: Workspace, ledger: Ledger
) -> None:
    done, cancelled, removed = trained(1, score=0.9), trained(2, Status.CANCELLED), trained(3, Status.FAILED)
    archive_experiment(cancelled.experiment_id, workspace, ledger, at=AT)
    remove_tree(removed.folder)

    def listed(**wanted: object) -> list[str]:
        return [one.experiment_id for one in list_overview(workspace, ledger, ExperimentFilter.model_validate(wanted))]

    assert listed() == [one.experiment_id for one in (removed, cancelled, done)]
    assert listed(limit=1) == [removed.experiment_id]
    assert listed(status="completed") == [done.experiment_id]
    assert listed(place="archived") == [cancelled.experiment_id]
    assert listed(place="gone") == [removed.experiment_id]
    assert listed(task="segmentation") == listed(dataset="others") == []
    (line,) = list_overview(workspace, ledger, ExperimentFilter(status=Standing.COMPLETED))
    assert line.val_metrics == {"auc": 0.9}


def test_one_that_the_ledger_does_not_know_is_listed_and_described(
    trained: Trained, workspace: Workspace, tmp_path_factory: pytest.TempPathFactory
) -> None:
    experiment = trained(1, score=0.9)
    other = Ledger(f"sqlite:///{tmp_path_factory.mktemp('empty') / 'ledger.db'}")
    (line,) = list_overview(workspace, other, ExperimentFilter())
    assert (line.experiment_id, line.status) == (experiment.experiment_id, Standing.COMPLETED)
    assert describe_experiment(experiment.experiment_id, workspace, other).line == line


def test_one_that_trains_is_said_to_and_shows_its_progress(
    trained: Trained, workspace: Workspace, ledger: Ledger
) -> None:
    experiment = trained(1, Status.INTERRUPTED)
    writer = ProgressWriter(experiment.progress_path)
    writer.write(epoch=2, epochs=5, step=20, steps=50)
    writer.close()
    idle = describe_experiment(experiment.experiment_id, workspace, ledger)
    assert (idle.line.status, idle.progress) == (Standing.INTERRUPTED, None)
    with experiment.lock(workspace):
        busy = describe_experiment(experiment.experiment_id, workspace, ledger)
    assert busy.line.status is Standing.RUNNING
    assert busy.progress is not None
    assert busy.progress.epoch == 2
    assert busy.places["folder"] == experiment.folder
    assert [one.status for one in busy.history] == [Status.CREATED, Status.INTERRUPTED]


def test_what_is_packed_away_is_described_by_the_ledger(trained: Trained, workspace: Workspace, ledger: Ledger) -> None:
    name = trained(1, Status.CANCELLED).experiment_id
    done = archive_experiment(name, workspace, ledger, at=AT)
    info = describe_experiment(name, workspace, ledger)
    assert (info.line.place, info.places, info.bytes) == ("archived", {"pack": done.pack}, done.pack_bytes)
    with pytest.raises(NotFoundError):
        describe_experiment("../experiments", workspace, ledger)


def test_one_that_is_made_without_being_run_can_be_resumed_as_it_was_asked_for(
    workspace: Workspace, ledger: Ledger
) -> None:
    settings = TrainSettings.for_preset("smoke", classifier="small_cnn")
    spec = spec_from(settings, Task.CLASSIFICATION, "eyes", "a" * 16)
    wanted = ExecutionSettings.for_preset("smoke", threads=1, retries=0)
    experiment, new = make_experiment(spec, workspace, ledger, wanted, at=AT)
    assert new
    assert ledger.experiment(experiment.experiment_id).status is Standing.PROPOSED
    assert [one.experiment_id for one in resumable(workspace)] == [experiment.experiment_id]
    assert execution_of(experiment, None, ExecutionSettings.for_preset("base")) == wanted
    assert describe_experiment(experiment.experiment_id, workspace, ledger).flow_run_id is None

    again, new = make_experiment(spec, workspace, ledger, ExecutionSettings.for_preset("base"), at=AT)
    assert (again, new) == (experiment, False)
    run = run_of(experiment)
    assert run is not None
    assert run.execution == wanted
