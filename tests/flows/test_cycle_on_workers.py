"""A cycle that a worker runs: its experiments are runs of their own in the GPUs' queues, and it waits for them."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterName, FlowRunFilterParentFlowRunId
from prefect.client.schemas.objects import FlowRun
from prefect.flow_engine import run_flow
from prefect.states import Crashed, Pending

from blocks.dvc_remote import DvcRemote
from flows import research_cycle as module
from flows.configs import ResearchCycleConfig
from flows.configs_machine import RecoverConfig
from flows.planned_experiment import planned_experiment
from flows.recover import recover
from flows.research_cycle import cycle_identity, research_cycle
from glaucoma.planning.settings import Rules
from glaucoma.records.words import CycleStatus, Standing
from glaucoma.training.experiment import list_experiments
from glaucoma.workspace import Workspace
from tests.flows.gpu_pool import make_pools, recovering, worker


def config(archive: Path, workspace: Path, **more: Any) -> ResearchCycleConfig:
    train = {"epochs": 1, "input_px": 32, "batch_size": 8, "classifier": "small_cnn", "execution": {"device": "cpu"}}
    return ResearchCycleConfig.model_validate(
        {
            "archive": archive,
            "workspace": workspace,
            "name": "queued",
            "preset": "smoke",
            "train": train,
            "preprocess": {"image_size_px": 64},
            "evaluate": {"replicates": 100},
            "explain": {"max_images": 4, "overlays": 2},
            "queue": {"priority": 2},
            **more,
        }
    )


def children(name: str) -> list[FlowRun]:
    with get_client(sync_client=True) as client:
        named = FlowRunFilter(name=FlowRunFilterName(any_=[name]))
        newest = max(client.read_flow_runs(flow_run_filter=named), key=lambda run: run.created)
        inside = FlowRunFilter(parent_flow_run_id=FlowRunFilterParentFlowRunId(any_=[newest.id]))
        return [run for run in client.read_flow_runs(flow_run_filter=inside) if run.deployment_id]


def test_its_experiments_are_runs_of_their_own_that_are_waited_for_over_a_crash_and_lost_where_it_repeats(
    archives: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_pools()
    monkeypatch.setenv("PREFECT__RUNTIME__DEPLOYMENT__ID", str(uuid4()))  # as in a run that a worker started
    monkeypatch.setattr(module, "attempt", None)  # nothing is trained in the cycle's own process
    taken: list[FlowRun] = []

    def run(one: FlowRun) -> None:
        taken.append(one)
        experiment = one.parameters["config"]["experiment"]
        starts = sum(before.parameters["config"]["experiment"] == experiment for before in taken)
        recovered = experiment == taken[0].parameters["config"]["experiment"] and starts > 1
        with get_client(sync_client=True) as client:
            client.set_flow_run_state(one.id, Pending())
            if not recovered:
                client.set_flow_run_state(one.id, Crashed(message="exit code -9"), force=True)
        if recovered:
            run_flow(planned_experiment, flow_run=one)
        else:
            recover(RecoverConfig(workspace=tmp_path, flow_run=one.id, delay_s=0.0))  # as the automation does

    with recovering(), worker(run):
        record = research_cycle(config(archives / "folders.zip", tmp_path, recovery_s=20.0)).record
    assert record.status is CycleStatus.COMPLETED
    assert [e.status for e in record.experiments] == [Standing.COMPLETED, Standing.INTERRUPTED]
    assert record.experiments[1].failure.endswith("crashed: exit code -9")
    runs = children("research-cycle-queued")
    assert len(runs) == 2
    assert {one.id for one in runs} < {one.id for one in taken}
    assert len(taken) == 4, "each once more after its first crash"
    assert {one.work_queue_name for one in runs} == {"p02-any"}
    assert {tuple(sorted(one.parameters["config"])) for one in runs} == {
        ("cycle", "evaluate", "execution", "experiment", "explain", "preset", "workspace")
    }


def test_on_a_machine_of_its_own_a_worker_has_all_from_the_ledger_and_the_remote_and_sends_the_results(
    archives: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_pools()
    DvcRemote(url=str(tmp_path / "remote")).save("shared-by-workers", overwrite=True)  # type: ignore[unused-coroutine]
    monkeypatch.setenv("ARC_REMOTE_BLOCK", "shared-by-workers")
    monkeypatch.setenv("ARC_LEDGER_URL", f"sqlite:///{tmp_path / 'shared-ledger.db'}")
    monkeypatch.setenv("PREFECT__RUNTIME__DEPLOYMENT__ID", str(uuid4()))  # as in a run that a worker started
    monkeypatch.setattr(module, "attempt", None)  # nothing is trained in the cycle's own process
    here, there = tmp_path / "here", tmp_path / "there"

    def run(one: FlowRun) -> None:
        one.parameters["config"]["workspace"] = str(there)
        run_flow(planned_experiment, flow_run=one)

    with worker(run):
        chosen = config(archives / "folders.zip", here, registry={"remote_block": "shared-by-workers"})
        record = research_cycle(chosen).record
    assert record.status is CycleStatus.COMPLETED
    names = {one.experiment_id for one in record.experiments}
    assert {one.status for one in record.experiments} == {Standing.COMPLETED}
    assert not list(there.glob("cycles/*")), "the plan is on the cycle's machine alone"
    for workspace in (here, there):
        assert {one.experiment_id for one in list_experiments(Workspace.at(workspace))} == names
    assert not list(here.glob("experiments/*/checkpoints/last.pt"))
    assert list(there.glob("experiments/*/checkpoints/last.pt")), "trained there"


def test_where_its_experiments_stand_in_the_queue_makes_no_other_cycle(tmp_path: Path) -> None:
    usual, urgent = (config(tmp_path / "a.zip", tmp_path, queue={"priority": p}) for p in (5, 0))
    assert cycle_identity(usual, Rules()) == cycle_identity(urgent, Rules())
