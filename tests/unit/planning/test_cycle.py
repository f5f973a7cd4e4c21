"""A cycle's beginning: opened once, taken up again until it is done, and planned from what the ledger knows."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from glaucoma.datasets.manifest import write_manifest
from glaucoma.errors import DatasetError, IntegrityError, UnknownModelError, WeightsUnavailableError
from glaucoma.planning.archive import archive_cycle, unarchive_cycle
from glaucoma.planning.cycle import (
    PLAN_NAME,
    CyclePlan,
    OpenCycle,
    is_taken_up,
    open_cycle,
    possible_tasks,
    require_known_models,
)
from glaucoma.planning.cycle_found import preview
from glaucoma.planning.settings import PlanSettings, RuleBrokenError, Rules
from glaucoma.records.ledger import Ledger, LedgerExperiment
from glaucoma.records.words import CycleStatus, Standing
from glaucoma.schema import Column, Label, Split, StructureState, Task
from glaucoma.training.experiment import create_experiment
from glaucoma.training.settings import TrainSettings
from glaucoma.workspace import Workspace

KEY = "a" * 16
CONFIG = {"name": "eyes", "preset": "smoke", "plan": {"seed": 0}}
BOTH = (Label.NORMAL, Label.GLAUCOMA)


def manifest(
    labels: tuple[Label, ...] = BOTH,
    disc: StructureState = StructureState.PRESENT,
    cup: StructureState | None = None,
) -> pd.DataFrame:
    """Six photographs, two in each split; the cup stands as the disc does where nothing else is said."""
    rows = []
    for index in range(6):
        row: dict[str, Any] = dict.fromkeys((str(column) for column in Column), "")
        row |= {
            Column.IMAGE_ID: f"i{index}",
            Column.IMAGE: f"images/i{index}.png",
            Column.LABEL: labels[index % len(labels)],
            Column.SPLIT: list(Split)[index // 2],
            Column.GROUP: f"i{index}",
            Column.WIDTH: 64,
            Column.HEIGHT: 64,
            Column.SHA256: f"{index:064x}",
            Column.DISC_STATE: disc,
            Column.CUP_STATE: cup or disc,
            Column.MASK: f"masks/i{index}.png" if disc is StructureState.PRESENT else "",
        }
        rows.append({str(name): value for name, value in row.items()})
    return pd.DataFrame(rows)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace.at(tmp_path / "workspace")


def prepare(workspace: Workspace, table: pd.DataFrame, key: str = KEY) -> Path:
    folder = workspace.prepared("eyes") / key
    folder.mkdir(parents=True)
    write_manifest(folder, table)
    return folder


@pytest.fixture
def prepared(workspace: Workspace) -> Path:
    return prepare(workspace, manifest())


def start(
    ledger: Ledger, workspace: Workspace, prepared: Path, config: dict[str, Any] = CONFIG, **train: Any
) -> OpenCycle:
    return open_cycle(
        ledger, workspace, name="eyes", prepared=prepared, config=config,
        plan=PlanSettings.for_preset("smoke"), train=TrainSettings.for_preset("smoke", **train),
    )  # fmt: skip


def ids(cycle: OpenCycle) -> list[str]:
    return [proposal.experiment_id for proposal in cycle.plan.proposals]


def test_a_new_cycle_has_a_plan_on_disk_and_its_proposals_in_the_ledger(
    ledger: Ledger, workspace: Workspace, prepared: Path
) -> None:
    cycle = start(ledger, workspace, prepared)
    assert not cycle.resumed
    assert cycle.folder == workspace.cycles / cycle.plan.cycle_id
    assert CyclePlan.model_validate_json((cycle.folder / PLAN_NAME).read_bytes()) == cycle.plan
    assert (cycle.plan.dataset, cycle.plan.prepared_key, cycle.plan.incumbents) == ("eyes", KEY, {})
    assert cycle.plan.cycle_id.startswith("eyes-0001-")
    assert [p.spec.task for p in cycle.plan.proposals].count(Task.CLASSIFICATION) == 2
    assert [p.spec.task for p in cycle.plan.proposals].count(Task.SEGMENTATION) == 2
    assert ledger.cycle(cycle.plan.cycle_id).status is CycleStatus.RUNNING
    for proposal in cycle.plan.proposals:
        entry = ledger.experiment(proposal.experiment_id)
        assert (entry.status, entry.cycle_id) == (Standing.PROPOSED, cycle.plan.cycle_id)
        assert (entry.proposal_reason, entry.novelty) == (proposal.reason, proposal.novelty)
        assert proposal.reason


@pytest.mark.parametrize("packed", [False, True])
def test_a_cycle_that_the_ledger_does_not_know_any_more_keeps_its_id_and_its_files(
    packed: bool, ledger: Ledger, workspace: Workspace, prepared: Path, tmp_path: Path
) -> None:
    first = start(ledger, workspace, prepared)
    before = (first.folder / PLAN_NAME).read_bytes()
    if packed:
        archive_cycle(first.plan.cycle_id, workspace, ledger, force=True)
    (workspace.cycles / "eyes-b-0007-aaaaaa").mkdir(parents=True)  # of another dataset, eyes-b
    put_back = Ledger(f"sqlite:///{tmp_path / 'put-back.db'}")  # as a rollback leaves it
    again = start(put_back, workspace, prepared)
    assert (again.resumed, again.plan.cycle_id.rpartition("-")[0]) == (False, "eyes-0002")
    if packed:
        unarchive_cycle(first.plan.cycle_id, workspace)
    assert (first.folder / PLAN_NAME).read_bytes() == before


def test_a_cycle_is_taken_up_unless_it_completed_or_none_of_its_experiments_can(
    ledger: Ledger, workspace: Workspace, prepared: Path
) -> None:
    cycle = start(ledger, workspace, prepared)
    name, now = cycle.plan.cycle_id, datetime.now(UTC)
    assert is_taken_up(name, ledger, workspace)
    ledger.end_cycle(name, CycleStatus.FAILED, at=now)
    assert is_taken_up(name, ledger, workspace)
    for experiment in ids(cycle):
        ledger.change(experiment, status=Standing.FAILED)
    assert not is_taken_up(name, ledger, workspace)
    ledger.end_cycle(name, CycleStatus.COMPLETED, at=now)
    assert not is_taken_up(name, ledger, workspace)
    assert not is_taken_up("eyes-0009-aaaaaa", ledger, workspace)


def test_a_cycle_that_was_refused_after_one_of_its_experiments_ran_is_not_asked_for_again(
    ledger: Ledger, workspace: Workspace, prepared: Path
) -> None:
    first = start(ledger, workspace, prepared)
    done, *others = ids(first)
    ledger.change(done, status=Standing.COMPLETED)
    for experiment in others:
        ledger.change(experiment, status=Standing.REFUSED)
    ledger.end_cycle(first.plan.cycle_id, CycleStatus.CANCELLED, at=datetime.now(UTC))
    assert not is_taken_up(first.plan.cycle_id, ledger, workspace)
    assert not start(ledger, workspace, prepared).resumed


@pytest.mark.parametrize("ended", [None, CycleStatus.FAILED, CycleStatus.CANCELLED])
def test_an_unfinished_cycle_is_taken_up_again_with_the_same_plan(
    ended: CycleStatus | None, ledger: Ledger, workspace: Workspace, prepared: Path
) -> None:
    first = start(ledger, workspace, prepared)
    before = (first.folder / PLAN_NAME).read_bytes()
    if ended is not None:
        ledger.end_cycle(first.plan.cycle_id, ended, at=datetime.now(UTC), reason="it broke")
    again = start(ledger, workspace, prepared)
    assert again.resumed
    assert again.plan == first.plan
    assert (again.folder / PLAN_NAME).read_bytes() == before
    (only,) = ledger.cycles()
    assert (only.status, only.ended_at, only.reason) == (CycleStatus.RUNNING, None, "")
    assert only.started_at == first.plan.started_at
    assert len(ledger.experiments()) == len(first.plan.proposals)


def test_a_kill_between_plan_and_ledger_loses_no_proposal(
    ledger: Ledger, workspace: Workspace, prepared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put, done = ledger.put, []

    def killed_after_one(entry: LedgerExperiment) -> None:
        if done:
            raise KeyboardInterrupt
        done.append(entry)
        put(entry)

    monkeypatch.setattr(ledger, "put", killed_after_one)
    with pytest.raises(KeyboardInterrupt):
        start(ledger, workspace, prepared)
    monkeypatch.undo()
    (there,) = ledger.experiments()
    ledger.change(there.experiment_id, status=Standing.COMPLETED, primary_score=0.7)
    again = start(ledger, workspace, prepared)
    assert again.resumed
    for proposal in again.plan.proposals:
        entry = ledger.experiment(proposal.experiment_id)
        assert (entry.cycle_id, entry.novelty) == (again.plan.cycle_id, proposal.novelty)
        assert entry.proposal_reason == proposal.reason
    assert ledger.experiment(there.experiment_id).status is Standing.COMPLETED


def ended(ledger: Ledger, cycle: OpenCycle, *standings: Standing) -> None:
    """The cycle ended without a completed experiment: its experiments ended so, the last of these again and again."""
    for place, name in enumerate(ids(cycle)):
        ledger.change(name, status=standings[min(place, len(standings) - 1)], reason="it broke")
    ledger.end_cycle(cycle.plan.cycle_id, CycleStatus.FAILED, at=datetime.now(UTC), reason="none was completed")


def test_a_cycle_whose_every_experiment_failed_for_good_is_planned_anew(
    ledger: Ledger, workspace: Workspace, prepared: Path
) -> None:
    first = start(ledger, workspace, prepared)
    ended(ledger, first, Standing.FAILED)
    second = start(ledger, workspace, prepared)
    assert not second.resumed
    assert second.plan.cycle_id.startswith("eyes-0002-")
    assert second.plan.proposals
    assert not set(ids(first)) & set(ids(second))
    assert start(ledger, workspace, prepared).plan == second.plan, "the new one is now the one to take up"


def test_a_failed_cycle_with_an_experiment_that_something_outside_interrupted_goes_on(
    ledger: Ledger, workspace: Workspace, prepared: Path
) -> None:
    first = start(ledger, workspace, prepared)
    ended(ledger, first, Standing.INTERRUPTED, Standing.FAILED)
    again = start(ledger, workspace, prepared)
    assert again.resumed
    assert again.plan == first.plan


def test_a_cycle_whose_plan_was_refused_is_planned_anew_and_one_that_nobody_answered_is_taken_up(
    workspace: Workspace, prepared: Path
) -> None:
    ledger = Ledger(workspace.ledger_url)
    first = start(ledger, workspace, prepared)
    ledger.end_cycle(first.plan.cycle_id, CycleStatus.CANCELLED, at=datetime.now(UTC), reason="nobody answered")
    assert start(ledger, workspace, prepared).plan == first.plan
    ended(ledger, first, Standing.REFUSED)
    ledger.end_cycle(first.plan.cycle_id, CycleStatus.CANCELLED, at=datetime.now(UTC), reason="refused")
    assert preview_ids(workspace, prepared) == ids(second := start(ledger, workspace, prepared))
    assert not set(ids(first)) & set(ids(second))
    assert preview_ids(workspace, prepared) == ids(second), "it is now the one to take up"


def preview_ids(workspace: Workspace, prepared: Path) -> list[str]:
    found = preview(
        workspace,
        "eyes",
        prepared,
        CONFIG,
        PlanSettings.for_preset("smoke"),
        TrainSettings.for_preset("smoke"),
        Rules(),
    )
    return [proposal.experiment_id for proposal in found.plan.proposals]


def test_after_a_completed_cycle_the_next_start_is_a_new_one_with_new_proposals(
    ledger: Ledger, workspace: Workspace, prepared: Path
) -> None:
    first = start(ledger, workspace, prepared)
    for number, proposal in enumerate(first.plan.proposals):
        create_experiment(proposal.spec, workspace)
        ledger.change(proposal.experiment_id, status=Standing.COMPLETED, primary_score=0.6 + 0.01 * number)
    ledger.end_cycle(first.plan.cycle_id, CycleStatus.COMPLETED, at=datetime.now(UTC))
    second = start(ledger, workspace, prepared)
    assert not second.resumed
    assert second.plan.cycle_id.startswith("eyes-0002-")
    assert second.plan.proposals
    assert not set(ids(first)) & set(ids(second))
    best = {task: ledger.best(task=task, prepared_key=KEY) for task in Task}
    assert second.plan.incumbents == {task: entry.experiment_id for task, entry in best.items() if entry}
    assert set(second.plan.incumbents) == set(Task)


def test_a_best_whose_files_are_gone_is_no_incumbent(ledger: Ledger, workspace: Workspace, prepared: Path) -> None:
    first = start(ledger, workspace, prepared)
    lesser, gone = [p for p in first.plan.proposals if p.spec.task is Task.CLASSIFICATION]
    create_experiment(lesser.spec, workspace)
    ledger.change(lesser.experiment_id, status=Standing.COMPLETED, primary_score=0.6)
    ledger.change(gone.experiment_id, status=Standing.COMPLETED, primary_score=0.9)
    ledger.end_cycle(first.plan.cycle_id, CycleStatus.COMPLETED, at=datetime.now(UTC))
    assert start(ledger, workspace, prepared).plan.incumbents == {Task.CLASSIFICATION: lesser.experiment_id}


def test_another_configuration_and_another_prepared_dataset_are_other_cycles(
    ledger: Ledger, workspace: Workspace, prepared: Path
) -> None:
    other = prepare(workspace, manifest(), "b" * 16)
    cycles = [
        start(ledger, workspace, prepared),
        start(ledger, workspace, prepared, {**CONFIG, "plan": {"seed": 1}}),
        start(ledger, workspace, other),
    ]
    assert not any(cycle.resumed for cycle in cycles)
    names = [cycle.plan.cycle_id for cycle in cycles]
    assert [name.split("-")[1] for name in names] == ["0001", "0002", "0003"]
    assert len({name.split("-")[2] for name in names}) == 3
    assert start(ledger, workspace, prepared).plan == cycles[0].plan


def test_the_order_of_a_configurations_keys_makes_no_other_cycle(
    ledger: Ledger, workspace: Workspace, prepared: Path
) -> None:
    first = start(ledger, workspace, prepared)
    assert start(ledger, workspace, prepared, dict(reversed(CONFIG.items()))).plan == first.plan


def test_numbers_count_the_cycles_of_one_name_alone(ledger: Ledger, workspace: Workspace, prepared: Path) -> None:
    for name in ("eyes-two-0001-abcdef", "other-0001-abcdef"):
        ledger.start_cycle(name, {"name": name}, at=datetime.now(UTC))
    assert start(ledger, workspace, prepared).plan.cycle_id.startswith("eyes-0001-")


@pytest.mark.parametrize(
    ("table", "possible"),
    [
        (manifest(), {Task.CLASSIFICATION, Task.SEGMENTATION}),
        (manifest(disc=StructureState.NOT_VISIBLE), {Task.CLASSIFICATION}),
        (manifest(cup=StructureState.NOT_VISIBLE), {Task.CLASSIFICATION}),
        (manifest((Label.NORMAL,)), {Task.SEGMENTATION}),
        (manifest((Label.NORMAL, Label.SUSPECT)), {Task.SEGMENTATION}),
        (manifest((Label.GLAUCOMA,), StructureState.ABSENT), set()),
    ],
)
def test_a_task_is_possible_where_the_photographs_carry_what_it_learns(
    table: pd.DataFrame, possible: set[Task]
) -> None:
    found = possible_tasks(table)
    assert set(found) == set(Task)
    assert {task for task, obstacle in found.items() if not obstacle} == possible


def test_a_task_that_the_dataset_cannot_serve_is_left_out_with_a_note(ledger: Ledger, workspace: Workspace) -> None:
    cycle = start(ledger, workspace, prepare(workspace, manifest(disc=StructureState.NOT_VISIBLE)))
    assert {p.spec.task for p in cycle.plan.proposals} == {Task.CLASSIFICATION}
    assert cycle.plan.notes == ["No segmentation: no photograph has a mask of disc and cup."]


def test_a_dataset_that_serves_no_task_is_refused_and_nothing_is_written(ledger: Ledger, workspace: Workspace) -> None:
    prepared = prepare(workspace, manifest((Label.NORMAL,), StructureState.NOT_VISIBLE))
    with pytest.raises(DatasetError, match=r"eyes serves no task .*no photograph has a mask.*labels are normal"):
        start(ledger, workspace, prepared)
    nothing_planned(ledger, workspace)


def test_settings_outside_the_rules_are_refused_and_nothing_is_written(
    ledger: Ledger, workspace: Workspace, prepared: Path
) -> None:
    with pytest.raises(RuleBrokenError, match=r"learning_rate 0\.5 lies outside"):
        start(ledger, workspace, prepared, learning_rate=0.5)
    nothing_planned(ledger, workspace)


def test_missing_weights_are_found_out_while_planning(
    ledger: Ledger, workspace: Workspace, prepared: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "no-hub"))
    with pytest.raises(WeightsUnavailableError, match="No pretrained weights"):
        start(ledger, workspace, prepared, pretrained=True)
    nothing_planned(ledger, workspace)


def nothing_planned(ledger: Ledger, workspace: Workspace) -> None:
    assert ledger.cycles() == []
    assert ledger.experiments() == []
    assert not workspace.cycles.exists()


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"cycle_id": "eyes-0001-abcdef"}'])
def test_a_damaged_plan_is_said_and_planned_anew_once_it_is_removed(
    content: bytes, ledger: Ledger, workspace: Workspace, prepared: Path
) -> None:
    cycle = start(ledger, workspace, prepared)
    (cycle.folder / PLAN_NAME).write_bytes(content)
    with pytest.raises(IntegrityError, match=r"(?s)plan\.json is no valid plan.*Remedy: remove the file"):
        start(ledger, workspace, prepared)
    (cycle.folder / PLAN_NAME).unlink()
    anew = start(ledger, workspace, prepared)
    assert not anew.resumed
    assert anew.plan.cycle_id == cycle.plan.cycle_id
    assert json.loads((anew.folder / PLAN_NAME).read_bytes())["proposals"]


@pytest.mark.parametrize(
    ("wrong", "near"), [({"classifier": "lcnet_005"}, "lcnet_050"), ({"encoder": "resnet43"}, "resnet34")]
)
def test_an_unknown_network_is_refused_with_the_nearest_names(wrong: dict[str, str], near: str) -> None:
    (name,) = wrong.values()
    with pytest.raises(UnknownModelError, match=rf"{name!r}.*nearest: .*{near}"):
        require_known_models(TrainSettings.for_preset("smoke", **wrong))


def test_known_networks_pass_without_looking_for_weights() -> None:
    require_known_models(
        TrainSettings.for_preset("smoke", classifier="small_cnn", encoder="small_unet", pretrained=True)
    )
