"""Snapshots of the books, and the way back: all of it or nothing, whatever kills it, and no experiment is touched."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from glaucoma.errors import IntegrityError, NotFoundError
from glaucoma.planning.continuous import switched_on
from glaucoma.planning.continuous_settings import ContinuousSettings
from glaucoma.planning.continuous_store import Research
from glaucoma.planning.rollback import BusyError, finish_rollback, roll_back
from glaucoma.planning.snapshot import Snapshot, list_snapshots, object_path, read_snapshot, take_snapshot
from glaucoma.records.cycle_turn import cycle_turn
from glaucoma.records.ledger import Ledger
from glaucoma.training.experiment import Experiment, Status, is_there
from glaucoma.workspace import Workspace
from tests.unit.planning.killed import Nursery

AT = datetime(2026, 1, 5, 8, 30, tzinfo=UTC)
KILLED = -9
Trained = Callable[..., Experiment]


def write(workspace: Workspace, **files: str) -> None:
    for name, text in files.items():
        path = workspace.root / {"registry": "data_registry.yaml"}.get(name, f"judgements/{name}.yaml")
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)


def books(workspace: Workspace) -> dict[str, Any]:
    files = [workspace.registry, *(workspace.root / "judgements").glob("*.yaml")]
    read = {path.name: path.read_text() for path in files if path.is_file()}
    rows = Ledger(workspace.ledger_url).experiments()
    return read | {"ledger": sorted((row.experiment_id, row.status.value, row.reason) for row in rows)}


@pytest.fixture
def then(trained: Trained, workspace: Workspace) -> Snapshot:
    """A snapshot, after which everything changed."""
    first = trained(1, Status.CANCELLED)
    write(workspace, registry="first: 1\n", eyes="a: 1\n")
    made = take_snapshot(workspace, reason="a test", at=AT)
    trained(2, Status.COMPLETED, 0.9)
    first.note("something happened since")
    Ledger(workspace.ledger_url).change(first.experiment_id, reason="another reason")
    write(workspace, registry="first: 1\nsecond: 2\n", eyes="a: 2\n", other="b: 1\n")
    return made


def test_a_rollback_puts_the_books_back_keeps_the_present_and_leaves_experiments(
    then: Snapshot, trained: Trained, workspace: Workspace
) -> None:
    now, names = books(workspace), sorted(path.name for path in workspace.experiments.iterdir())
    done = roll_back(then.snapshot_id, workspace, at=AT + timedelta(hours=1))
    was = books(workspace)
    assert {name: was[name] for name in was if name != "ledger"} == {
        "data_registry.yaml": "first: 1\n",
        "eyes.yaml": "a: 1\n",
    }
    assert [row[2] for row in was["ledger"]] == [""]
    assert sorted(path.name for path in workspace.experiments.iterdir()) == names
    since = [one for one in names if one not in then.experiments]
    assert (done.made_since, done.changed_since, done.gone_since) == (since, list(then.experiments), [])
    assert done.removed == ["judgements/other.yaml"]
    assert [one.snapshot_id for one in list_snapshots(workspace)] == [done.before, then.snapshot_id]
    assert all(is_there(name, workspace) for name in names)

    roll_back(done.before, workspace, at=AT + timedelta(hours=2))
    assert books(workspace) == now, "and the way back to where it was"


def test_what_did_not_change_is_kept_once(workspace: Workspace, trained: Trained) -> None:
    trained(1)
    write(workspace, registry="first: 1\n")
    take_snapshot(workspace, reason="one", at=AT)
    before = sorted(path.name for path in (workspace.snapshots / "objects").iterdir())
    take_snapshot(workspace, reason="two", at=AT)
    assert sorted(path.name for path in (workspace.snapshots / "objects").iterdir()) == before
    assert {one.reason for one in list_snapshots(workspace)} == {"one", "two"}


def test_nothing_is_rolled_back_while_something_trains_or_runs(
    then: Snapshot, trained: Trained, workspace: Workspace
) -> None:
    now = books(workspace)
    running = trained(1, Status.CANCELLED)
    now = books(workspace)
    with running.lock(workspace), pytest.raises(BusyError, match="is being trained"):
        roll_back(then.snapshot_id, workspace, at=AT)
    with pytest.raises(BusyError, match="a cycle runs"):
        roll_back(then.snapshot_id, workspace, at=AT, running=lambda: ["a cycle runs"])
    assert books(workspace) == now
    assert not workspace.rollback_note.exists()


def test_nothing_is_rolled_back_while_a_cycle_of_a_research_runs_which_no_server_may_know_of(
    then: Snapshot, workspace: Workspace
) -> None:
    research = Research("night", workspace)
    research.change(lambda before: switched_on(before, "night", {}, ContinuousSettings(), AT)[0])
    with research.turn(), pytest.raises(BusyError, match="a cycle of the research night runs"):
        roll_back(then.snapshot_id, workspace, at=AT)


def test_a_cycle_of_a_terminal_is_in_the_way_while_it_waits_for_a_person(workspace: Workspace) -> None:
    then = take_snapshot(workspace, reason="before", at=AT)
    with cycle_turn("eyes-0001-abc", "run", workspace), pytest.raises(BusyError, match="cycle eyes-0001-abc is being"):
        roll_back(then.snapshot_id, workspace, at=AT)
    roll_back(then.snapshot_id, workspace, at=AT)
    assert roll_back(then.snapshot_id, workspace, at=AT).to == then.snapshot_id


def test_nothing_is_rolled_back_while_a_cycle_of_a_terminal_waits_for_a_person(
    then: Snapshot, workspace: Workspace
) -> None:
    with cycle_turn("eyes-0001-abc", "run", workspace), pytest.raises(BusyError, match="cycle eyes-0001-abc is being"):
        roll_back(then.snapshot_id, workspace, at=AT)
    assert roll_back(then.snapshot_id, workspace, at=AT).to == then.snapshot_id


def test_cycles_begun_since_are_named_and_their_files_stay(then: Snapshot, workspace: Workspace) -> None:
    Ledger(workspace.ledger_url).start_cycle("eyes-0001-aaaaaa", {}, at=AT)
    (workspace.cycles / "eyes-0001-aaaaaa").mkdir(parents=True)
    done = roll_back(then.snapshot_id, workspace, at=AT)
    assert done.cycles_since == ["eyes-0001-aaaaaa"]
    assert (workspace.cycles / "eyes-0001-aaaaaa").is_dir()
    assert roll_back(done.before, workspace, at=AT).cycles_since == [], "and the way back knows it"


def test_a_damaged_or_unknown_snapshot_changes_nothing(then: Snapshot, workspace: Workspace) -> None:
    now = books(workspace)
    for name in ("../../etc", "20260105T083000Z-000000", ""):
        with pytest.raises(NotFoundError):
            roll_back(name, workspace, at=AT)
    object_path(then.files["data_registry.yaml"], workspace).write_text("first: 666\n")
    with pytest.raises(IntegrityError, match=r"data_registry\.yaml .* is missing or damaged"):
        roll_back(then.snapshot_id, workspace, at=AT)
    (workspace.snapshots / then.snapshot_id / "snapshot.json").write_text("{}")
    with pytest.raises(IntegrityError, match="no valid snapshot"):
        read_snapshot(then.snapshot_id, workspace)
    assert books(workspace) == now


def test_killed_before_any_change_of_the_disk_the_next_start_finds_all_of_the_one_or_all_of_the_other(
    then: Snapshot, workspace: Workspace, nursery: Nursery, tmp_path_factory: pytest.TempPathFactory
) -> None:
    now = books(workspace)
    template = tmp_path_factory.mktemp("template") / "workspace"
    shutil.copytree(workspace.root, template, symlinks=True)
    code = f"rollback.roll_back({then.snapshot_id!r}, workspace, at=AT)"
    outcomes = list[str]()
    for number in range(1, 300):
        ended = nursery.run(code, workspace.root, number)
        if ended != KILLED:
            break
        finish_rollback(workspace)
        found = books(workspace)
        outcomes.append("now" if found == now else "then")
        assert not workspace.rollback_note.exists()
        if found != now:
            assert found["data_registry.yaml"] == "first: 1\n"
            assert set(found) == {"data_registry.yaml", "eyes.yaml", "ledger"}
            assert [row[2] for row in found["ledger"]] == [""]
        list_snapshots(workspace)
        assert not [*workspace.root.glob(".*.partial-*"), *workspace.root.glob("judgements/.*")]
        shutil.rmtree(workspace.root)
        shutil.copytree(template, workspace.root, symlinks=True)
    assert ended == 0
    assert outcomes == sorted(outcomes), "undone up to a moment, finished from there on"
    assert set(outcomes) == {"now", "then"}


def test_a_snapshot_that_is_killed_leaves_the_others_whole(
    then: Snapshot, workspace: Workspace, nursery: Nursery
) -> None:
    code = "snapshot.take_snapshot(workspace, reason='killed', at=AT)"
    for number in range(1, 100):
        ended = nursery.run(code, workspace.root, number)
        kept = [one.reason for one in list_snapshots(workspace)]
        assert kept.count("a test") == 1
        if ended != KILLED:
            break
    assert ended == 0
    assert number > 3
    assert not list(Path(workspace.snapshots / "objects").glob(".*"))
