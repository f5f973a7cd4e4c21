"""What the doctor says of a server that is there: the embedded one, which asks no password and has no workers."""

from __future__ import annotations

import asyncio

import pytest
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.settings import PREFECT_API_URL

from deployments.checks import server
from deployments.checks.finding import Finding, Level
from deployments.declaration import declared_pools


def test_each_question_to_a_server_is_answered() -> None:
    async def ask() -> dict[str, Finding]:
        url = PREFECT_API_URL.value()
        async with get_client() as client:
            await with_one_worker(client)
            found = [
                await server.check_reachable(url),
                await server.check_access(url, "arc:not-needed-here"),
                await server.check_clock(url),
                await server.check_version(client),
                await server.check_database(client),
                await server.check_workers(client),
                await server.check_tracking(client),
                await server.check_notification(client),
                server.check_settings((await client.request("GET", "/admin/settings")).json()),
            ]
        return {one.name: one for one in found}

    found = asyncio.run(ask())
    for fine in ("server", "clock", "version", "database", "tracking"):
        assert found[fine].level is Level.OK, found[fine].line()
    assert found["access"].level is Level.WARNING
    assert "anybody who reaches 127.0.0.1" in found["access"].found
    assert "CSRF" in found["settings"].found
    assert found["notification"].level is Level.WARNING
    assert found["workers"].level is Level.FAULT
    assert "arc-inference" in found["workers"].found
    assert "arc-control" not in found["workers"].found


async def with_one_worker(client: PrefectClient) -> None:
    """All pools are there, and one of them has a worker."""
    there = {pool.name for pool in await client.read_work_pools(limit=200)}
    for name in declared_pools():
        if name not in there:
            await client.create_work_pool(WorkPoolCreate(name=name, type="process"))
    await client.send_worker_heartbeat("arc-control", "worker", heartbeat_interval_seconds=600)


def test_a_queue_that_is_paused_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "declared_pools", lambda: {"held-back": declared_pools()["arc-cpu"]})

    async def ask() -> Finding:
        async with get_client() as client:
            await client.create_work_pool(WorkPoolCreate(name="held-back", type="process"))
            await client.send_worker_heartbeat("held-back", "worker", heartbeat_interval_seconds=600)
            queue = await client.create_work_queue(name="cycles", work_pool_name="held-back")
            await client.update_work_queue(queue.id, is_paused=True)
            return await server.check_workers(client)

    found = asyncio.run(ask())
    assert found.level is Level.WARNING
    assert found.found == "paused: held-back/cycles"
    assert "prefect work-queue resume cycles --pool held-back" in found.remedy
