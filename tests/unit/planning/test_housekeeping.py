"""What housekeeping plans, what it leaves, and that it does its plan and nothing else."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from glaucoma.errors import IntegrityError
from glaucoma.planning import housekeeping
from glaucoma.planning.cycle import CyclePlan
from glaucoma.planning.housekeeping import plan_removals, remove_planned
from glaucoma.planning.propose import Proposal
from glaucoma.planning.removal import Removal
from glaucoma.planning.retention import RetentionSettings
from glaucoma.provenance import write_json
from glaucoma.records.ledger import Ledger
from glaucoma.records.remember import remember as remember_experiment
from glaucoma.records.words import CycleStatus, Novelty
from glaucoma.schema import Split, Task
from glaucoma.training.checkpoints import LAST, Checkpoints
from glaucoma.training.experiment import Experiment, Status, create_experiment, remove_experiment
from glaucoma.training.settings import TrainSettings
from glaucoma.training.spec import ExperimentSpec, experiment_id, spec_from
from glaucoma.workspace import Workspace

NOW = datetime.now(UTC)
KEY = "a" * 16
Make = Callable[..., Experiment]


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace.at(tmp_path)


@pytest.fixture
def ledger(workspace: Workspace) -> Ledger:
    return Ledger(workspace.ledger_url)


def spec_of(seed: int, dataset: str = "eyes") -> ExperimentSpec:
    settings = TrainSettings.for_preset("smoke", classifier="small_cnn", seed=seed)
    return spec_from(settings, Task.CLASSIFICATION, dataset, KEY if dataset == "eyes" else "b" * 16)


@pytest.fixture
def make(workspace: Workspace, ledger: Ledger) -> Make:
    """An experiment as it was so many days ago; the ledger knows it, with that score."""

    def made(
        seed: int,
        status: Status = Status.COMPLETED,
        *,
        days: float = 30,
        score: float | None = None,
        checkpoint: bool = True,
        dataset: str = "eyes",
        size: int = 1000,
    ) -> Experiment:
        experiment = create_experiment(spec_of(seed, dataset), workspace)
        if checkpoint:
            Checkpoints(experiment.checkpoints).save_last({"state": {}})
        experiment.set_status(status, "it diverged" if status is Status.FAILED else "")
        if score is not None:
            experiment.set_metrics("val", {"auc": {"value": score}})
        (experiment.results / "predictions.csv").write_bytes(bytes(size))
        remember_experiment(experiment, ledger, at=NOW)
        aged(experiment.folder, days)
        return experiment

    return made


def aged(path: Path, days: float) -> None:
    when = (NOW - timedelta(days=days)).timestamp()
    for one in [path, *path.rglob("*")]:
        os.utime(one, (when, when), follow_symlinks=False)


def planned(workspace: Workspace, ledger: Ledger, **settings: Any) -> dict[str, str]:
    plan = plan_removals(workspace, ledger, RetentionSettings.model_validate(settings), now=NOW)
    return {one.path.removeprefix("experiments/"): one.why for one in plan}


def test_by_default_only_what_is_broken_may_go(make: Make, workspace: Workspace, ledger: Ledger) -> None:
    make(1, score=0.9)
    make(2, days=3000, score=0.5)
    make(3, Status.CANCELLED, checkpoint=False)
    broken = make(4, Status.FAILED, checkpoint=False)
    make(5, Status.FAILED)
    assert planned(workspace, ledger) == {broken.experiment_id: "broken: no valid checkpoint, and it diverged"}
    assert planned(workspace, ledger, remove_broken=False) == {}


def test_an_interrupted_one_is_broken_only_where_its_run_gave_up_and_no_checkpoint_is_intact(
    make: Make, workspace: Workspace, ledger: Ledger
) -> None:
    retrying = make(1, Status.INTERRUPTED, checkpoint=False)
    ledger.change(retrying.experiment_id, status="proposed")
    gave_up = make(2, Status.INTERRUPTED, checkpoint=False)
    make(3, Status.INTERRUPTED)
    damaged = make(4, Status.INTERRUPTED)
    (damaged.checkpoints / LAST).write_bytes(b"not what was written")
    aged(damaged.folder, 30)
    assert set(planned(workspace, ledger)) == {gave_up.experiment_id, damaged.experiment_id}


def test_a_folder_that_was_never_made_to_its_end_is_broken(make: Make, workspace: Workspace, ledger: Ledger) -> None:
    experiment = make(1, Status.CREATED)
    experiment.metadata_path.unlink()
    aged(experiment.folder, 30)
    assert planned(workspace, ledger) == {experiment.experiment_id: "broken: it was never made to its end"}


def test_age_number_and_size_each_take_the_longest_unchanged(make: Make, workspace: Workspace, ledger: Ledger) -> None:
    make(0, days=15, score=0.99)
    names = [make(n, days=10 * n, score=0.5).experiment_id for n in range(1, 5)]
    elsewhere = make(9, days=500, score=0.5, dataset="others").experiment_id
    assert set(planned(workspace, ledger, max_age_days=25)) == set(names[2:])
    assert set(planned(workspace, ledger, keep_newest=3)) == set(names[2:]), "the best counts among the newest"
    total = sum(housekeeping.size(path) for path in workspace.experiments.glob("*"))
    limit = (total - 1) / 1e9
    assert set(planned(workspace, ledger, max_total_gb=limit)) == {names[3]}
    assert set(planned(workspace, ledger, max_total_gb=1e-9)) == set(names)
    assert elsewhere not in planned(workspace, ledger, max_total_gb=1e-9), "the best of its own data"


def test_each_that_goes_is_named_once_with_the_first_reason(make: Make, workspace: Workspace, ledger: Ledger) -> None:
    make(0, score=0.99)
    make(1, Status.FAILED, checkpoint=False)
    make(2, score=0.5)
    plan = planned(workspace, ledger, max_age_days=5, keep_newest=1, max_total_gb=1e-9)
    assert sorted(why.split(" ")[0] for why in plan.values()) == ["broken:", "unchanged"]


def keep_best(make: Make, workspace: Workspace, ledger: Ledger) -> Experiment:
    make(2, score=0.5)
    return make(1, score=0.9)


def keep_looked_at(make: Make, workspace: Workspace, ledger: Ledger) -> Experiment:
    experiment = make(1, score=0.5)
    ledger.record_look(experiment.experiment_id, reason="put up for promotion", at=NOW, split=Split.TEST)
    return experiment


def keep_for_a_cycle(make: Make, workspace: Workspace, ledger: Ledger) -> Experiment:
    experiment = make(1, Status.INTERRUPTED)
    proposal = Proposal(spec=spec_of(1), novelty=Novelty.EXPLORE, reason="new")
    plan = CyclePlan(
        cycle_id="eyes-0001-abcdef",
        started_at=NOW,
        dataset="eyes",
        prepared_key=KEY,
        incumbents={},
        proposals=[proposal],
    )
    write_json(workspace.cycles / plan.cycle_id / "plan.json", plan.model_dump(mode="json"))
    ledger.start_cycle(plan.cycle_id, {}, at=NOW)
    return experiment


def keep_what_changed(make: Make, workspace: Workspace, ledger: Ledger) -> Experiment:
    return make(1, Status.FAILED, days=1, checkpoint=False)


def keep_disc_finder(make: Make, workspace: Workspace, ledger: Ledger) -> Experiment:
    experiment = make(1, score=0.5)
    record = {
        "stage": "preprocess",
        "key": KEY,
        "inputs": {},
        "settings": {"steps": [{"kind": "disc_crop", "experiment": experiment.experiment_id}]},
        "code_sha256": "",
        "started_at": NOW,
        "duration_s": 1,
        "versions": {},
    }
    write_json(workspace.prepared("eyes") / KEY / "prepared.json", record)
    return experiment


WANTED = [keep_best, keep_looked_at, keep_for_a_cycle, keep_what_changed, keep_disc_finder]


@pytest.mark.parametrize("wanted", WANTED)
def test_what_is_wanted_stays_whatever_the_settings_say(
    wanted: Callable[..., Experiment], make: Make, workspace: Workspace, ledger: Ledger
) -> None:
    make(10, score=0.8)
    make(11, score=0.7)
    kept = wanted(make, workspace, ledger)
    plan = planned(workspace, ledger, max_age_days=0.5, keep_newest=1, max_total_gb=1e-9)
    assert kept.experiment_id not in plan
    assert plan


def test_where_the_files_of_the_best_are_gone_the_best_of_what_is_there_stays(
    make: Make, workspace: Workspace, ledger: Ledger
) -> None:
    remove_experiment(make(1, score=0.9), workspace)
    second, third = make(2, score=0.8), make(3, score=0.7)
    plan = planned(workspace, ledger, max_age_days=5)
    assert third.experiment_id in plan
    assert second.experiment_id not in plan


def test_a_completed_cycle_needs_its_experiments_no_longer(make: Make, workspace: Workspace, ledger: Ledger) -> None:
    experiment = keep_for_a_cycle(make, workspace, ledger)
    ledger.end_cycle("eyes-0001-abcdef", CycleStatus.COMPLETED, at=NOW)
    assert experiment.experiment_id in planned(workspace, ledger, max_age_days=5)


def test_a_plan_that_cannot_be_read_stops_housekeeping(make: Make, workspace: Workspace, ledger: Ledger) -> None:
    keep_for_a_cycle(make, workspace, ledger)
    (workspace.cycles / "eyes-0001-abcdef" / "plan.json").write_text("{")
    with pytest.raises(IntegrityError, match="no valid plan"):
        planned(workspace, ledger)


def test_one_that_is_being_trained_stays(make: Make, workspace: Workspace, ledger: Ledger) -> None:
    experiment = make(1, Status.RUNNING)
    with experiment.lock(workspace):
        assert planned(workspace, ledger, max_age_days=5) == {}
    assert set(planned(workspace, ledger, max_age_days=5)) == {experiment.experiment_id}


def test_leftovers_of_killed_writers_and_damaged_checkpoints_go_when_they_are_old(
    make: Make, workspace: Workspace, ledger: Ledger
) -> None:
    experiment = make(1, score=0.9)
    dead, alive = 2**22 + 1, os.getpid()
    old = [f"checkpoints/.last.pt.partial-{dead}", "checkpoints/last.pt.damaged-1", f"results/.0123.partial-{dead}"]
    (experiment.folder / old[2]).mkdir()
    for name in (*old[:2], f"{old[2]}/metrics.json", f"checkpoints/.best.pt.partial-{alive}"):
        (experiment.folder / name).write_bytes(b"half")
    aged(experiment.folder, 30)
    (experiment.checkpoints / "last.pt.damaged-2").write_bytes(b"new")
    plan = plan_removals(workspace, ledger, RetentionSettings(), now=NOW)
    assert {one.path for one in plan} == {f"experiments/{experiment.experiment_id}/{name}" for name in old}
    done = remove_planned(plan, workspace, ledger, now=NOW)
    assert (len(done.removed), done.left) == (3, {})
    left = {path.name for path in experiment.folder.rglob("*")}
    assert {f".best.pt.partial-{alive}", "last.pt.damaged-2", "last.pt"} <= left
    assert planned(workspace, ledger, leftover_days=None) == {}


def test_what_goes_is_gone_the_rest_is_untouched_and_the_ledger_says_why(
    make: Make, workspace: Workspace, ledger: Ledger
) -> None:
    best, old = make(1, score=0.9), make(2, days=100, score=0.5)
    failed = make(3, Status.FAILED, checkpoint=False)
    plan = plan_removals(workspace, ledger, RetentionSettings(max_age_days=50), now=NOW)
    done = remove_planned(plan, workspace, ledger, now=NOW)
    assert set(done.removed) == {f"experiments/{e.experiment_id}" for e in (old, failed)}
    assert [path.name for path in workspace.experiments.glob("[!.]*")] == [best.experiment_id]
    assert list((workspace.experiments / ".removed").iterdir()) == []
    entry = ledger.experiment(old.experiment_id)
    assert (entry.status, entry.primary_score) == ("completed", 0.5), "what was learned stays"
    assert entry.reason.endswith("unchanged for 100 days, more than 50 (max_age_days).")
    assert ledger.experiment(failed.experiment_id).reason.startswith("it diverged. Its files were removed on")
    again = remove_planned(plan, workspace, ledger, now=NOW)
    assert (again.removed, again.left) == (done.removed, {}), "safe to do again"


def test_what_changed_was_locked_or_became_wanted_after_the_plan_is_left(
    make: Make, workspace: Workspace, ledger: Ledger
) -> None:
    make(0, score=0.99)
    changed, locked, wanted = (make(n, score=0.5) for n in (1, 2, 3))
    plan = plan_removals(workspace, ledger, RetentionSettings(max_age_days=5), now=NOW)
    assert len(plan) == 3
    changed.note("somebody was here")
    ledger.record_look(wanted.experiment_id, reason="put up for promotion", at=NOW, split=Split.TEST)
    with locked.lock(workspace):
        done = remove_planned(plan, workspace, ledger, now=NOW)
    assert done.removed == []
    assert done.left == {
        f"experiments/{changed.experiment_id}": "it changed after the plan was made",
        f"experiments/{locked.experiment_id}": "it is being trained now",
        f"experiments/{wanted.experiment_id}": "was measured on the test split",
    }


def test_a_removal_that_was_killed_is_done_to_its_end_by_the_next(
    make: Make, workspace: Workspace, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    experiment = make(1, Status.FAILED, checkpoint=False)

    def killed(path: Path) -> None:
        raise KeyboardInterrupt

    plan = plan_removals(workspace, ledger, RetentionSettings(), now=NOW)
    with monkeypatch.context() as patched:
        patched.setattr("glaucoma.training.experiment.remove_tree", killed)
        with pytest.raises(KeyboardInterrupt):
            remove_planned(plan, workspace, ledger, now=NOW)
    assert not experiment.folder.exists()
    (left,) = plan_removals(workspace, ledger, RetentionSettings(), now=NOW)
    assert left.why == "its removal was cut off"
    assert remove_planned([left], workspace, ledger, now=NOW).removed == [left.path]
    assert list((workspace.experiments / ".removed").iterdir()) == []


def test_a_plan_can_be_written_as_json_and_read_again(make: Make, workspace: Workspace, ledger: Ledger) -> None:
    make(1, Status.FAILED, checkpoint=False)
    (one,) = plan_removals(workspace, ledger, RetentionSettings(), now=NOW)
    assert Removal.model_validate_json(one.model_dump_json()) == one
    assert one.experiment_id == experiment_id(spec_of(1))
