"""Experiments and cycles packed away and back: nothing is lost, whatever kills it, and nothing that is needed goes."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from glaucoma.errors import ArchiveError, NotFoundError
from glaucoma.planning.archive import (
    InUseError,
    archive_cycle,
    archive_experiment,
    archive_experiments_of,
    archived_names,
    pack_path,
    unarchive_cycle,
    unarchive_experiment,
)
from glaucoma.planning.deleting import StillNeededError, delete_planned, plan_deletion
from glaucoma.planning.wanted import wanted_experiments
from glaucoma.records.ledger import Ledger
from glaucoma.records.packing import check, contents_of
from glaucoma.records.words import CycleStatus, Standing
from glaucoma.training.experiment import Experiment, Status, create_experiment, is_there
from glaucoma.training.spec import ExperimentSpec
from glaucoma.workspace import Workspace
from tests.unit.planning.killed import Nursery

AT = datetime(2026, 1, 5, 8, 30, tzinfo=UTC)
KILLED = -9
Trained = Callable[..., Experiment]


@pytest.fixture
def ledger(workspace: Workspace) -> Ledger:
    return Ledger(workspace.ledger_url)


def test_an_experiment_goes_and_comes_back_and_the_ledger_says_where_it_is(
    trained: Trained, workspace: Workspace, ledger: Ledger
) -> None:
    experiment = trained(1, Status.CANCELLED)
    name, before = experiment.experiment_id, contents_of(experiment.folder, "experiment")
    done = archive_experiment(name, workspace, ledger, at=AT)
    assert (done.changed, done.archived, is_there(name, workspace)) == (True, True, False)
    assert archived_names("experiment", workspace) == [name]
    row = ledger.experiment(name)
    assert (row.status, row.reason) == (Standing.CANCELLED, "Its files were packed away on 2026-01-05.")
    assert not archive_experiment(name, workspace, ledger, at=AT).changed, "safe to do again"

    back = unarchive_experiment(name, workspace, ledger)
    assert (back.changed, back.archived) == (True, False)
    assert contents_of(experiment.folder, "experiment") == before
    assert ledger.experiment(name).reason == ""
    assert archived_names("experiment", workspace) == []
    assert not unarchive_experiment(name, workspace, ledger).changed


def test_what_is_needed_stays_unless_forced_and_what_is_trained_stays_in_any_case(
    trained: Trained, workspace: Workspace, ledger: Ledger
) -> None:
    best, other = trained(1, score=0.9), trained(2, score=0.5)
    with pytest.raises(InUseError, match="is the best classification"):
        archive_experiment(best.experiment_id, workspace, ledger, at=AT)
    with other.lock(workspace), pytest.raises(InUseError, match="is being trained"):
        archive_experiment(other.experiment_id, workspace, ledger, force=True, at=AT)
    assert archive_experiment(best.experiment_id, workspace, ledger, force=True, at=AT).changed
    assert wanted_experiments(workspace, ledger).keys() == {other.experiment_id}, "the best of what is at hand"


def test_a_pack_does_not_replace_a_folder_that_differs(
    trained: Trained, workspace: Workspace, ledger: Ledger, tmp_path: Path
) -> None:
    experiment = trained(1, Status.CANCELLED)
    name = experiment.experiment_id
    archive_experiment(name, workspace, ledger, at=AT)
    create_experiment(ledger_spec(ledger, name), workspace)
    with pytest.raises(InUseError, match="holds other files"):
        unarchive_experiment(name, workspace, ledger)
    check(pack_path("experiment", name, workspace))


def ledger_spec(ledger: Ledger, name: str) -> ExperimentSpec:
    return ExperimentSpec.model_validate(ledger.experiment(name).spec)


@pytest.mark.parametrize("name", ["", "..", "../x", "a/b", ".hidden", "nowhere"])
def test_a_name_that_is_none_is_refused(name: str, workspace: Workspace, ledger: Ledger) -> None:
    for call in (
        lambda: archive_experiment(name, workspace, ledger, at=AT),
        lambda: unarchive_experiment(name, workspace, ledger),
        lambda: archive_cycle(name, workspace, ledger),
        lambda: unarchive_cycle(name, workspace),
        lambda: plan_deletion([name], workspace, ledger, "x"),
    ):
        with pytest.raises(NotFoundError):
            call()


def test_a_cycle_goes_and_comes_back_with_those_of_its_experiments_that_nothing_needs(
    trained: Trained, workspace: Workspace, ledger: Ledger
) -> None:
    ledger.start_cycle("eyes-0001-abcdef", {}, at=AT)
    best, other = trained(1, score=0.9), trained(2, score=0.5)
    for one in (best, other):
        of_cycle(one, workspace)
    folder = workspace.cycles / "eyes-0001-abcdef"
    folder.mkdir(parents=True)
    (folder / "report.html").write_text("a report")
    with pytest.raises(InUseError, match="has not ended"):
        archive_cycle("eyes-0001-abcdef", workspace, ledger)
    ledger.end_cycle("eyes-0001-abcdef", CycleStatus.COMPLETED, at=AT)

    assert archive_cycle("eyes-0001-abcdef", workspace, ledger).archived
    done = archive_experiments_of("eyes-0001-abcdef", workspace, ledger, at=AT)
    assert ([one.name for one in done.done], list(done.left)) == ([other.experiment_id], [best.experiment_id])
    assert not folder.exists()
    assert not unarchive_cycle("eyes-0001-abcdef", workspace).archived
    archive_experiments_of("eyes-0001-abcdef", workspace, ledger, back=True, at=AT)
    assert (folder / "report.html").read_text() == "a report"
    assert is_there(other.experiment_id, workspace)


def of_cycle(experiment: Experiment, workspace: Workspace) -> None:
    """As if a cycle had asked for it: the ledger keeps the first one's word."""
    with contextlib.closing(sqlite3.connect(workspace.root / "ledger.db")) as connection, connection:
        change = "UPDATE experiments SET cycle_id = ? WHERE experiment_id = ?"
        connection.execute(change, ("eyes-0001-abcdef", experiment.experiment_id))


def test_deleting_is_all_or_nothing_and_the_ledger_keeps_row_and_reason(
    trained: Trained, workspace: Workspace, ledger: Ledger
) -> None:
    best, other, packed = trained(1, score=0.9), trained(2, Status.FAILED), trained(3, Status.CANCELLED)
    names = [one.experiment_id for one in (best, other, packed)]
    archive_experiment(packed.experiment_id, workspace, ledger, at=AT)
    plan = plan_deletion(names, workspace, ledger, "the labels were wrong")
    assert list(plan.refused) == [best.experiment_id]
    with pytest.raises(StillNeededError, match="is the best"):
        delete_planned(plan, workspace, ledger, now=AT)
    assert is_there(other.experiment_id, workspace)

    done = delete_planned(
        plan_deletion(names[1:], workspace, ledger, "the labels were wrong"), workspace, ledger, now=AT
    )
    assert (len(done.removed), done.left) == (2, {})
    assert not is_there(other.experiment_id, workspace)
    assert archived_names("experiment", workspace) == []
    row = ledger.experiment(other.experiment_id)
    assert row.status is Standing.FAILED
    assert row.reason.endswith("Its files were removed on 2026-01-05: the labels were wrong.")
    assert "removed on 2026-01-05: the labels were wrong" in ledger.experiment(packed.experiment_id).reason


def test_one_that_is_trained_is_not_deleted(trained: Trained, workspace: Workspace, ledger: Ledger) -> None:
    experiment = trained(1, Status.FAILED)
    with experiment.lock(workspace):
        plan = plan_deletion([experiment.experiment_id], workspace, ledger, "x")
    assert plan.refused == {experiment.experiment_id: "is being trained"}


PACK = "archive.archive_experiment({name!r}, workspace, Ledger(workspace.ledger_url), at=AT)"
BACK = "archive.unarchive_experiment({name!r}, workspace, Ledger(workspace.ledger_url))"


@pytest.mark.parametrize("way", ["there", "back"])
def test_killed_before_any_change_of_the_disk_the_experiment_is_whole_in_one_place_and_the_next_call_finishes(
    way: str, trained: Trained, workspace: Workspace, nursery: Nursery, tmp_path_factory: pytest.TempPathFactory
) -> None:
    experiment = trained(1, Status.CANCELLED)
    name, whole = experiment.experiment_id, contents_of(experiment.folder, "experiment")
    path = pack_path("experiment", name, workspace)
    if way == "back":
        archive_experiment(name, workspace, Ledger(workspace.ledger_url), at=AT)
    template = tmp_path_factory.mktemp("template") / "workspace"
    shutil.copytree(workspace.root, template, symlinks=True)
    for number in range(1, 200):
        ended = nursery.run((PACK if way == "there" else BACK).format(name=name), workspace.root, number)
        if experiment.folder.exists():
            assert contents_of(experiment.folder, "experiment") == whole
        else:
            assert check(path) == whole
        ledger = Ledger(workspace.ledger_url)
        if way == "there":
            archive_experiment(name, workspace, ledger, at=AT)
            assert check(path) == whole
            assert not experiment.folder.exists()
        else:
            unarchive_experiment(name, workspace, ledger)
            assert contents_of(experiment.folder, "experiment") == whole
            assert not path.exists()
        assert [one.name for one in path.parent.glob(".*")] == []
        if ended != KILLED:
            break
        shutil.rmtree(workspace.root)
        shutil.copytree(template, workspace.root, symlinks=True)
    assert ended == 0
    assert number > 5, "it was killed at that many moments"


def test_a_cycle_killed_on_its_way_is_whole_somewhere(workspace: Workspace, ledger: Ledger, nursery: Nursery) -> None:
    ledger.start_cycle("eyes-0001-abcdef", {}, at=AT)
    ledger.end_cycle("eyes-0001-abcdef", CycleStatus.COMPLETED, at=AT)
    folder, path = workspace.cycles / "eyes-0001-abcdef", pack_path("cycle", "eyes-0001-abcdef", workspace)
    code = "archive.archive_cycle('eyes-0001-abcdef', workspace, Ledger(workspace.ledger_url))"
    for number in range(1, 200):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "report.html").write_text("a report")
        ended = nursery.run(code, workspace.root, number)
        if ended == KILLED:
            assert folder.is_dir() or check(path)
            archive_cycle("eyes-0001-abcdef", workspace, ledger)
        assert not any(workspace.cycles.iterdir()), "nothing hidden, which readers of records would meet"
        unarchive_cycle("eyes-0001-abcdef", workspace)
        assert (folder / "report.html").read_text() == "a report"
        if ended != KILLED:
            break
    assert ended == 0
    assert number > 3


def test_a_damaged_pack_is_not_taken_for_the_experiment(trained: Trained, workspace: Workspace, ledger: Ledger) -> None:
    name = trained(1, Status.CANCELLED).experiment_id
    path = archive_experiment(name, workspace, ledger, at=AT).pack
    content = bytearray(path.read_bytes())
    content[-40] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(ArchiveError, match="is damaged"):
        unarchive_experiment(name, workspace, ledger)
    assert path.is_file()
    assert not is_there(name, workspace)
