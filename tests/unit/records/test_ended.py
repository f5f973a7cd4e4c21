"""How a training ended that could not say so; which can go on."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from glaucoma.errors import NotFoundError
from glaucoma.provenance import write_json
from glaucoma.records.ended import TrainingRun, end_run, end_training, experiments_of_run, note_run
from glaucoma.records.ledger import Ledger
from glaucoma.records.resumable import NotResumableError, execution_of, require_resumable, resumable
from glaucoma.records.words import Standing
from glaucoma.schema import Task
from glaucoma.training.claims import claimed, is_trained_now
from glaucoma.training.experiment import (
    CheckpointRecord,
    Experiment,
    Metadata,
    Status,
    create_experiment,
    remove_experiment,
)
from glaucoma.training.settings import ExecutionSettings, TrainSettings
from glaucoma.training.spec import ExperimentSpec, experiment_id, spec_from
from glaucoma.workspace import Workspace

NOW = datetime(2026, 1, 5, tzinfo=UTC)
RUN = "0b5c1a2e-0000-4000-8000-000000000000"


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace.at(tmp_path / "workspace")


@pytest.fixture
def spec() -> ExperimentSpec:
    return make_spec(0)


def make_spec(seed: int) -> ExperimentSpec:
    settings = TrainSettings.for_preset("smoke", classifier="small_cnn", seed=seed)
    return spec_from(settings, Task.CLASSIFICATION, "eyes", "a" * 16)


def standing(spec: ExperimentSpec, workspace: Workspace) -> tuple[Standing, str]:
    entry = Ledger(workspace.ledger_url).experiment(experiment_id(spec))
    return entry.status, entry.reason


def began(
    spec: ExperimentSpec, workspace: Workspace, status: Status = Status.RUNNING, **execution: object
) -> Experiment:
    run = TrainingRun(run_id=RUN, execution=ExecutionSettings.model_validate(execution))
    note_run(spec, workspace, run)
    experiment = create_experiment(spec, workspace)
    experiment.set_status(status, "as the training said")
    return experiment


def complete(experiment: Experiment) -> None:
    """A finished training, evaluated and explained."""
    (experiment.checkpoints / "best.pt").write_bytes(b"weights")
    from glaucoma.provenance import file_sha256

    sha256 = file_sha256(experiment.checkpoints / "best.pt")

    def change(metadata: Metadata) -> None:
        metadata.checkpoint = CheckpointRecord(path="checkpoints/best.pt", sha256=sha256, epoch=1)
        metadata.status = Status.COMPLETED
        metadata.metrics["val"] = {"auc": {"value": 0.9}}

    experiment.update(change)
    (experiment.visualizations / "val").mkdir()


def test_a_run_that_was_lost_leaves_its_training_interrupted_in_metadata_and_ledger(
    workspace: Workspace, spec: ExperimentSpec
) -> None:
    experiment = began(spec, workspace)
    other = create_experiment(make_spec(1), workspace)
    lines = end_run(RUN, workspace, cancelled=False, reason="killed", at=NOW)
    assert lines == [f"{experiment.experiment_id} is interrupted"]
    assert (experiment.status, experiment.metadata.history[-1].reason) == (Status.INTERRUPTED, "killed")
    assert standing(spec, workspace) == (Standing.INTERRUPTED, "killed")
    assert other.status is Status.CREATED
    assert end_run("another", workspace, cancelled=True, reason="x", at=NOW) == []


@pytest.mark.parametrize("status", [Status.CANCELLED, Status.FAILED, Status.COMPLETED])
def test_what_a_lost_run_had_written_itself_stays(workspace: Workspace, spec: ExperimentSpec, status: Status) -> None:
    experiment = began(spec, workspace, status)
    assert end_run(RUN, workspace, cancelled=False, reason="killed", at=NOW) == []
    assert experiment.status is status


def test_a_run_that_was_lost_between_two_attempts_keeps_its_reason_and_the_ledger_learns_it(
    workspace: Workspace, spec: ExperimentSpec
) -> None:
    experiment = began(spec, workspace, Status.INTERRUPTED)
    end_run(RUN, workspace, cancelled=False, reason="killed", at=NOW)
    assert experiment.metadata.history[-1].reason == "as the training said"
    assert standing(spec, workspace) == (Standing.INTERRUPTED, "as the training said")


def test_a_run_that_was_lost_before_its_first_attempt_leaves_its_experiment_interrupted(
    workspace: Workspace, spec: ExperimentSpec
) -> None:
    note_run(spec, workspace, TrainingRun(run_id=RUN, execution=ExecutionSettings()))
    end_run(RUN, workspace, cancelled=False, reason="killed", at=NOW)
    assert standing(spec, workspace) == (Standing.INTERRUPTED, "killed")


def test_a_cancel_that_the_training_knew_by_a_signals_name_alone_is_given_its_reason_once(
    workspace: Workspace, spec: ExperimentSpec
) -> None:
    experiment = began(spec, workspace)
    experiment.set_status(Status.CANCELLED, "TerminationSignal")
    changes = len(experiment.metadata.history)
    for reason in ("Cancelled (TerminationSignal)", "Cancelled in Prefect"):  # by the flow, then by its hook
        end_run(RUN, workspace, cancelled=True, reason=reason, at=NOW)
    assert len(experiment.metadata.history) == changes
    assert experiment.metadata.history[-1].reason == "Cancelled (TerminationSignal)"
    assert standing(spec, workspace) == (Standing.CANCELLED, "Cancelled (TerminationSignal)")


@pytest.mark.parametrize("status", [Status.CREATED, Status.RUNNING, Status.INTERRUPTED, Status.CANCELLED])
def test_a_cancelled_run_leaves_its_training_cancelled_and_resumable(
    workspace: Workspace, spec: ExperimentSpec, status: Status
) -> None:
    experiment = began(spec, workspace, status)
    end_run(RUN, workspace, cancelled=True, reason="by hand", at=NOW)
    assert experiment.status is Status.CANCELLED
    assert standing(spec, workspace)[0] is Standing.CANCELLED
    assert resumable(workspace) == [experiment]


def test_with_rollback_a_cancel_removes_all_that_the_experiment_wrote_and_the_ledger_keeps_it(
    workspace: Workspace, spec: ExperimentSpec
) -> None:
    experiment = began(spec, workspace, rollback=True)
    end_run(RUN, workspace, cancelled=True, reason="by hand", at=NOW)
    assert not experiment.folder.exists()
    assert list(workspace.experiments.rglob("*/*")) == []
    assert standing(spec, workspace) == (Standing.CANCELLED, "by hand. All that it wrote was removed (rollback)")


def test_with_rollback_a_loss_removes_nothing(workspace: Workspace, spec: ExperimentSpec) -> None:
    experiment = began(spec, workspace, rollback=True)
    end_run(RUN, workspace, cancelled=False, reason="killed", at=NOW)
    assert experiment.status is Status.INTERRUPTED


def test_with_rollback_a_cancel_after_the_training_removes_no_finished_model(
    workspace: Workspace, spec: ExperimentSpec
) -> None:
    experiment = began(spec, workspace, rollback=True)
    complete(experiment)
    end_training(spec, workspace, cancelled=True, rollback=True, reason="while it was evaluated", at=NOW)
    assert experiment.status is Status.COMPLETED
    assert standing(spec, workspace) == (Standing.CANCELLED, "while it was evaluated")


def test_a_completed_experiment_that_was_found_again_keeps_its_standing(
    workspace: Workspace, spec: ExperimentSpec
) -> None:
    from glaucoma.records.remember import remember

    experiment = began(spec, workspace)
    complete(experiment)
    remember(experiment, Ledger(workspace.ledger_url), at=NOW)
    end_training(spec, workspace, cancelled=True, rollback=True, reason="by hand", at=NOW)
    assert standing(spec, workspace) == (Standing.COMPLETED, "")


def test_what_science_has_rolled_back_already_is_cancelled_in_the_ledger(
    workspace: Workspace, spec: ExperimentSpec
) -> None:
    remove_experiment(began(spec, workspace), workspace)
    end_training(spec, workspace, cancelled=True, rollback=True, reason="by hand", at=NOW)
    assert standing(spec, workspace)[0] is Standing.CANCELLED
    assert not (workspace.experiments / experiment_id(spec)).exists()


def test_the_end_of_a_training_that_another_process_goes_on_with_is_not_written(
    workspace: Workspace, spec: ExperimentSpec
) -> None:
    experiment = began(spec, workspace, rollback=True)
    with experiment.lock(workspace):
        assert is_trained_now(experiment, workspace)
        (line,) = end_run(RUN, workspace, cancelled=True, reason="by hand", at=NOW)
        note_run(spec, workspace, TrainingRun(run_id="another", execution=ExecutionSettings()))
        assert resumable(workspace) == []
    assert "another process" in line
    assert experiment.status is Status.RUNNING
    assert [e for e, _ in experiments_of_run(RUN, workspace)] == [experiment]
    with claimed(experiment, workspace) as free:
        assert free
    with pytest.raises(NotFoundError):
        Ledger(workspace.ledger_url).experiment(experiment.experiment_id)


def test_a_note_that_cannot_be_read_names_no_run(workspace: Workspace, spec: ExperimentSpec) -> None:
    experiment = began(spec, workspace)
    write_json(experiment.folder / "logs" / "run.json", {"run_id": RUN, "from": "a later version"})
    assert experiments_of_run(RUN, workspace) == []


@pytest.mark.parametrize(
    ("status", "goes_on"),
    [
        (Status.CREATED, True),
        (Status.RUNNING, True),
        (Status.INTERRUPTED, True),
        (Status.CANCELLED, True),
        (Status.FAILED, False),
    ],
)
def test_what_was_cut_off_can_go_on_and_what_failed_by_itself_only_when_asked(
    workspace: Workspace, spec: ExperimentSpec, status: Status, goes_on: bool
) -> None:
    experiment = began(spec, workspace, status)
    assert (resumable(workspace) == [experiment]) is goes_on
    assert resumable(workspace, failed_too=True) == [experiment]
    require_resumable(experiment, workspace, failed_too=True)
    if goes_on:
        require_resumable(experiment, workspace)
    else:
        with pytest.raises(NotResumableError, match=r"failed by itself \(as the training said\).*retry_failed"):
            require_resumable(experiment, workspace)


def test_a_complete_experiment_is_refused_unless_its_explanation_was_cut_off(
    workspace: Workspace, spec: ExperimentSpec
) -> None:
    experiment = began(spec, workspace)
    complete(experiment)
    assert resumable(workspace) == []
    with pytest.raises(NotResumableError, match="is complete: trained, evaluated and explained"):
        require_resumable(experiment, workspace)
    (experiment.visualizations / "val").rmdir()
    require_resumable(experiment, workspace)


def test_one_that_is_being_trained_is_refused(workspace: Workspace, spec: ExperimentSpec) -> None:
    experiment = began(spec, workspace)
    with experiment.lock(workspace), pytest.raises(NotResumableError, match="is being trained by another process"):
        require_resumable(experiment, workspace)


def test_it_goes_on_as_its_last_run_did_but_for_what_is_given(workspace: Workspace, spec: ExperimentSpec) -> None:
    otherwise = ExecutionSettings(threads=7)
    experiment = create_experiment(spec, workspace)
    assert execution_of(experiment, None, otherwise) == otherwise
    began(spec, workspace, threads=3, retries=1)
    assert execution_of(experiment, None, otherwise) == ExecutionSettings(threads=3, retries=1)
    given = ExecutionSettings(timeout_s=60)
    assert execution_of(experiment, given, otherwise) == ExecutionSettings(threads=3, retries=1, timeout_s=60)
