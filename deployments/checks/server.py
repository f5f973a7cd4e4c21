"""Checks of a Prefect server, by its own API: version, settings, database, access, pools, workers, blocks, clock."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

import httpx
import prefect
from prefect.blocks.core import Block
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import WorkerStatus

from deployments.applying import Change, Outcome
from deployments.automations import notification_block
from deployments.checks.finding import Finding, fault, ok, warning
from deployments.declaration import NOTIFICATION, declared_pools
from deployments.gpus import WorkerSpec

_LEASES = "prefect.server.concurrency.lease_storage.filesystem"
_MEMORY_LEASES = "prefect.server.concurrency.lease_storage.memory"
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_UP = "make up"
_SHOWN = 5
_SKEW_S, _BAD_SKEW_S = 5.0, 60.0
_TIMEOUT_S = 10.0
_UNAUTHORIZED = 401


async def check_reachable(url: str | None) -> Finding:
    """Whether a server answers where the active profile says that one is."""
    if not url:
        return fault(
            "server", "no server is named: each command starts one of its own", f"{_UP}, or set PREFECT_API_URL"
        )
    try:
        async with httpx.AsyncClient(timeout=_TIMEOUT_S) as client:
            answer = await client.get(f"{url}/health")
    except httpx.TransportError as error:
        return fault("server", f"nothing answers at {url} ({type(error).__name__})", _UP)
    if answer.status_code != httpx.codes.OK:
        return fault("server", f"{url} answers {answer.status_code}", "look at the end of .services/server.log")
    return ok("server", url)


async def check_access(url: str, auth: str | None) -> Finding:
    """Whether the server asks for a password, and takes ours."""
    host = urlsplit(url).hostname or ""
    async with httpx.AsyncClient(timeout=_TIMEOUT_S) as client:
        stranger = await client.get(f"{url}/admin/version")
        known = await client.get(f"{url}/admin/version", auth=_name_and_password(auth))
    if stranger.status_code != _UNAUTHORIZED:
        found = f"anybody who reaches {host} may do anything"
        say = warning if host in _LOOPBACK else fault
        return say("access", found, "start the server by `make up`: docs/how-to/secure-the-server.md")
    if known.status_code == _UNAUTHORIZED:
        found = "the server does not take our password" if auth else "the server asks for a password, and we have none"
        return fault("access", found, "prefect profile use arc, or set PREFECT_API_AUTH_STRING=arc:<password>")
    if host not in _LOOPBACK and url.startswith("http://"):
        return warning("access", f"the password goes to {host} in the clear", "put the server behind TLS")
    return ok("access", "asks for a password, and takes ours")


def _name_and_password(auth: str | None) -> tuple[str, str]:
    name, _, password = (auth or "").partition(":")
    return name, password


async def check_version(client: PrefectClient) -> Finding:
    """The server's version against ours."""
    theirs = (await client.request("GET", "/admin/version")).json()
    if theirs != prefect.__version__:
        return fault("version", f"server {theirs}, here {prefect.__version__}", "install the locked versions on both")
    return ok("version", f"Prefect {theirs}")


def check_settings(settings: Mapping[str, Any]) -> Finding:
    """The settings that a server must not run without.

    Args:
        settings: What the server itself says that they are.
    """
    server = settings["server"]
    wrong = []
    if server["concurrency"]["lease_storage"] == _MEMORY_LEASES:
        wrong.append("leases are lost when the server restarts (set PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE)")
    if not server["api"]["csrf_protection_enabled"]:
        wrong.append("no protection against forged requests (set PREFECT_SERVER_API_CSRF_PROTECTION_ENABLED)")
    if server["api"]["cors_allowed_origins"] == "*":
        wrong.append("pages of any origin may call it (set PREFECT_SERVER_API_CORS_ALLOWED_ORIGINS)")
    if server["analytics_enabled"]:
        wrong.append("it reports its use to Prefect's makers (set PREFECT_SERVER_ANALYTICS_ENABLED)")
    if wrong:
        return warning("settings", "; ".join(wrong), "restart the server by `make down`, `make up`")
    return ok("settings", "leases survive a restart; CSRF and CORS are closed; telemetry is off")


async def check_database(url: str, auth: str | None) -> Finding:
    """Whether the server reaches its database; asked once, where Prefect's own client would ask for a minute."""
    async with httpx.AsyncClient(timeout=_TIMEOUT_S) as client:
        answer = await client.get(f"{url}/ready", auth=_name_and_password(auth))
    if answer.status_code != httpx.codes.OK:
        return fault(
            "database",
            f"the server does not reach it (it answers {answer.status_code})",
            "look whether the database runs, and at the end of .services/server.log",
        )
    return ok("database", "answers")


def check_declared(changes: list[Change]) -> Finding:
    """Pools, queues, limits, blocks, deployments and automations against what is declared.

    Args:
        changes: Of an application in a dry run.
    """
    remedy = "python -m deployments.apply"
    if failed := [change for change in changes if change.outcome is Outcome.FAILED]:
        return fault("declared", f"{len(failed)} things fail, such as {failed[0].line()}", remedy)
    other = [change for change in changes if change.outcome is not Outcome.SAME]
    if other:
        names = ", ".join(f"{change.kind} {change.name}" for change in other[:_SHOWN])
        more = f" and {len(other) - _SHOWN} more" if len(other) > _SHOWN else ""
        return warning("declared", f"not as declared: {names}{more}", f"{remedy} (--prune for what is left over)")
    return ok("declared", f"{len(changes)} things are as declared")


async def check_workers(client: PrefectClient, here: Sequence[WorkerSpec] = ()) -> Finding:
    """For each pool a worker that is online, none of this machine's gone, and neither a pool nor a queue paused.

    Args:
        here: The workers of this machine by its policy. Those without a GPU may be another machine's business: they are
            missed where the server has heard of them. A machine of which it has heard of none is no machine of workers.
    """
    there = {pool.name: pool for pool in await client.read_work_pools(limit=200)}
    missing, paused, held, online = [], [], [], []
    states: dict[str, bool] = {}
    for name in declared_pools():
        if name not in there:
            missing.append(name)
            continue
        if there[name].is_paused:
            paused.append(name)
        queues = await client.read_work_queues(work_pool_name=name, limit=200)
        held += [f"{name}/{queue.name}" for queue in queues if queue.is_paused]
        workers = await client.read_workers_for_work_pool(name)
        states |= {one.name: one.status is WorkerStatus.ONLINE for one in workers}
        number = sum(one.status is WorkerStatus.ONLINE for one in workers)
        online.append(f"{name} {number}")
        if not number:
            missing.append(name)
    if missing:
        return fault("workers", f"no worker is online for {', '.join(missing)}", f"{_UP}, or start its service")
    known = any(spec.name in states for spec in here)
    if gone := [
        spec.name for spec in here if known and not states.get(spec.name, False) and (spec.gpus or spec.name in states)
    ]:
        return fault("workers", f"not online: {', '.join(gone)}", f"{_UP}, or systemctl start arc-worker@<role>")
    if paused:
        return warning("workers", f"paused: {', '.join(paused)}", f"prefect work-pool resume {paused[0]}")
    if held:
        pool, _, queue = held[0].partition("/")
        remedy = f"prefect work-queue resume {queue} --pool {pool}; a nearly full disk pauses queues too"
        return warning("workers", f"paused: {', '.join(held)}", remedy)
    return ok("workers", ", ".join(online))


async def blocks_of(client: PrefectClient, kind: type[Block]) -> list[str]:
    """The names of the blocks of that kind on the server."""
    slug = kind.get_block_type_slug()
    wanted = {"block_types": {"slug": {"any_": [slug]}}, "include_secrets": False}
    found = (await client.request("POST", "/block_documents/filter", json=wanted)).json()
    return sorted(document["name"] for document in found if document["name"])


async def check_notification(client: PrefectClient) -> Finding:
    """The block by which people are told."""
    document = await notification_block(client)
    if document is None:
        return warning(
            "notification",
            f"nobody is told of anything: no block {NOTIFICATION}",
            "make a notification block of that name in Prefect's pages, then python -m deployments.apply",
        )
    return ok("notification", f"block {NOTIFICATION}")


async def check_clock(url: str) -> Finding:
    """The server's clock against ours: schedules and heartbeats compare the two."""
    async with httpx.AsyncClient(timeout=_TIMEOUT_S) as client:
        before = datetime.now(UTC)
        answer = await client.get(f"{url}/health")
        after = datetime.now(UTC)
    return judge_clock(parsedate_to_datetime(answer.headers["date"]), before, after)


def judge_clock(theirs: datetime, before: datetime, after: datetime) -> Finding:
    """What the server said, to the second, between two looks at our own clock."""
    off_s = max((before - theirs).total_seconds() - 1.0, (theirs - after).total_seconds(), 0.0)
    remedy = "let both machines keep time by NTP (timedatectl set-ntp true)"
    if off_s > _BAD_SKEW_S:
        return fault("clock", f"the server's differs by {off_s:.0f} s", remedy)
    if off_s > _SKEW_S:
        return warning("clock", f"the server's differs by {off_s:.0f} s", remedy)
    return ok("clock", "the server's is ours")
