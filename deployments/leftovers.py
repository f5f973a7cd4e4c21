"""Runs that a power cut or a kill left behind: the server's books say that they live, and no process does.

Those that had begun are crashed (a person, or an automation, starts them again, and they go on); those that a worker
had taken and not begun go back into their queue.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import psutil
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterParentFlowRunId,
    FlowRunFilterState,
    FlowRunFilterStateType,
    WorkPoolFilter,
    WorkPoolFilterName,
)
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.exceptions import ObjectNotFound
from prefect.settings import get_current_settings
from prefect.states import Cancelled, Crashed, Scheduled

LIVE = [StateType.RUNNING, StateType.PENDING, StateType.CANCELLING]
WORKER = "prefect.worker.name"
"""The label by which a worker marks the runs that it takes."""
_RUN_ID = "PREFECT__FLOW_RUN_ID"
"""In the environment of every process that a worker starts for a flow run, and of that process's children."""
_WORKER_NAME, _SERVER = "PREFECT__WORKER_NAME", "PREFECT_API_URL"
"""Beside it: the worker that started it, and the server that they both spoke to."""
_UNLABELLED_S = 120.0
"""A worker marks a run within seconds after it took it: after so long, that worker was killed in between."""


def run_processes(worker: str | None = None) -> dict[UUID, list[psutil.Process]]:
    """The processes on this machine that work on flow runs, by run.

    Args:
        worker: Only those that a worker of this name started for the server that this process is told of.
    """
    found: dict[UUID, list[psutil.Process]] = {}
    for process in psutil.process_iter():
        try:
            told = process.environ()
            if _RUN_ID in told and process.status() != psutil.STATUS_ZOMBIE and _is_of(worker, told):
                found.setdefault(UUID(told[_RUN_ID]), []).append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied, ValueError):
            continue  # gone, another user's, or no run's id
    return found


def runs_with_a_process() -> set[UUID]:
    """The flow runs that a process on this machine works on."""
    return set(run_processes())


def has_own_process(run: FlowRun) -> bool:
    """False for a run that lives in the process of another one: a flow that a flow called."""
    return run.parent_task_run_id is None or run.deployment_id is not None


def _is_of(worker: str | None, told: dict[str, str]) -> bool:
    if worker is None:
        return True
    return told.get(_WORKER_NAME) == worker and told.get(_SERVER) == get_current_settings().api.url


async def workers_in_the_books(client: PrefectClient) -> set[str]:
    """The names of workers that took runs which are still alive in the books."""
    return {str(run.labels[WORKER]) for run in await live_runs(client) if WORKER in run.labels}


async def close_lost_runs(client: PrefectClient, workers: Collection[str], alive: Collection[UUID]) -> list[str]:
    """Settles in the books what these workers once took and no process works on; gives a line for each.

    A run that was being cancelled is cancelled now, one that had not begun waits in its queue again, every other one is
    crashed, and so are the runs inside it. Runs of other workers, and those that a command started, are left alone.

    Args:
        workers: Names of workers of this machine that do not run now.
        alive: The flow runs that have a process.
    """
    lines = []
    for run in await live_runs(client):
        if run.labels.get(WORKER) in workers and run.id not in alive:
            lines += await _close(client, run)
    return lines


async def close_runs(client: PrefectClient, runs: Collection[UUID], *, cancelled: bool = False) -> list[str]:
    """The same for these runs, whose processes have just ended: those that the books still hold for alive.

    Args:
        cancelled: They were ended by a cancel. Without its worker a run calls that a crash.
    """
    lines = []
    for identity in runs:
        try:
            run = await client.read_flow_run(identity)
        except ObjectNotFound:
            continue  # a person deleted it
        if cancelled and run.state_type is StateType.CRASHED:
            run = run.model_copy(update={"state_type": StateType.CANCELLING})
        if run.state_type in LIVE:
            lines += await _close(client, run)
    return lines


async def requeue_unclaimed(client: PrefectClient, pool: str, older_than_s: float = _UNLABELLED_S) -> list[str]:
    """Puts runs of the pool back that a worker took and never marked: it was killed between the two."""
    pending = FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.PENDING])))
    in_pool = WorkPoolFilter(name=WorkPoolFilterName(any_=[pool]))
    lines = []
    for run in await client.read_flow_runs(flow_run_filter=pending, work_pool_filter=in_pool, limit=200):
        since = run.state.timestamp if run.state else datetime.now(UTC)
        old = datetime.now(UTC) - since > timedelta(seconds=older_than_s)
        if old and WORKER not in run.labels and run.infrastructure_pid is None:
            lines += await _close(client, run)
    return lines


async def _close(client: PrefectClient, run: FlowRun) -> list[str]:
    lines = []
    for lost in [run, *await _inside(client, run)]:
        state = _end(lost, begun=lost is not run or lost.state_type is StateType.RUNNING)
        try:
            await client.set_flow_run_state(lost.id, state, force=True)
        except ObjectNotFound:
            continue  # a person deleted it meanwhile
        lines.append(f"run {lost.name}: {state.type.value.lower()}, its process is gone")
    return lines


def _end(lost: FlowRun, *, begun: bool) -> State[Any]:
    if lost.state_type is StateType.CANCELLING:
        return Cancelled(message="Its process is gone, by a power cut or a kill.")
    if not begun:
        return Scheduled(message="Its worker ended before the run began; it waits for another one.")
    return Crashed(message="Its process is gone, by a power cut or a kill.")


async def live_runs(client: PrefectClient, among: FlowRunFilter | None = None) -> list[FlowRun]:
    """All flow runs that the books say are alive, page by page."""
    wanted = (among or FlowRunFilter()).model_copy(
        update={"state": FlowRunFilterState(type=FlowRunFilterStateType(any_=LIVE))}
    )
    found: list[FlowRun] = []
    while page := await client.read_flow_runs(flow_run_filter=wanted, offset=len(found), limit=200):
        found += page
    return found


async def _inside(client: PrefectClient, run: FlowRun) -> list[FlowRun]:
    """The runs that live in the process of `run`, theirs too; those that it submitted have workers of their own."""
    parent = FlowRunFilter(parent_flow_run_id=FlowRunFilterParentFlowRunId(any_=[run.id]))
    found = []
    for child in await live_runs(client, parent):
        if not has_own_process(child):
            found += [child, *await _inside(client, child)]
    return found


def process_groups(processes: dict[UUID, list[psutil.Process]]) -> Iterator[int]:
    """The process groups of those processes, never this process's own: a worker starts each run in one of its own."""
    groups = set()
    for process in (one for many in processes.values() for one in many):
        try:
            groups.add(os.getpgid(process.pid))
        except ProcessLookupError:
            continue  # ended meanwhile
    yield from groups - {os.getpgrp()}
