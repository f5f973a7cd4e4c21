"""What was started in place of lost runs: once for each, counted, kept over a kill."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import pytest

from glaucoma.errors import IntegrityError
from glaucoma.records.ended import TrainingRun, note_run
from glaucoma.records.recoveries import Recoveries, Recovery, lost_experiments
from glaucoma.schema import Task
from glaucoma.training.claims import claimed
from glaucoma.training.experiment import Status, create_experiment
from glaucoma.training.settings import ExecutionSettings, TrainSettings
from glaucoma.training.spec import spec_from
from glaucoma.workspace import Workspace

NOW = datetime(2026, 1, 5, tzinfo=UTC)
RUNS = [UUID(int=n) for n in range(10)]


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace.at(tmp_path / "workspace")


def crash(n: int, *experiments: str, **more: object) -> Recovery:
    return Recovery.model_validate({"crashed_run": RUNS[n], "at": NOW, "experiments": experiments, **more})


def test_a_crash_is_answered_once_also_by_a_later_process(workspace: Workspace) -> None:
    first, known = Recoveries(workspace).begin(crash(1, "cls-a"), most=3)
    assert not known
    cut_off, known = Recoveries(workspace).begin(crash(1, "cls-a", "cls-b"), most=3)
    assert known
    assert cut_off == first
    assert not cut_off.started, "it was cut off before the new runs were known: they are made again, by the same keys"
    Recoveries(workspace).finish(cut_off, (RUNS[5],))
    assert Recoveries(workspace).begin(crash(1), most=3)[0].started == (RUNS[5],)


def test_an_experiment_is_taken_up_so_often_and_no_more(workspace: Workspace) -> None:
    recoveries = Recoveries(workspace)
    for n in (1, 2):
        assert recoveries.begin(crash(n, "cls-a"), most=2)[0].experiments == ("cls-a",)
    third, _ = recoveries.begin(crash(3, "cls-a", "cls-b"), most=2)
    assert third.experiments == ("cls-b",)
    assert third.left == {"cls-a": "was taken up 2 times already"}
    assert recoveries.counts() == {"cls-a": 2, "cls-b": 1}
    wanted, _ = recoveries.begin(crash(4, "cls-a"), most=None)
    assert wanted.experiments == ("cls-a",), "a person wants it"
    assert recoveries.counts() == {"cls-a": 2, "cls-b": 1}


def test_a_new_run_knows_the_crash_that_it_comes_from(workspace: Workspace) -> None:
    recoveries = Recoveries(workspace)
    recovery, _ = recoveries.begin(crash(1, again=True), most=3)
    recoveries.finish(recovery, (RUNS[7],))
    assert recoveries.started_by(RUNS[7]) == recovery.model_copy(update={"started": (RUNS[7],)})
    assert recoveries.started_by(RUNS[8]) is None


def test_where_the_count_cannot_be_read_nothing_is_taken_up(workspace: Workspace) -> None:
    recoveries = Recoveries(workspace)
    recoveries.begin(crash(1, "cls-a"), most=3)
    (workspace.root / "recoveries" / f"{RUNS[1]}.json").write_text("{")
    with pytest.raises(IntegrityError, match="Nothing is taken up"):
        recoveries.begin(crash(2, "cls-a"), most=3)


def test_the_lost_experiments_of_a_run_are_those_that_can_go_on(workspace: Workspace) -> None:
    made = {}
    for seed, status in enumerate((Status.RUNNING, Status.INTERRUPTED, Status.FAILED, Status.RUNNING)):
        settings = TrainSettings.for_preset("smoke", classifier="small_cnn", seed=seed)
        spec = spec_from(settings, Task.CLASSIFICATION, "eyes", "a" * 16)
        note_run(spec, workspace, TrainingRun(run_id=str(RUNS[1]), execution=ExecutionSettings()))
        made[seed] = create_experiment(spec, workspace)
        made[seed].set_status(status, "as the training said")
    with claimed(made[3], workspace) as held:
        assert held
        wanted, left = lost_experiments(RUNS[1], workspace)
    assert set(wanted) == {made[0].experiment_id, made[1].experiment_id}
    assert "failed by itself" in left[made[2].experiment_id]
    assert "is being trained by another process" in left[made[3].experiment_id]
    assert lost_experiments(RUNS[2], workspace) == ([], {})
