"""Watch, gpus, drain, undrain and recover against a real server; no GPU and no worker is needed."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import psutil
import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey
from prefect.client.schemas.objects import FlowRun
from prefect.events.actions import DoNothing
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture
from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound
from prefect.states import Cancelled, Crashed, Running

from flows.cli import DONE, main
from flows.configs_machine import DrainConfig, GpusConfig, RecoverConfig, UndrainConfig, WatchConfig
from flows.drain import drain
from flows.gpus import gpus
from flows.recover import recover
from flows.results_machine import show_watch
from flows.undrain import undrain
from flows.watch import watch
from glaucoma.errors import InputError, SettingsError
from glaucoma.machine.drained import drained, this_host
from glaucoma.machine.host import read_machine
from glaucoma.machine.processes import RUN_ID, VISIBLE
from glaucoma.machine.store import Store, only_watch, store_path
from glaucoma.records.cycle_turn import cycle_turn
from glaucoma.records.ended import TrainingRun, note_run
from glaucoma.records.ledger import Ledger
from glaucoma.records.recoveries import Recoveries
from glaucoma.records.words import Standing
from glaucoma.training import gpu_work
from glaucoma.training.experiment import Experiment, Status, create_experiment
from glaucoma.training.processes import MARK, mark_of
from glaucoma.training.settings import ExecutionSettings
from glaucoma.training.spec import experiment_id
from glaucoma.workspace import Workspace
from tasks import drain as drain_task
from tasks import recover as recover_task
from tasks import watch as watch_task
from tasks.stage import artifact_key

POOL = "arc-gpu"
ONCE = {"take": {"samples": 2, "interval_s": 0.0}}


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace.at(tmp_path)


@pytest.fixture(scope="module")
def deployments() -> dict[str, UUID]:
    """The pool with a few of its queues, and deployments by the names that are looked for; nobody takes their runs."""
    found = {}
    with get_client(sync_client=True) as client:
        with contextlib.suppress(ObjectAlreadyExists):
            client.create_work_pool(WorkPoolCreate(name=POOL, type="process"))
        for name in ("p00-any", "p05-any", "p00-gpu61", "p05-gpu61", "p05-gpu62", "p02-any", "p02-gpu63"):
            try:
                client.read_work_queue_by_name(name, POOL)
            except ObjectNotFound:
                client.create_work_queue(name=name, work_pool_name=POOL)
        for name in ("train", "resume", "research-cycle", "planned-experiment", "validate"):
            flow_id = client.create_flow_from_name(name)
            found[name] = client.create_deployment(
                flow_id, name, work_pool_name=POOL, work_queue_name="p05-any", enforce_parameter_schema=False
            )
    return found


@pytest.fixture
def lost(tiny: Any, workspace: Workspace, deployments: dict[str, UUID]) -> Callable[..., tuple[FlowRun, Experiment]]:
    """A crashed run of a deployment, and an experiment that it was training."""

    def make(
        deployment: str = "train", seed: int = 0, tags: tuple[str, ...] = (), queue: str = "p05-any"
    ) -> tuple[FlowRun, Experiment]:
        config = {"workspace": str(workspace.root), "preset": "smoke", "name": "tiny"}
        if deployment == "planned-experiment":
            config["experiment"] = experiment_id(tiny.tiny_spec(seed=seed))
        with get_client(sync_client=True) as client:
            run = client.create_flow_run_from_deployment(
                deployments[deployment], parameters={"config": config}, tags=tags, work_queue_name=queue
            )
            client.set_flow_run_state(run.id, Crashed(message="its machine lost power"), force=True)
        spec = tiny.tiny_spec(seed=seed)
        note_run(spec, workspace, TrainingRun(run_id=str(run.id), execution=ExecutionSettings(device="cpu", threads=1)))
        made = create_experiment(spec, workspace)
        made.set_status(Status.RUNNING)
        return run, made

    return make


def runs(*ids: UUID) -> list[FlowRun]:
    with get_client(sync_client=True) as client:
        return [client.read_flow_run(one) for one in ids]


def artifacts(key: str) -> list[Any]:
    with get_client(sync_client=True) as client:
        return client.read_artifacts(artifact_filter=ArtifactFilter(key=ArtifactFilterKey(any_=[key])))


def queues(*names: str) -> dict[str, bool]:
    with get_client(sync_client=True) as client:
        return {name: client.read_work_queue_by_name(name, POOL).is_paused for name in names}


def of(workspace: Workspace, kind: type[Any], **more: Any) -> Any:
    return kind.model_validate({"workspace": workspace.root, **more})


def test_a_crashed_training_goes_on_in_one_new_run_that_is_urgent_and_later(
    lost: Callable[..., tuple[FlowRun, Experiment]], workspace: Workspace
) -> None:
    run, experiment = lost()
    before = datetime.now(UTC)
    done = recover(of(workspace, RecoverConfig, flow_run=run.id, delay_s=3600))
    (new,) = runs(*done.started)
    assert done.experiments == [experiment.experiment_id]
    assert new.parameters["config"]["experiment"] == experiment.experiment_id
    assert new.parameters["config"]["preset"] == "smoke"
    assert new.work_queue_name == "p00-any"
    assert new.next_scheduled_start_time is not None
    assert new.next_scheduled_start_time >= before + timedelta(seconds=3600)
    assert experiment.status is Status.INTERRUPTED
    assert "lost power" in experiment.metadata.history[-1].reason
    assert Ledger(workspace.ledger_url).experiment(experiment.experiment_id).status is Standing.INTERRUPTED
    assert recover(of(workspace, RecoverConfig, flow_run=run.id)).started == done.started, "once for each crash"
    table = json.loads(max(artifacts("recover"), key=lambda one: one.created).data)
    assert table[0]["became"] == f"new run {new.id}"


def test_a_recovery_that_was_cut_off_finds_the_runs_it_had_made(
    lost: Callable[..., tuple[FlowRun, Experiment]], workspace: Workspace
) -> None:
    run, _ = lost()
    done = recover(of(workspace, RecoverConfig, flow_run=run.id))
    path = workspace.root / "recoveries" / f"{run.id}.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "started": []}))  # as if killed before it was written
    assert recover(of(workspace, RecoverConfig, flow_run=run.id)).started == done.started


def test_a_crash_that_nobody_answered_is_found_and_taken_up_once(
    lost: Callable[..., tuple[FlowRun, Experiment]], workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, _ = lost()
    missed = of(workspace, RecoverConfig, look_back_h=0.1)
    recover(missed)
    assert Recoveries(workspace).of(run.id) is None, "it has just crashed: the automation's turn"
    monkeypatch.setattr(recover_task, "_ITS_TURN", timedelta(0))
    done = recover(missed)
    assert done.flow_run is None
    assert set(Recoveries(workspace).of(run.id).started) <= set(done.started)
    assert not recover(missed).taken_up


def test_where_the_automation_is_switched_off_no_missed_crash_is_taken_up(
    lost: Callable[..., tuple[FlowRun, Experiment]], workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recover_task, "_ITS_TURN", timedelta(0))
    lost()
    missed = of(workspace, RecoverConfig, look_back_h=0.1)
    trigger = EventTrigger(expect={"made.up"}, posture=Posture.Reactive, threshold=1, within=timedelta(0))
    off = AutomationCore(name=recover_task.AUTOMATION, enabled=False, trigger=trigger, actions=[DoNothing()])
    with get_client(sync_client=True) as client:
        made = client.create_automation(off)
        assert not recover(missed).taken_up
        client.delete_automation(made)
    assert recover(missed).taken_up


def test_an_experiment_that_crashes_again_and_again_is_left_alone(
    lost: Callable[..., tuple[FlowRun, Experiment]], workspace: Workspace
) -> None:
    for left in ({}, {}, None):
        run, experiment = lost()
        done = recover(of(workspace, RecoverConfig, flow_run=run.id, most_per_experiment=2))
        assert bool(done.started) == (left is not None)
    assert done.left == {experiment.experiment_id: "was taken up 2 times already"}


def test_a_crashed_cycle_is_started_again_once_with_its_tags(
    lost: Callable[..., tuple[FlowRun, Experiment]], workspace: Workspace
) -> None:
    run, _ = lost("research-cycle", tags=("by-hand",))
    done = recover(of(workspace, RecoverConfig, flow_run=run.id))
    (again,) = runs(*done.started)
    assert done.again
    assert again.parameters == run.parameters
    assert again.deployment_id == run.deployment_id
    assert "by-hand" in again.tags
    with get_client(sync_client=True) as client:
        client.set_flow_run_state(again.id, Crashed(), force=True)
    second = recover(of(workspace, RecoverConfig, flow_run=again.id))
    assert second.started == []
    assert "crashed each time" in next(iter(second.left.values()))


def test_a_cycle_or_planned_experiment_whose_process_lives_is_not_started_a_second_time(
    lost: Callable[..., tuple[FlowRun, Experiment]], workspace: Workspace
) -> None:
    cut_off, _ = lost("research-cycle", seed=13)
    with cycle_turn("tiny-0001-abc", str(cut_off.id), workspace):
        done = recover(of(workspace, RecoverConfig, flow_run=cut_off.id))
    assert (done.started, done.again) == ([], False)
    assert "the process of that run, which lives" in done.left["tiny-0001-abc"]
    trains, experiment = lost("planned-experiment", seed=14)
    (experiment.folder / "logs" / "run.json").unlink()  # its note may lie on another machine, or not be written yet
    with experiment.lock(workspace):
        done = recover(of(workspace, RecoverConfig, flow_run=trains.id))
    assert (done.started, done.again) == ([], False)
    assert "is being trained by another process" in done.left[experiment.experiment_id]
    dead, experiment = lost("planned-experiment", seed=15)
    assert recover(of(workspace, RecoverConfig, flow_run=dead.id)).again


def test_queues_that_another_machines_worker_serves_stay_open_and_the_mark_alone_holds_this_one_back(
    workspace: Workspace, deployments: dict[str, UUID]
) -> None:
    with get_client(sync_client=True) as client:
        for name in (f"arc-gpu62-{this_host()}", "arc-gpu6-another-host", "arc-gpu-all-another-host"):
            client.send_worker_heartbeat(POOL, name, 30)
        assert drain(of(workspace, DrainConfig, gpu=62)).paused == ["p05-gpu62"], "nobody else serves it"
        assert undrain(of(workspace, UndrainConfig, gpu=62)).resumed == ["p05-gpu62"]
        client.send_worker_heartbeat(POOL, "arc-gpu62-another-host", 30)
        assert drain(of(workspace, DrainConfig, gpu=62)).paused == []
        assert queues("p05-gpu62") == {"p05-gpu62": False}
        assert [mark.gpu for mark in drained(workspace)] == [62]
        assert undrain(of(workspace, UndrainConfig, gpu=62)).was_drained
        for worker in client.read_workers_for_work_pool(POOL):
            client.request(
                "DELETE",
                "/work_pools/{name}/workers/{worker}",
                path_params={"name": POOL, "worker": worker.name},
            )


def test_a_planned_experiment_of_a_drained_gpu_stands_in_the_queue_for_any(
    lost: Callable[..., tuple[FlowRun, Experiment]],
    workspace: Workspace,
    on_gpu: Callable[..., int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(drain_task, "_STATE_PATIENCE_S", 0.0)
    run, _ = lost("planned-experiment", seed=11, queue="p02-gpu63", tags=("arc-cycle:a/b",))
    for crashed_before in range(3):  # a person may drain as often as they like
        with get_client(sync_client=True) as client:
            client.set_flow_run_state(run.id, Running(), force=True)
        on_gpu(run.id, 63)
        done = drain(of(workspace, DrainConfig, gpu=63, end_run=True, end_grace_s=60))
        assert queues("p02-gpu63") == {"p02-gpu63": True}
        assert len(done.started) == 1, f"after {crashed_before} drains"
        (run,) = runs(*done.started)
        assert run.work_queue_name == "p02-any"
        assert "arc-cycle:a/b" in run.tags
    assert undrain(of(workspace, UndrainConfig, gpu=63)).resumed == ["p02-gpu63"]
    run, _ = lost("planned-experiment", seed=12, queue="p02-gpu63")
    (again,) = runs(*recover(of(workspace, RecoverConfig, flow_run=run.id)).started)
    assert again.work_queue_name == "p02-gpu63"


def test_what_is_not_crashed_or_trains_nothing_is_left(
    lost: Callable[..., tuple[FlowRun, Experiment]], workspace: Workspace
) -> None:
    cancelled, _ = lost()
    with get_client(sync_client=True) as client:
        client.set_flow_run_state(cancelled.id, Cancelled(), force=True)
    validation, _ = lost("validate")
    for run in (cancelled, validation):
        assert not recover(of(workspace, RecoverConfig, flow_run=run.id)).taken_up
    with pytest.raises(InputError, match="knows no flow run"):
        recover(of(workspace, RecoverConfig, flow_run=uuid4()))


@pytest.fixture
def on_gpu() -> Iterator[Callable[..., int]]:
    """A process that stands for a run on a GPU: as its worker starts it, but it only waits."""
    started = []

    def start(run_id: UUID, gpu: int, **more: str) -> int:
        environment = {**os.environ, RUN_ID: str(run_id), VISIBLE: str(gpu), **more}
        waits = [sys.executable, "-c", "print(flush=True); import time; time.sleep(600)"]
        started.append(subprocess.Popen(waits, env=environment, stdout=subprocess.PIPE))
        assert started[-1].stdout is not None
        started[-1].stdout.readline()
        return started[-1].pid

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_a_busy_gpu_is_drained_its_run_goes_on_elsewhere_and_undrain_gives_it_back(
    lost: Callable[..., tuple[FlowRun, Experiment]],
    workspace: Workspace,
    on_gpu: Callable[..., int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(drain_task, "_STATE_PATIENCE_S", 0.0)  # no worker sees the end of the run
    with get_client(sync_client=True) as client:
        paused = client.read_work_queue_by_name("p00-gpu61", POOL)
        client.update_work_queue(paused.id, is_paused=True)  # by a person
    run, experiment = lost()
    with get_client(sync_client=True) as client:
        client.set_flow_run_state(run.id, Running(), force=True)
    on_gpu(run.id, 61)
    shown = gpus(of(workspace, GpusConfig))
    assert shown.gpus == [] or shown.no_gpus == ""
    done = drain(of(workspace, DrainConfig, gpu=61, reason="smells", end_run=True, end_grace_s=60))
    assert done.ended == [str(run.id)]
    assert done.paused == ["p05-gpu61"]
    assert queues("p00-gpu61", "p05-gpu61", "p05-gpu62") == {"p00-gpu61": True, "p05-gpu61": True, "p05-gpu62": False}
    assert [mark.reason for mark in drained(workspace)] == ["smells"]
    old, new = runs(run.id, *done.started)
    assert old.state is not None
    assert old.state.is_crashed()
    assert new.work_queue_name == "p00-any"
    assert new.parameters["config"]["experiment"] == experiment.experiment_id
    (state,) = [one for one in gpus(of(workspace, GpusConfig)).gpus if one.gpu == 61]
    assert state.drained == "smells"
    back = undrain(of(workspace, UndrainConfig, gpu=61))
    assert (back.was_drained, back.resumed) == (True, ["p05-gpu61"])
    assert queues("p00-gpu61", "p05-gpu61") == {"p00-gpu61": True, "p05-gpu61": False}, "a person's pause stays"
    assert not drained(workspace)
    assert not undrain(of(workspace, UndrainConfig, gpu=61)).was_drained


def test_a_run_of_another_server_on_a_drained_gpu_is_left_to_that_one(
    workspace: Workspace, on_gpu: Callable[..., int], deployments: dict[str, UUID]
) -> None:
    del deployments
    process = psutil.Process(on_gpu(uuid4(), 60))
    done = drain(of(workspace, DrainConfig, gpu=60, end_run=True, end_grace_s=60))
    assert done.ended == []
    assert process.status() != psutil.STATUS_ZOMBIE


@pytest.fixture
def made_up_driver() -> Any:
    """The stand-in for NVML of the unit tests: TEST DATA."""
    path = Path(__file__).parents[1] / "unit" / "machine" / "conftest.py"
    found = importlib.util.spec_from_file_location("made_up_machine", path)
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module.MadeUpDriver


def test_a_gpu_that_hangs_is_told_and_drained_and_its_experiment_goes_on_elsewhere(
    lost: Callable[..., tuple[FlowRun, Experiment]],
    workspace: Workspace,
    on_gpu: Callable[..., int],
    made_up_driver: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(drain_task, "_STATE_PATIENCE_S", 0.0)
    told = []
    for module in (watch_task, drain_task):
        monkeypatch.setattr(module, "emit_event", lambda event, **more: told.append((event, more["payload"]["gpu"])))
    busy_without_traffic = SimpleNamespace(gpu=100, memory=0)
    driver = made_up_driver(nvmlDeviceGetUtilizationRates=busy_without_traffic, processes=[])
    monkeypatch.setitem(sys.modules, "pynvml", driver)
    run, experiment = lost(seed=5)
    with get_client(sync_client=True) as client:
        client.set_flow_run_state(run.id, Running(), force=True)
    on_gpu(run.id, 1, **{MARK: mark_of(experiment.folder)})
    now, began = datetime.now(UTC), datetime.now(UTC) - timedelta(hours=3)
    found = gpu_work.run_processes
    monkeypatch.setattr(gpu_work, "run_processes", lambda names: [replace(one, began_at=began) for one in found(names)])
    line = {"time": (now - timedelta(hours=2)).isoformat(), "step": 3}
    experiment.progress_path.write_text(json.dumps(line) + "\n")
    for minutes in range(0, 90, 5):
        Store(store_path(workspace)).put([read_machine({}, now - timedelta(minutes=minutes), driver)])
    done = watch(of(workspace, WatchConfig, watch={**ONCE, "hangs": {"hang_after_s": 3600, "end_grace_s": 60}}))
    assert done.drained == [1]
    assert told == [("arc.gpu.hung", 1), ("arc.gpu.drained", 1)]
    assert "moves no memory" in done.changes[0]
    assert experiment.experiment_id in done.changes[0]
    assert [mark.gpu for mark in drained(workspace)] == [1]
    recovery = Recoveries(workspace).of(run.id)
    assert recovery is not None
    (new,) = runs(*recovery.started)
    assert new.parameters["config"]["experiment"] == experiment.experiment_id
    assert new.work_queue_name == "p00-any"
    assert watch(of(workspace, WatchConfig, watch=ONCE)).changes == []


def test_a_driver_that_does_not_answer_drains_and_ends_no_run_that_moves(
    lost: Callable[..., tuple[FlowRun, Experiment]],
    workspace: Workspace,
    on_gpu: Callable[..., int],
    made_up_driver: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(drain_task, "_STATE_PATIENCE_S", 0.0)
    told = []
    for module in (watch_task, drain_task):
        monkeypatch.setattr(module, "emit_event", lambda event, **more: told.append((event, more["payload"]["gpu"])))
    monkeypatch.setitem(sys.modules, "pynvml", made_up_driver(processes=[]))
    config = of(workspace, WatchConfig, watch={**ONCE, "hangs": {"hang_after_s": 900, "end_grace_s": 60}})
    assert watch(config).changes == []
    run, experiment = lost(seed=6)
    with get_client(sync_client=True) as client:
        client.set_flow_run_state(run.id, Running(), force=True)
    on_gpu(run.id, 1, **{MARK: mark_of(experiment.folder)})
    mismatch = {"nvmlInit": (18, "Driver/library version mismatch")}
    monkeypatch.setitem(sys.modules, "pynvml", made_up_driver(mismatch, processes=[]))
    assert watch(config).drained == [0, 1]
    assert [mark.gpu for mark in drained(workspace)] == [0, 1]
    assert Recoveries(workspace).of(run.id) is None, "it moves: it is left alone"
    assert watch(config).changes == []
    began = datetime.now(UTC) - timedelta(hours=1)
    found = gpu_work.run_processes
    monkeypatch.setattr(gpu_work, "run_processes", lambda names: [replace(one, began_at=began) for one in found(names)])
    assert watch(config).drained == [1]
    recovery = Recoveries(workspace).of(run.id)
    assert recovery is not None
    assert recovery.experiments == (experiment.experiment_id,)
    monkeypatch.setitem(sys.modules, "pynvml", made_up_driver(processes=[]))
    back = watch(config)
    assert [message[:30] for message in back.changes] == [f"The driver reaches GPU {gpu} again" for gpu in (0, 1)]
    assert [mark.gpu for mark in drained(workspace)] == [0, 1], "until a person trusts it"
    errors = [("arc.gpu.error", 0), ("arc.gpu.error", 1), ("arc.gpu.drained", 0), ("arc.gpu.drained", 1)]
    assert told == [*errors, ("arc.gpu.hung", 1), ("arc.gpu.reached", 0), ("arc.gpu.reached", 1)]


def test_a_gpu_of_another_machine_is_not_touched(workspace: Workspace) -> None:
    with pytest.raises(SettingsError, match="on another-host"):
        drain(of(workspace, DrainConfig, gpu=0, host="another-host"))
    assert not drained(workspace)


def test_watch_keeps_shows_in_place_and_says_that_there_is_no_gpu(
    workspace: Workspace, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = watch(of(workspace, WatchConfig, watch=ONCE))
    assert first.reading is not None
    assert bool(first.reading.gpus) != bool(first.reading.no_gpus)
    store = Store(store_path(workspace))
    assert len(store.host_rows(first.reading.at - timedelta(hours=1))) == 2
    table, plot = (artifact_key(kind, this_host()) for kind in ("machine", "machine-plot"))
    (shown,) = artifacts(table)
    (picture,) = artifacts(plot)
    assert picture.data.startswith("data:image/png;base64,")
    assert len(picture.data) < 300_000
    arguments = ["--workspace", str(workspace.root), "--watch.take.samples", "1"]
    assert main(watch, WatchConfig, show=show_watch, arguments=arguments) == DONE
    assert f"{this_host()}: name" in capsys.readouterr().out
    (again,) = artifacts(table)
    assert again.id == shown.id
    assert again.description != shown.description
    assert [one.data for one in artifacts(plot)] == [picture.data], "a new picture after ten minutes alone"


def test_watch_tells_a_change_once_and_does_nothing_beside_another(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = []
    monkeypatch.setattr(watch_task, "emit_event", lambda event, **more: told.append((event, more["resource"])))
    full = {**ONCE, "thresholds": {"disk_low_gb": 1e9, "disk_enough_gb": 2e9}}
    first = watch(of(workspace, WatchConfig, watch=full))
    assert len(first.changes) == 1
    assert "the limit is 1e+09 GB" in first.changes[0]
    assert watch(of(workspace, WatchConfig, watch=full)).changes == []
    plenty = {**ONCE, "thresholds": {"disk_low_gb": 1e-6, "disk_enough_gb": 2e-6}}
    assert watch(of(workspace, WatchConfig, watch=plenty)).changes != []
    assert [event for event, _ in told] == ["arc.disk.low", "arc.disk.enough"]
    assert told[0][1]["prefect.resource.id"] == f"arc.host.{this_host()}"
    with only_watch(workspace):
        assert not watch(of(workspace, WatchConfig, watch=ONCE)).alone
