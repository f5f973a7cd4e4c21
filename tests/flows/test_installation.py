"""What `make up` and `make down` tell the server, on the embedded one."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID, uuid4

import httpx
import pytest
from prefect import flow, task
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate, WorkPoolUpdate
from prefect.client.schemas.objects import StateType
from prefect.exceptions import ObjectAlreadyExists
from prefect.states import Cancelling, Pending, Running, State

from deployments import local, local_workers
from deployments.applying import Applying
from deployments.declaration import declared_pools
from deployments.gpus import GpuPolicy, worker_specs
from deployments.leftovers import close_lost_runs, runs_with_a_process, workers_in_the_books
from deployments.pools import apply_pools

POOL = "arc-cpu"
OURS = "arc-cpu-this-machine"


@flow(name="leftover")
def leftover() -> None:
    """Only its name is used."""


@task
def inside() -> None:
    """Only its name is used."""


async def started(client: PrefectClient, state: State, worker: str | None, parent: UUID | None = None) -> UUID:
    """A flow run that the books say is alive; the worker's mark is on it where one took it."""
    parent_task = None
    if parent is not None:
        parent_task = (await client.create_task_run(inside, parent, str(uuid4()))).id
    run = await client.create_flow_run(leftover, parent_task_run_id=parent_task)
    if worker is not None:
        await client.update_flow_run_labels(run.id, {"prefect.worker.name": worker})
    await client.set_flow_run_state(run.id, state, force=True)
    return run.id


async def state_of(client: PrefectClient, run: UUID) -> StateType | None:
    return (await client.read_flow_run(run)).state_type


def test_runs_that_a_power_cut_left_are_closed_and_no_others() -> None:
    async def check() -> None:
        async with get_client() as client:
            lost = await started(client, Running(), OURS)
            within = await started(client, Running(), None, parent=lost)
            waiting = await started(client, Pending(), OURS)
            leaving = await started(client, Cancelling(), OURS)
            alive = await started(client, Running(), OURS)
            elsewhere = await started(client, Running(), "arc-cpu-another-machine")
            command = await started(client, Running(), None)
            assert {OURS, "arc-cpu-another-machine"} <= await workers_in_the_books(client)
            lines = await close_lost_runs(client, [OURS], {alive})
            assert len(lines) == 4
            for run in (lost, within):
                assert await state_of(client, run) is StateType.CRASHED
            assert await state_of(client, waiting) is StateType.SCHEDULED, "it had not begun"
            assert await state_of(client, leaving) is StateType.CANCELLED
            for run in (alive, elsewhere, command):
                assert await state_of(client, run) is StateType.RUNNING
            assert await close_lost_runs(client, [OURS], {alive}) == [], "safe to do again"

    asyncio.run(check())


def test_up_leaves_the_runs_of_a_machine_whose_name_ends_like_this_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "this_host", lambda: "retina")

    async def check() -> None:
        async with get_client() as client:
            ours = await started(client, Running(), "arc-gpu0-retina")
            theirs = await started(client, Running(), "arc-gpu0-big-retina")
            await local._close_lost_runs(local.Workspace.at(tmp_path))
            assert await state_of(client, ours) is StateType.CRASHED
            assert await state_of(client, theirs) is StateType.RUNNING

    asyncio.run(check())


@pytest.fixture
def working() -> Iterator[UUID]:
    """A process that works on a flow run."""
    run = uuid4()
    environment = {**os.environ, "PREFECT__FLOW_RUN_ID": str(run)}
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, env=environment) as process:
        yield run
        process.kill()


def test_a_run_with_a_process_is_found_by_that_process(working: UUID) -> None:
    assert working in runs_with_a_process()
    assert uuid4() not in runs_with_a_process()


def test_no_pool_has_a_limit_that_runs_left_behind_could_use_up() -> None:
    assert {pool.concurrency_limit for pool in declared_pools().values()} == {None}


def test_a_limit_that_an_earlier_version_set_on_a_pool_is_taken_away() -> None:
    async def check() -> None:
        async with get_client() as client:
            await made(client)
            await client.update_work_pool(POOL, WorkPoolUpdate(concurrency_limit=2))
            applying = Applying(client)
            await apply_pools(applying)
            changed = next(one for one in applying.changes if one.name == POOL)
            assert "changed (" in changed.line()
            assert "concurrency_limit" in changed.detail
            assert (await client.read_work_pool(POOL)).concurrency_limit is None

    asyncio.run(check())


def test_what_down_pauses_is_resumed_by_it_or_by_the_next_up_and_what_a_person_paused_is_not(tmp_path: Path) -> None:
    async def paused() -> dict[str, bool]:
        async with get_client() as client:
            return {pool: (await client.read_work_pool(pool)).is_paused for pool in declared_pools()}

    async def check() -> None:
        async with get_client() as client:
            await made(client)
            await client.update_work_pool("arc-gpu", WorkPoolUpdate(is_paused=True))
            await local._pause_pools(tmp_path)
            assert set((await paused()).values()) == {True}
            await local._resume_pools(tmp_path)
            assert {pool for pool, is_paused in (await paused()).items() if is_paused} == {"arc-gpu"}
            await local._resume_pools(tmp_path)
            await client.update_work_pool("arc-gpu", WorkPoolUpdate(is_paused=False))

    asyncio.run(check())


async def made(client: PrefectClient) -> None:
    for name in declared_pools():
        try:
            await client.create_work_pool(WorkPoolCreate(name=name, type="process"))
        except ObjectAlreadyExists:
            continue


@pytest.fixture
def stopping(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What `down` does, in its order, in place of doing it."""
    done: list[str] = []

    async def said(what: str) -> None:
        done.append(what)

    class Service:
        def __init__(self, name: str, folder: Path) -> None:
            self.name = name

        def process(self) -> bool:
            return True

        def stop(self, grace_s: float) -> None:
            done.append(f"stop {self.name}")

    monkeypatch.setattr(local, "Service", Service)
    monkeypatch.setattr(local, "_answers", lambda: True)
    monkeypatch.setattr(local, "_pause_pools", lambda folder: said("pause"))
    monkeypatch.setattr(local, "_cancel_runs", lambda: said("cancel"))
    monkeypatch.setattr(local, "_resume_pools", lambda folder: said("resume"))
    monkeypatch.setattr(local, "stop_workers", lambda folder: done.append("stop the workers"))
    monkeypatch.setattr(local, "stop_rest", lambda folder, grace_s: done.append("rest"))
    monkeypatch.setattr(local, "deactivate_profile", lambda: done.append("profile"))
    return done


def test_down_stops_the_workers_before_it_resumes_the_pools_and_the_server_last(
    tmp_path: Path, stopping: list[str]
) -> None:
    local.down(local.Workspace.at(tmp_path))
    assert stopping == ["pause", "cancel", "stop the workers", "resume", "stop server", "rest", "profile"]


async def refuse(*arguments: object) -> None:
    """As a server answers to another password than its own."""
    request = httpx.Request("GET", "http://127.0.0.1:4200/api/work_pools/arc-gpu")
    answer = httpx.Response(401, json={"exception_message": "Unauthorized"}, request=request)
    raise httpx.HTTPStatusError("401", request=request, response=answer)


@pytest.mark.parametrize(("refused", "before"), [("_pause_pools", []), ("_cancel_runs", ["pause"])])
def test_a_server_that_refuses_keeps_down_from_stopping_nothing(
    refused: str,
    before: list[str],
    tmp_path: Path,
    stopping: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(local, refused, refuse)
    local.down(local.Workspace.at(tmp_path))
    assert stopping == [*before, "stop the workers", "stop server", "rest", "profile"]
    assert "runs are not cancelled: the server answers 401: Unauthorized" in capsys.readouterr().out


def test_status_shows_the_workers_though_the_server_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_workers, "_runs_by_worker", refuse)
    specs = worker_specs(GpuPolicy(), [], "eye")
    lines = local_workers.describe_workers(specs, tmp_path, local.Workspace.at(tmp_path), server_answers=True)
    assert lines[0] == "what the workers run is not known: the server answers 401: Unauthorized"
    assert len(lines) == len(specs) + 1
