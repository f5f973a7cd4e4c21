"""The worker that drains, and what it keeps in the books, on the embedded server; its runs are processes that wait."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import anyio
import httpx
import pytest
from prefect import flow
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.objects import FlowRun, StateType, WorkQueue
from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound
from prefect.settings import get_current_settings
from prefect.states import Cancelling, Pending, Running, Scheduled
from prefect.workers.process import ProcessWorkerResult

from deployments import leftovers
from deployments.drainable import DrainableWorker, Options, _missing
from deployments.earlier import EarlierRuns
from deployments.worker_lock import hold, is_at_work

POOL, NAME = "arc-drainable", "arc-drainable-this-machine"


@flow(name="waits-in-a-queue")
def waits() -> None:
    """Only its name is used."""


class Told(DrainableWorker):
    """Its runs have no process, and end when they are told to."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.end = asyncio.Event()

    @classmethod
    def __dispatch_key__(cls) -> str:
        return "arc-instant"

    async def run(self, flow_run: FlowRun, configuration: Any, task_status: Any = None) -> ProcessWorkerResult:
        task_status.started(os.getpid())
        await self.end.wait()
        return ProcessWorkerResult(status_code=0, identifier="none")


def with_pool(check: Callable[[PrefectClient], Awaitable[None]]) -> None:
    async def run() -> None:
        async with get_client() as client:
            with contextlib.suppress(ObjectAlreadyExists):
                await client.create_work_pool(WorkPoolCreate(name=POOL, type="process"))
            await check(client)

    asyncio.run(run())


def worker(reasons: list[str]) -> Told:
    return Told(
        held_back=lambda: reasons[0] if reasons else None,
        work_pool_name=POOL,
        name=NAME,
        limit=1,
        create_pool_if_not_found=False,
    )


async def scheduled(client: PrefectClient) -> UUID:
    return (await client.create_flow_run(waits, work_pool_name=POOL, state=Scheduled())).id


async def state_of(client: PrefectClient, run: UUID) -> StateType | None:
    return (await client.read_flow_run(run)).state_type


def test_a_worker_that_is_held_back_takes_nothing_and_then_takes_what_waited() -> None:
    async def check(client: PrefectClient) -> None:
        run = await scheduled(client)
        reasons = ["GPU 0 is drained"]
        async with worker(reasons) as held:
            assert await held.get_and_submit_flow_runs() == []
            assert await state_of(client, run) is StateType.SCHEDULED
            assert held.is_worker_still_polling(0.0), "it is well, and waits"
            reasons.clear()
            assert [taken.id for taken in await held.get_and_submit_flow_runs()] == [run]
            assert held.at_work == 1
            waiting = await scheduled(client)
            asked = held._asked_at
            assert await held.get_and_submit_flow_runs() == []
            assert held._asked_at == asked, "a worker without a free place asks for nothing"
            held.end.set()
        await client.delete_flow_run(waiting)
        assert await state_of(client, run) is not StateType.SCHEDULED
        await client.delete_flow_run(run)

    with_pool(check)


def test_a_server_that_is_away_ends_no_worker() -> None:
    async def check(client: PrefectClient) -> None:
        async with worker([]) as lonely:

            async def away(*words: Any, **named: Any) -> Any:
                raise httpx.ConnectError("All connection attempts failed")

            with pytest.MonkeyPatch.context() as patched:
                patched.setattr(lonely.client, "get_scheduled_flow_runs_for_work_pool", away)
                patched.setattr(lonely.client, "send_worker_heartbeat", away)
                patched.setattr(lonely.client, "read_work_pool", away)
                assert await lonely.get_and_submit_flow_runs() == []
                await lonely.sync_with_backend()
            assert await lonely.get_and_submit_flow_runs() == []

    with_pool(check)


def test_a_server_that_fails_while_a_run_is_taken_costs_neither_the_worker_nor_a_place() -> None:
    async def check(client: PrefectClient) -> None:
        run = await scheduled_of_a_deployment(client)
        async with worker([]) as lonely:

            async def fails(*words: Any, **named: Any) -> Any:
                raise httpx.ReadError("the connection was cut")

            with pytest.MonkeyPatch.context() as patched:
                patched.setattr(lonely.client, "read_deployment", fails)
                await lonely.get_and_submit_flow_runs()
                await free(lonely)
            assert await state_of(client, run) is StateType.SCHEDULED
            await lonely.get_and_submit_flow_runs()
            await taken(client, run)
            lonely.end.set()
            await free(lonely)
        await client.delete_flow_run(run)

    with_pool(check)


def test_a_run_whose_deployment_was_deleted_is_cancelled_and_keeps_no_place() -> None:
    async def check(client: PrefectClient) -> None:
        run = await scheduled_of_a_deployment(client)
        async with worker([]) as lonely:

            async def gone(*words: Any, **named: Any) -> Any:
                raise ObjectNotFound(http_exc=RuntimeError("Not Found"))

            with pytest.MonkeyPatch.context() as patched:
                patched.setattr(lonely.client, "read_deployment", gone)
                await lonely.get_and_submit_flow_runs()
                await free(lonely)
        assert await state_of(client, run) is StateType.CANCELLED
        await client.delete_flow_run(run)

    with_pool(check)


async def scheduled_of_a_deployment(client: PrefectClient) -> UUID:
    deployment = await client.create_deployment(
        flow_id=await client.create_flow(waits), name="waits", work_pool_name=POOL
    )
    return (await client.create_flow_run_from_deployment(deployment, state=Scheduled())).id


async def free(told: Told) -> None:
    with anyio.fail_after(30):
        while told.at_work:
            await anyio.sleep(0.02)


async def taken(client: PrefectClient, run: UUID) -> None:
    with anyio.fail_after(30):
        while await state_of(client, run) is StateType.SCHEDULED:
            await anyio.sleep(0.1)


def test_a_worker_waits_for_its_pool_and_its_queues_by_name() -> None:
    async def check(client: PrefectClient) -> None:
        def of(pool: str, *queues: str) -> Options:
            return Options(pool, NAME, list(queues), 1, [], 1.0, healthcheck=False)

        assert await _missing(client, of(POOL, "default")) == ""
        assert "has no queue p05-any" in await _missing(client, of(POOL, "default", "p05-any"))
        assert "no work pool arc-none" in await _missing(client, of("arc-none", "default"))
        made: WorkQueue = await client.create_work_queue("p05-any", work_pool_name=POOL)
        assert await _missing(client, of(POOL, "default", made.name)) == ""

    with_pool(check)


@pytest.fixture
def process() -> Iterator[Callable[[UUID], subprocess.Popen[bytes]]]:
    """Starts what a killed worker leaves of a run: a process of its own group."""
    started = []

    def start(run: UUID) -> subprocess.Popen[bytes]:
        told = {
            **os.environ,
            "PREFECT__FLOW_RUN_ID": str(run),
            "PREFECT__WORKER_NAME": NAME,
            "PREFECT_API_URL": str(get_current_settings().api.url),
        }
        command = [sys.executable, "-c", "print(flush=True); input()"]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        started.append(subprocess.Popen(command, env=told, start_new_session=True, **pipes))  # type: ignore[call-overload]
        started[-1].stdout.readline()  # the kernel shows the new program's environment by now
        return started[-1]

    yield start
    for one in started:
        one.kill()
        one.communicate()


async def begun(client: PrefectClient) -> UUID:
    run = await client.create_flow_run(waits)
    await client.update_flow_run_labels(run.id, {leftovers.WORKER: NAME})
    await client.set_flow_run_state(run.id, Running(), force=True)
    return run.id


def test_a_run_that_outlived_its_worker_keeps_its_place_and_is_closed_when_its_process_ends(
    process: Callable[[UUID], subprocess.Popen[bytes]],
) -> None:
    async def check(client: PrefectClient) -> None:
        run = await begun(client)
        left = process(run)
        earlier = EarlierRuns(NAME)
        assert earlier.alive() == [run]
        await earlier.settle(client)
        assert await state_of(client, run) is StateType.RUNNING
        left.kill()
        left.wait()
        await earlier.settle(client)
        assert (earlier.alive(), await state_of(client, run)) == ([], StateType.CRASHED)

    with_pool(check)


def test_a_run_that_outlived_its_worker_can_be_cancelled(process: Callable[[UUID], subprocess.Popen[bytes]]) -> None:
    async def check(client: PrefectClient) -> None:
        run = await begun(client)
        left = process(run)
        earlier = EarlierRuns(NAME)
        await client.set_flow_run_state(run, Cancelling(), force=True)
        await earlier.settle(client)
        assert left.wait(60) != 0
        await earlier.settle(client)
        assert await state_of(client, run) is StateType.CANCELLED

    with_pool(check)


def test_a_run_whose_processes_end_just_as_it_is_cancelled_ends_no_worker(
    process: Callable[[UUID], subprocess.Popen[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def check(client: PrefectClient) -> None:
        run = await begun(client)
        process(run)
        earlier = EarlierRuns(NAME)
        await client.set_flow_run_state(run, Cancelling(), force=True)

        def gone(group: int, number: int) -> None:
            raise ProcessLookupError(group)

        monkeypatch.setattr(os, "killpg", gone)
        await earlier.settle(client)
        assert earlier.alive() == [run]
        await client.delete_flow_run(run)

    with_pool(check)


def test_a_run_that_is_deleted_while_the_books_are_settled_is_left_out() -> None:
    async def check(client: PrefectClient) -> None:
        deleted, lost = await begun(client), await begun(client)
        read = leftovers.live_runs

        async def read_then_delete(asked: PrefectClient, *words: Any) -> list[FlowRun]:
            found = await read(asked, *words)
            if deleted in {run.id for run in found}:
                await asked.delete_flow_run(deleted)
            return found

        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(leftovers, "live_runs", read_then_delete)
            lines = await leftovers.close_lost_runs(client, [NAME], [])
        assert len(lines) == 1
        assert await state_of(client, lost) is StateType.CRASHED

    with_pool(check)


def test_a_run_that_a_worker_took_and_never_marked_goes_back_into_its_queue() -> None:
    async def check(client: PrefectClient) -> None:
        unmarked, marked = [await scheduled(client) for _ in range(2)]
        await client.update_flow_run_labels(marked, {leftovers.WORKER: "arc-drainable-elsewhere"})
        for run in (unmarked, marked):
            await client.set_flow_run_state(run, Pending(), force=True)
        assert await leftovers.requeue_unclaimed(client, POOL) == [], "its worker may be about to mark it"
        assert len(await leftovers.requeue_unclaimed(client, POOL, older_than_s=-60)) == 1
        assert await state_of(client, unmarked) is StateType.SCHEDULED
        assert await state_of(client, marked) is StateType.PENDING
        for run in (unmarked, marked):
            await client.delete_flow_run(run)

    with_pool(check)


def test_runs_that_a_lost_cycle_submitted_are_left_to_their_own_workers() -> None:
    async def check(client: PrefectClient) -> None:
        cycle = await begun(client)
        from prefect import task

        flow_id = await client.create_flow(waits)
        deployment = await client.create_deployment(flow_id, "submitted")
        parent = await client.create_task_run(task(waits.fn), cycle, "0")
        submitted = await client.create_flow_run_from_deployment(deployment, parent_task_run_id=parent.id)
        await client.set_flow_run_state(submitted.id, Running(), force=True)
        assert len(await leftovers.close_lost_runs(client, [NAME], [])) == 1
        assert await state_of(client, cycle) is StateType.CRASHED
        assert await state_of(client, submitted.id) is StateType.RUNNING
        await client.delete_flow_run(submitted.id)

    with_pool(check)


def test_one_worker_of_a_name_is_at_work_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "workers" / "arc-gpu0-eye.lock"
    assert not is_at_work(path)
    with hold(path) as first, hold(path) as second:
        assert first.take()
        assert not second.take()
        assert second.holder() == f"pid {os.getpid()}"
        assert is_at_work(path)
    assert not is_at_work(path)
