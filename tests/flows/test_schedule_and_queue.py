"""A batch of experiments in the queues for the GPUs, and the queues as they stand."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import yaml
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterState, FlowRunFilterStateType
from prefect.client.schemas.objects import StateType
from prefect.states import Cancelled, Running
from prefect.utilities.callables import parameter_schema
from prefect.utilities.schema_tools.validation import validate

from flows.cli import parse
from flows.configs_queue import PlannedExperimentConfig, QueueConfig, ScheduleConfig
from flows.planned_experiment import planned_experiment
from flows.queue import queue
from flows.queues import GPU_POOL
from flows.results_queue import ScheduleResult, show_queue, show_schedule
from flows.schedule import schedule
from glaucoma.errors import NotFoundError, SettingsError
from glaucoma.schema import Task
from tests.flows.gpu_pool import make_pools


@pytest.fixture(scope="module")
def workspace(tiny: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root: Path = tmp_path_factory.mktemp("workspace")
    tiny.make_prepared(root)
    make_pools()
    return root


@pytest.fixture
def batch(workspace: Path, tiny: Any) -> Callable[..., ScheduleConfig]:
    def make(*experiments: dict[str, Any], **more: Any) -> ScheduleConfig:
        train = {"classifier": "small_cnn", "encoder": "small_unet", "input_px": 32, "pretrained": False}
        default = {"name": tiny.DATASET, "train": train, "queue": {"priority": 8}}
        given = {"workspace": workspace, "preset": "smoke", "default": default, "experiments": list(experiments)}
        return ScheduleConfig.model_validate({**given, **more})

    return make


@pytest.fixture
def emptied() -> Iterator[None]:
    """Leaves nothing waiting for the tests that follow."""
    yield
    waiting = FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.SCHEDULED])))
    with get_client(sync_client=True) as client:
        for run in client.read_flow_runs(flow_run_filter=waiting):
            client.set_flow_run_state(run.id, Cancelled(), force=True)


def submitted_to(result: ScheduleResult) -> list[Any]:
    with get_client(sync_client=True) as client:
        return [client.read_flow_run(UUID(row.run_id)) for row in result.rows]


@pytest.mark.usefixtures("emptied")
def test_a_batch_stands_in_the_queues_by_priority_and_a_second_call_doubles_nothing(
    batch: Callable[..., ScheduleConfig], capsys: pytest.CaptureFixture[str]
) -> None:
    config = batch({"train": {"seed": 1}}, {"train": {"seed": 2}, "queue": {"priority": 2}}, {"train": {"seed": 3}})
    would = schedule(config.model_copy(update={"dry_run": True}))
    assert [row.run_id for row in would.rows] == ["", "", ""]
    done = schedule(config)
    assert [row.experiment_id for row in done.rows] == [row.experiment_id for row in would.rows]
    assert (done.submitted, done.there_already) == (3, 0)
    runs = submitted_to(done)
    assert [run.work_queue_name for run in runs] == ["p02-any", "p08-any", "p08-any"]
    given = [run.parameters["config"] for run in runs]
    assert [one["train"]["seed"] for one in given] == [2, 1, 3]
    assert {one["prepared"] for one in given} == {"0123456789abcdef"}
    assert all(run.parent_task_run_id is None for run in runs)
    again = schedule(config)
    assert (again.submitted, again.there_already) == (0, 3)
    assert [row.run_id for row in again.rows] == [row.run_id for row in done.rows]
    show_schedule(again)
    assert "0 submitted, 3 there already" in capsys.readouterr().out


def test_a_batch_is_refused_as_a_whole_with_all_that_is_wrong_with_it(
    batch: Callable[..., ScheduleConfig], tmp_path: Path
) -> None:
    rules = tmp_path / "rules.yaml"
    rules.write_text("epochs: [1, 5]\n")
    wrong = batch(
        {"train": {"epochs": 2}},
        {"name": "nowhere"},
        {"train": {"classifier": "resnet_of_mine", "epochs": 2}},
        {"train": {"epochs": 2}},
        {"train": {"epochs": 50}},
        {"task": "segmentation", "train": {"pretrained": True, "weights_path": "/none"}},
        rules=rules,
    )
    with pytest.raises(SettingsError) as refused:
        schedule(wrong)
    told = str(refused.value)
    for word in (
        "5 of 6 experiments cannot run",
        "2: No prepared dataset nowhere",
        "3: No classifier is called",
        "4: it is the same experiment as 1",
        "5: epochs 50 lies outside",
        "6: ",
        "None was submitted",
    ):
        assert word in told, told


@pytest.mark.parametrize(
    ("experiment", "message"),
    [
        ({"train": {"execution": {"devices": 2}}}, "execution.devices is 2, and queue.gpu is any"),
        ({"queue": {"gpu": "all"}}, "queue.gpu is all, and execution.devices is 1"),
        ({"queue": {"gpu": "gpu0; rm"}}, "should match pattern"),
        ({"queue": {"priority": 11}}, "less than or equal to 10"),
        ({"trane": {}}, "Extra inputs"),
        ({"workspace": "/etc"}, "Extra inputs"),
    ],
)
def test_what_no_worker_could_run_is_refused_with_the_form(
    batch: Callable[..., ScheduleConfig], experiment: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        batch(experiment)


def test_a_batch_names_a_dataset_and_holds_1_to_500_experiments() -> None:
    with pytest.raises(ValueError, match="experiment 1 names no dataset"):
        ScheduleConfig.model_validate({"experiments": [{}]})
    for count in (0, 501):
        with pytest.raises(ValueError, match="experiments"):
            ScheduleConfig.model_validate({"experiments": [{"name": "eyes"}] * count})


def test_an_experiment_lies_over_the_default_and_both_over_the_preset(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sys, "argv", ["/somewhere/flows/schedule.py"])
    file = tmp_path / "batch.yaml"
    file.write_text(
        yaml.safe_dump(
            {
                "preset": "smoke",
                "default": {"name": "eyes", "train": {"epochs": 3, "seed": 7}, "queue": {"gpu": "gpu1"}},
                "experiments": [{}, {"task": "segmentation", "train": {"seed": 8}, "queue": {"priority": 0}}],
            }
        )
    )
    config, _ = parse(ScheduleConfig, ["--config", str(file), "--dry-run"])
    assert config.dry_run
    first, second = config.experiments
    assert (first.train.epochs, first.train.seed, second.train.epochs, second.train.seed) == (3, 7, 3, 8)
    assert (first.queue.name, second.queue.name) == ("p05-gpu1", "p00-gpu1")
    assert (first.task, second.task) == (Task.CLASSIFICATION, Task.SEGMENTATION)
    assert first.train.classifier == "resnet10t"  # of the preset
    validate({"config": config.model_dump(mode="json")}, parameter_schema(schedule).model_dump_for_openapi())


@pytest.mark.usefixtures("emptied")
def test_the_queue_shows_what_runs_then_what_waits_in_its_order(
    batch: Callable[..., ScheduleConfig], capsys: pytest.CaptureFixture[str]
) -> None:
    devices = {"execution": {"devices": 2, "device": "cpu"}}
    done = schedule(
        batch(
            {"train": {"seed": 11}},
            {"train": {"seed": 12}, "queue": {"priority": 2}},
            {"train": {"seed": 13, **devices}, "queue": {"priority": 5, "gpu": "all"}},
        )
    )
    urgent, whole, late = submitted_to(done)
    with get_client(sync_client=True) as client:
        client.set_flow_run_state(urgent.id, Running(), force=True)
        client.update_flow_run_labels(urgent.id, {"prefect.worker.name": "arc-gpu0-here"})
        client.update_work_queue(client.read_work_queue_by_name("p08-any", work_pool_name=GPU_POOL).id, is_paused=True)
    try:
        result = queue(QueueConfig())
    finally:
        with get_client(sync_client=True) as client:
            client.update_work_queue(
                client.read_work_queue_by_name("p08-any", work_pool_name=GPU_POOL).id, is_paused=False
            )
    rows = [row for row in result.rows if row.run_id in {str(one.id) for one in (urgent, whole, late)}]
    assert [row.run_id for row in rows] == [str(urgent.id), str(whole.id), str(late.id)]
    assert (rows[0].state, rows[0].worker, rows[0].place) == ("running", "arc-gpu0-here", None)
    assert rows[0].since is not None
    assert rows[1].waits_for == "a worker: none of arc-gpu is online"
    assert rows[2].waits_for == "queue p08-any, which is paused"
    assert "queue arc-gpu/p08-any" in result.paused  # beside those of GPUs that other tests have drained
    assert any("no worker of arc-gpu is online" in note for note in result.notes)
    with get_client(sync_client=True) as client:
        client.set_flow_run_state(urgent.id, Cancelled(), force=True)
    show_queue(result)
    assert f"paused: {result.paused[0]}" in capsys.readouterr().out
    assert len(queue(QueueConfig(most_rows=1)).rows) == 1


def test_a_planned_experiment_is_what_the_plan_says_and_nothing_else(workspace: Path) -> None:
    given = {"workspace": workspace, "cycle": "eyes-0001-0a1b2c", "experiment": "cls-small_cnn-0a1b2c3d"}
    with pytest.raises(NotFoundError, match="knows the plan of eyes-0001-0a1b2c"):
        planned_experiment(PlannedExperimentConfig.model_validate(given))
    for name, value in (("cycle", "../../etc"), ("cycle", "eyes-0001-0a1b2c/.."), ("experiment", "../x"), ("spec", {})):
        with pytest.raises(ValueError, match=name):
            PlannedExperimentConfig.model_validate({**given, name: value})
