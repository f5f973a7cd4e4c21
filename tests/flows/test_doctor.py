"""What the doctor says of a server that is there: the embedded one, which asks no password and has no workers."""

from __future__ import annotations

import asyncio
import http.server
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.settings import PREFECT_API_URL

from blocks.dvc_remote import DvcRemote, remote_in_block
from blocks.tracking import WandbAccount, account_in_block
from deployments.checks import machine, server
from deployments.checks.finding import Finding, Level
from deployments.declaration import declared_pools
from deployments.gpus import GpuPolicy, worker_specs
from glaucoma.workspace import Workspace


def test_each_question_to_a_server_is_answered() -> None:
    async def ask() -> dict[str, Finding]:
        url = PREFECT_API_URL.value()
        async with get_client() as client:
            await with_one_worker(client)
            assert url is not None
            found = [
                await server.check_reachable(url),
                await server.check_access(url, "arc:not-needed-here"),
                await server.check_clock(url),
                await server.check_version(client),
                await server.check_database(url, None),
                await server.check_workers(client),
                await server.check_notification(client),
                server.check_settings((await client.request("GET", "/admin/settings")).json()),
            ]
        return {one.name: one for one in found}

    found = asyncio.run(ask())
    for fine in ("server", "clock", "version", "database"):
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


def test_a_worker_of_this_machine_that_is_gone_is_missed_though_others_serve_its_pool(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(server, "declared_pools", lambda: {"missed": declared_pools()["arc-gpu"]})
    here = worker_specs(GpuPolicy(experiment=(0, 1)), [0, 1], "missed-here")

    async def ask() -> tuple[Finding, Finding]:
        async with get_client() as client:
            await client.create_work_pool(WorkPoolCreate(name="missed", type="process"))
            await client.send_worker_heartbeat("missed", "arc-gpu0-elsewhere", heartbeat_interval_seconds=600)
            stranger = await server.check_workers(client, here)
            await client.send_worker_heartbeat("missed", "arc-gpu0-missed-here", heartbeat_interval_seconds=600)
            return stranger, await server.check_workers(client, here)

    stranger, found = asyncio.run(ask())
    assert stranger.level is Level.OK, "this machine never had a worker"
    assert found.level is Level.FAULT
    assert found.found == "not online: arc-gpu1-missed-here, arc-gpu-all-missed-here", "control is another machine's"


@pytest.fixture
def silent() -> str:
    """An address where nothing answers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}"


@pytest.fixture
def answering() -> Iterator[str]:
    """The address of a server that answers every question, with an error."""
    answers = http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler)
    threading.Thread(target=answers.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{answers.server_port}"
    answers.shutdown()
    answers.server_close()


def names_of(kind: type[DvcRemote | WandbAccount]) -> list[str]:
    async def ask() -> list[str]:
        async with get_client() as client:
            return await server.blocks_of(client, kind)

    return asyncio.run(ask())


def test_the_server_of_each_account_is_tried(silent: str, answering: str) -> None:
    assert machine.check_accounts(account_in_block, []).level is Level.OK
    WandbAccount(api_key="k" * 40, base_url=answering).save("doctor-there")
    WandbAccount(api_key="k" * 40, base_url=silent).save("doctor-gone")
    names = [name for name in names_of(WandbAccount) if name.startswith("doctor-")]
    assert names == ["doctor-gone", "doctor-there"]
    found = machine.check_accounts(account_in_block, names)
    assert found.level is Level.WARNING
    assert silent in found.found
    assert "doctor-there" not in found.found
    assert machine.check_accounts(account_in_block, ["doctor-there"]).level is Level.OK


def test_the_remote_of_each_block_is_tried_before_a_version_lies_there(silent: str, tmp_path: Path) -> None:
    workspace = Workspace.at(tmp_path / "workspace")
    keys = {"access_key_id": "id", "secret_access_key": "key", "region": "us-east-1"}
    DvcRemote(url="s3://datasets/arc", endpoint_url=silent, **keys).save("doctor-s3")
    DvcRemote(url=str(tmp_path / "made-by-the-first-push")).save("doctor-folder")
    DvcRemote(url=str(tmp_path / "not-mounted" / "arc")).save("doctor-unmounted")
    assert {"doctor-s3", "doctor-folder", "doctor-unmounted"} <= set(names_of(DvcRemote))
    assert machine.check_remotes(workspace, remote_in_block, ["doctor-folder"]).level is Level.OK
    for name in ("doctor-s3", "doctor-unmounted"):
        found = machine.check_remotes(workspace, remote_in_block, [name])
        assert found.level is Level.FAULT
        assert name in found.found
