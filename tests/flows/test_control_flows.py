"""The flows that steer and look, on the embedded server; docs/reference/control.md is run by tests/system."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from prefect import flow
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import StateType
from prefect.states import Paused, Running, Scheduled
from prefect.variables import Variable

from flows.archive import archive
from flows.cancel import cancel
from flows.configs_control import (
    ArchiveConfig,
    CancelConfig,
    CreateConfig,
    DeleteConfig,
    ExperimentInfoConfig,
    ExperimentsConfig,
    RollbackConfig,
    SnapshotConfig,
    StatusConfig,
)
from flows.create import create
from flows.delete import delete
from flows.experiment_info import experiment_info
from flows.experiments import experiments
from flows.resolve import workspace_of
from flows.rollback import rollback
from flows.snapshot import snapshot
from flows.status import status
from glaucoma.errors import InputError
from glaucoma.planning.rollback import BusyError
from glaucoma.records.ledger import Ledger
from glaucoma.workspace import Workspace
from tasks.cancel import NothingTrainsError, names

TRAIN = {"classifier": "small_cnn", "input_px": 32, "epochs": 1, "execution": {"device": "cpu", "threads": 1}}


@pytest.fixture
def workspace(tmp_path: Path, tiny: Any) -> Workspace:
    tiny.make_prepared(tmp_path)
    return Workspace.at(tmp_path)


@pytest.fixture
def made(workspace: Workspace) -> str:
    config = CreateConfig.model_validate(
        {"workspace": workspace.root, "name": "tiny", "preset": "smoke", "train": TRAIN}
    )
    result = create(config)
    assert (result.status, create(config).experiment_id) == ("created", result.experiment_id)
    return str(result.experiment_id)


@pytest.fixture
def other_run() -> Callable[..., UUID]:
    """A flow run of that name in the server's books, which no process works on."""

    def start(client: SyncPrefectClient, name: str, state: Any, **more: Any) -> UUID:
        @flow(name=name)
        def known(config: dict[str, Any]) -> None:
            """Only its name is used."""

        return client.create_flow_run(known, state=state, **more).id

    return start


def test_an_experiment_is_made_listed_described_packed_away_and_deleted(workspace: Workspace, made: str) -> None:
    root = workspace.root
    listed = experiments(ExperimentsConfig(workspace=root)).experiments
    assert [(one.experiment_id, one.status, one.place) for one in listed] == [(made, "proposed", "workspace")]
    assert archive(ArchiveConfig(workspace=root, experiment=made)).archived
    info = experiment_info(ExperimentInfoConfig(workspace=root, experiment=made))
    assert (info.line.place, list(info.places)) == ("archived", ["pack"])
    assert not archive(ArchiveConfig(workspace=root, experiment=made, back=True)).archived

    told = delete(DeleteConfig(workspace=root, experiments=[made], reason="a test"))
    assert (told.dry_run, [one.experiment_id for one in told.removals], told.removed) == (True, [made], [])
    gone = delete(DeleteConfig(workspace=root, experiments=[made], reason="a test", dry_run=False))
    assert gone.removed == [f"experiments/{made}"]
    assert "a test" in Ledger(workspace.ledger_url).experiment(made).reason


def test_books_are_put_back_once_nothing_writes_them_and_the_next_flow_finishes_what_was_cut_off(
    workspace: Workspace, made: str, other_run: Callable[..., UUID], caplog: pytest.LogCaptureFixture
) -> None:
    kept = snapshot(SnapshotConfig(workspace=workspace.root, reason="a test"))
    config = RollbackConfig(workspace=workspace.root, snapshot=kept.snapshot_id)
    Ledger(workspace.ledger_url).change(made, reason="changed since")
    with get_client(sync_client=True) as client:
        for state in (Running(), Paused(timeout_seconds=3600)):  # paused: its plan waits for a person
            run = other_run(client, "research-cycle", state)
            with pytest.raises(BusyError, match=r"\(research-cycle\) is alive"):
                rollback(config)
            client.delete_flow_run(run)
    assert Ledger(workspace.ledger_url).experiment(made).reason == "changed since"
    assert rollback(config).to == kept.snapshot_id
    assert Ledger(workspace.ledger_url).experiment(made).reason == ""

    Ledger(workspace.ledger_url).change(made, reason="changed since")
    workspace.rollback_note.write_text(f'{{"to": "{kept.snapshot_id}", "stage": "writing"}}')
    workspace_of(config)
    assert "is finished" in caplog.text
    assert Ledger(workspace.ledger_url).experiment(made).reason == ""


def test_a_run_that_waits_to_train_is_cancelled_by_the_experiment_and_nothing_else_is(
    workspace: Workspace, made: str, other_run: Callable[..., UUID]
) -> None:
    config = CancelConfig(workspace=workspace.root, experiment=made)
    with pytest.raises(NothingTrainsError, match="Nothing trains"):
        cancel(config)
    with get_client(sync_client=True) as client:
        parameters = {"config": {"experiment": made}}
        waiting = other_run(client, "resume", Scheduled(), parameters=parameters)
        tagged = other_run(client, "experiment", Scheduled(), tags=[f"arc-batch:{made}:01234567"])
        looking = other_run(client, "evaluate", Scheduled(), parameters=parameters)
        others = other_run(client, "resume", Scheduled(), parameters={"config": {"experiment": "cls-x-1"}})
        done = cancel(config)
        assert len(done.runs) == 2
        assert done.standing == "cancelled"
        states = [client.read_flow_run(run).state_type for run in (waiting, tagged, looking, others)]
        assert states == [StateType.CANCELLED, StateType.CANCELLED, StateType.SCHEDULED, StateType.SCHEDULED]
        for run in (looking, others):
            client.delete_flow_run(run)


def test_a_whole_cycle_is_cancelled_only_where_that_is_said(
    workspace: Workspace, made: str, other_run: Callable[..., UUID]
) -> None:
    note = workspace.experiments / made / "logs" / "run.json"
    with get_client(sync_client=True) as client:
        run = other_run(client, "research-cycle", Running())
        note.write_text(note.read_text().replace('"run_id": ""', f'"run_id": "{run}"'))
        with pytest.raises(InputError, match="whole cycle"):
            cancel(CancelConfig(workspace=workspace.root, experiment=made))
        assert client.read_flow_run(run).state_type is StateType.RUNNING
        client.delete_flow_run(run)


def test_a_tag_names_its_experiment_whole(other_run: Callable[..., UUID]) -> None:
    with get_client(sync_client=True) as client:
        run = client.read_flow_run(other_run(client, "experiment", Scheduled(), tags=["arc-cycle:eyes-1/cls-x-12"]))
        assert names(run, "cls-x-12")
        assert not names(run, "cls-x-1")
        client.delete_flow_run(run.id)


def test_the_status_says_how_server_machine_and_books_stand(
    workspace: Workspace, made: str, capsys: pytest.CaptureFixture[str]
) -> None:
    from flows.results_control import show_status

    Variable.set("arc_mode", "semi", overwrite=True)
    found = status(StatusConfig(workspace=workspace.root))
    assert found.server_version.startswith("3.8")
    assert (found.mode, found.experiments) == ("semi", {"proposed": 1})
    assert "status" in {run.flow for run in found.running}
    assert found.machine.disk_total_gb > 0
    assert bool(found.machine.gpus) != bool(found.machine.no_gpus)
    capsys.readouterr()
    show_status(found)
    assert "Work pools" in capsys.readouterr().out
    Variable.unset("arc_mode")
