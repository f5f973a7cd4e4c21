"""The workers of this machine as background processes: all started side by side, described, and ended together."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import httpx
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun, WorkerStatus
from prefect.exceptions import ObjectNotFound

from deployments.applying import reason
from deployments.gpus import WorkerSpec, ask_driver, left_out, load_policy, worker_specs
from deployments.leftovers import WORKER, live_runs
from deployments.services import Service
from deployments.worker import PROJECT, SAVE_S, paths_in_full
from flows.queues import parse_queue
from glaucoma.machine.drained import drained, this_host
from glaucoma.workspace import Workspace

_PREFIX = "worker-"
_START_TIMEOUT_S = 180.0
_END_S = SAVE_S + 15.0


def specs_here(say: Callable[[str], None]) -> list[WorkerSpec]:
    """The workers of this machine by its GPU policy; says what of the policy it does not get."""
    policy, present = load_policy(), ask_driver().gpus
    for line in left_out(policy, present):
        say(line)
    return worker_specs(policy, present, this_host())


def start_workers(specs: Sequence[WorkerSpec], folder: Path, environment: Mapping[str, str]) -> list[str]:
    """Starts those that do not run, and returns when the server has heard each of them; a line for each.

    Raises:
        ServiceError: One ended, or was not heard in time; the message ends with its log's end.
    """
    services = {spec.role: Service(f"{_PREFIX}{spec.role}", folder) for spec in specs}
    environment = {**paths_in_full(), **environment}
    for spec in specs:
        command = [sys.executable, "-m", "deployments.worker", spec.role]
        services[spec.role].start(command, environment, PROJECT)
    for spec in specs:
        service = services[spec.role]
        service.wait_until(lambda: asyncio.run(_is_online(spec, service)), _START_TIMEOUT_S, "online")  # noqa: B023
    lines = [f"worker: {spec.name}" for spec in specs]
    others = [service for service in _services(folder) if service.name not in {s.name for s in services.values()}]
    for service in others:
        if (process := service.process()) is not None:
            lines.append(f"{service.name} runs and the GPU policy names it no more: `kill {process.pid}` drains it")
    return lines


def stop_workers(folder: Path) -> None:
    """Ends all of them, those of an earlier policy too; their runs are told to save and end."""
    services = _services(folder)
    for service in services:
        service.ask(signal.SIGINT)
    for service in services:
        service.wait_for_end(_END_S)


def drain_workers(folder: Path, say: Callable[[str], None]) -> None:
    """Has all of them let their runs end, and returns when the last one has ended; the server goes on."""
    services = _services(folder)
    for service in services:
        service.ask(signal.SIGTERM)
    for service in services:
        if (process := service.process()) is not None:
            say(f"{service.name} lets its runs end (pid {process.pid})")
            process.wait()
            service.wait_for_end(_END_S)


def describe_workers(
    specs: Sequence[WorkerSpec], folder: Path, workspace: Workspace, *, server_answers: bool
) -> list[str]:
    """For each worker what it serves, whether it takes runs, and what it runs, as far as the server says so."""
    runs: dict[str, list[FlowRun]] = {}
    lines = []
    if server_answers:
        try:
            runs = asyncio.run(_runs_by_worker())
        except httpx.HTTPError as error:
            lines.append(f"what the workers run is not known: {reason(error)}")
    marks = {mark.gpu: mark for mark in drained(workspace)}
    for spec in specs:
        process = Service(f"{_PREFIX}{spec.role}", folder).process()
        state = "not running" if process is None else f"pid {process.pid}"
        gpus = f"GPU {', '.join(map(str, spec.gpus))}" if spec.gpus else "CPU"
        lines.append(f"{spec.name}: {state}; {spec.pool} ({shown_queues(spec.queues)}), {gpus}, {spec.limit} at once")
        lines += [f"    GPU {n} is drained since {marks[n].at:%Y-%m-%d %H:%M} UTC: {marks[n].reason}"
                  for n in spec.gpus if n in marks]  # fmt: skip
        lines += [f"    {_shown(run)}" for run in runs.get(spec.name, [])]
    return lines


def shown_queues(queues: Sequence[str]) -> str:
    """The queues in short: those by urgency as the targets that they stand for."""
    parsed = [parse_queue(queue) for queue in queues]
    targets = dict.fromkeys(found[1] for found in parsed if found)
    plain = [queue for queue, found in zip(queues, parsed, strict=True) if found is None]
    by_urgency = [f"by urgency: {', '.join(targets)}"] if targets else []
    return ", ".join([*plain, *by_urgency])


def _services(folder: Path) -> list[Service]:
    return [Service(path.stem, folder) for path in sorted(folder.glob(f"{_PREFIX}*.pid"))]


def _shown(run: FlowRun) -> str:
    state = run.state_name or "unknown"
    since = f", since {run.start_time:%Y-%m-%d %H:%M} UTC" if run.start_time else ""
    return f"{state}: {run.name}{since} ({run.id})"


async def _is_online(spec: WorkerSpec, service: Service) -> bool:
    """Whether the server has heard of the worker since its process began."""
    process = service.process()
    if process is None:
        return False
    began = datetime.fromtimestamp(process.create_time(), UTC)
    async with get_client() as client:
        try:
            workers = await client.read_workers_for_work_pool(spec.pool)
        except (ObjectNotFound, httpx.TransportError):  # a server that many workers find at once may be late with it
            return False
    return any(
        worker.name == spec.name
        and worker.status is WorkerStatus.ONLINE
        and worker.last_heartbeat_time is not None
        and worker.last_heartbeat_time >= began
        for worker in workers
    )


async def _runs_by_worker() -> dict[str, list[FlowRun]]:
    found: dict[str, list[FlowRun]] = {}
    async with get_client() as client:
        for run in await live_runs(client):
            found.setdefault(str(run.labels.get(WORKER, "")), []).append(run)
    return found
