# ruff: noqa: E501  (example data reads best a line each)

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from glaucoma.errors import IntegrityError, NotFoundError
from glaucoma.evaluation.result import Metric
from glaucoma.records.ledger import Ledger, LedgerExperiment
from glaucoma.records.record import CycleRecord, DatasetFacts, ExperimentFacts, read_record, write_record
from glaucoma.records.remember import remember, write_look
from glaucoma.records.words import Standing
from glaucoma.schema import Task
from glaucoma.training.experiment import CheckpointRecord, Metadata, Status, create_experiment
from glaucoma.training.settings import TrainSettings
from glaucoma.training.spec import experiment_id, spec_from
from glaucoma.workspace import Workspace

NOW = datetime(2026, 1, 5, tzinfo=UTC)
AUC = {"value": 0.9, "low": 0.8, "high": 0.95, "n": 40, "n_expected": 40, "method": None, "reason": None}


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace.at(tmp_path / "workspace")


def record(**changes: Any) -> CycleRecord:
    dataset = DatasetFacts(
        name="eyes", dataset_key="d", prepared_key="p", synthetic=False, images=2, with_mask=0,
        counts_by_split={"train": {"normal": 1, "glaucoma": 1}},
    )  # fmt: skip
    experiment = ExperimentFacts(
        experiment_id="cls-m-1", task=Task.CLASSIFICATION, model="m", status=Standing.COMPLETED, seed=0, spec={},
        metrics={"val": {"auc": Metric.model_validate(AUC), "f1": Metric(value=None, n=0, n_expected=40, reason="none called")}},
    )  # fmt: skip
    values: dict[str, Any] = {
        "cycle_id": "c1", "status": "completed", "started_at": NOW, "duration_s": 1.5, "dataset": dataset,
        "experiments": [experiment], "best": {Task.CLASSIFICATION: "cls-m-1"}, "versions": {}, "config": {},
    }  # fmt: skip
    return CycleRecord.model_validate(values | changes)


def test_a_record_comes_back_as_it_was_written(workspace: Workspace) -> None:
    path = write_record(record(), workspace)
    assert path == workspace.cycles / "c1" / "record.json"
    assert read_record("c1", workspace) == record()
    assert "NaN" not in path.read_text()


def test_the_best_is_one_of_its_experiments_and_of_its_task() -> None:
    for wrong in ({Task.CLASSIFICATION: "another"}, {Task.SEGMENTATION: "cls-m-1"}):
        with pytest.raises(ValueError, match="none of this record's"):
            record(best=wrong)


def test_a_record_that_is_missing_or_damaged_says_so(workspace: Workspace) -> None:
    path = write_record(record(), workspace)
    with pytest.raises(NotFoundError, match="one of: c1"):
        read_record("c2", workspace)
    with pytest.raises(NotFoundError, match="no cycle's id"):
        read_record("../../etc", workspace)
    path.write_text('{"cycle_id": "c1"}')
    with pytest.raises(IntegrityError, match="no valid record"):
        read_record("c1", workspace)


def test_what_came_of_an_experiment_is_written_beside_why_it_was_asked(
    workspace: Workspace, ledger: Ledger, experiment: Callable[..., LedgerExperiment]
) -> None:
    spec = spec_from(TrainSettings.for_preset("smoke"), Task.CLASSIFICATION, "eyes", "p" * 16)
    entry = experiment(
        1,
        experiment_id=experiment_id(spec),
        spec=spec.model_dump(mode="json"),
        novelty="explore",
        proposal_reason="why",
    )
    ledger.put(entry)
    made = create_experiment(spec, workspace)

    def finish(metadata: Metadata) -> None:
        metadata.checkpoint = CheckpointRecord(path="checkpoints/best.pt", sha256="ab", epoch=3)
        metadata.duration_s = 12.5

    made.update(finish)
    made.set_metrics("val", {"auc": AUC})
    made.set_status(Status.COMPLETED)
    after = remember(made, ledger, at=NOW)
    assert (after.status, after.primary_score, after.duration_s, after.reason) == (Standing.COMPLETED, 0.9, 12.5, "")
    assert after == ledger.experiment(entry.experiment_id)
    assert after.proposal_reason == "why"
    assert after.val_metrics == {"auc": AUC}


def test_a_look_at_the_test_split_is_in_the_ledger_even_of_an_experiment_run_by_hand(workspace: Workspace) -> None:
    spec = spec_from(TrainSettings.for_preset("smoke"), Task.CLASSIFICATION, "eyes", "p" * 16)
    made = create_experiment(spec, workspace)
    for _ in range(2):
        write_look(made, workspace, "release", at=NOW)
    ledger = Ledger(workspace.ledger_url)
    assert [look.reason for look in ledger.looks(made.experiment_id)] == ["release"]
    assert ledger.experiment(made.experiment_id).proposal_reason == "Run by hand."


@pytest.mark.parametrize("ended", ["failed", "interrupted", "cancelled"])
def test_a_failure_keeps_its_reason_and_has_no_score(
    ended: str, workspace: Workspace, ledger: Ledger, experiment: Callable[..., LedgerExperiment]
) -> None:
    spec = spec_from(TrainSettings.for_preset("smoke"), Task.CLASSIFICATION, "eyes", "p" * 16)
    ledger.put(experiment(1, experiment_id=experiment_id(spec)))
    made = create_experiment(spec, workspace)
    made.set_status(Status(ended), "The loss became infinite")
    after = remember(made, ledger, at=NOW)
    assert (after.status, after.reason, after.primary_score) == (Standing(ended), "The loss became infinite", None)
