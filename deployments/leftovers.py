"""Runs that a power cut or a kill left behind: the server's books say that they run, and no process does."""

from __future__ import annotations

import os
from collections.abc import Collection
from typing import Any
from uuid import UUID

import psutil
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterParentFlowRunId,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.states import Cancelled, Crashed

LIVE = [StateType.RUNNING, StateType.PENDING, StateType.CANCELLING]
_RUN_ID = "PREFECT__FLOW_RUN_ID"
"""In the environment of every process that a worker starts for a flow run, and of that process's children."""
_WORKER = "prefect.worker.name"
"""The label by which a worker marks the runs that it takes."""


def worker_name(pool: str) -> str:
    """What the worker of a pool on this machine is called."""
    return f"{pool}-{os.uname().nodename}"


def runs_with_a_process() -> set[UUID]:
    """The flow runs that a process on this machine works on."""
    found = set()
    for process in psutil.process_iter():
        try:
            value = process.environ().get(_RUN_ID)
            if value and process.status() != psutil.STATUS_ZOMBIE:
                found.add(UUID(value))
        except (psutil.NoSuchProcess, psutil.AccessDenied, ValueError):
            continue  # gone, another user's, or no run's id
    return found


def has_own_process(run: FlowRun) -> bool:
    """False for a run that lives in the process of another one: a flow that a flow called."""
    return run.parent_task_run_id is None or run.deployment_id is not None


async def close_lost_runs(client: PrefectClient, workers: Collection[str], alive: Collection[UUID]) -> list[str]:
    """Ends in the books what these workers once took and no process works on; gives a line for each.

    A run that was being cancelled is cancelled now, every other one is crashed, and so are the runs inside it. Runs of
    other workers, and those that a command started, are left as they are.

    Args:
        workers: Names of workers of this machine that do not run now.
        alive: The flow runs that have a process.
    """
    lines = []
    for run in await _live(client):
        ours = run.labels.get(_WORKER) in workers and has_own_process(run)
        if not ours or run.id in alive:
            continue
        for lost in [run, *await _inside(client, run)]:
            end = Cancelled if lost.state_type is StateType.CANCELLING else Crashed
            state: State[Any] = end(message="Its process is gone, by a power cut or a kill.")
            await client.set_flow_run_state(lost.id, state, force=True)
            lines.append(f"run {lost.name}: {state.type.value.lower()}, its process is gone")
    return lines


async def _live(client: PrefectClient, among: FlowRunFilter | None = None) -> list[FlowRun]:
    """All flow runs that the books say are alive, page by page."""
    wanted = (among or FlowRunFilter()).model_copy(
        update={"state": FlowRunFilterState(type=FlowRunFilterStateType(any_=LIVE))}
    )
    found: list[FlowRun] = []
    while page := await client.read_flow_runs(flow_run_filter=wanted, offset=len(found), limit=200):
        found += page
    return found


async def _inside(client: PrefectClient, run: FlowRun) -> list[FlowRun]:
    """The runs that live inside `run`, theirs too; not those that workers run for it in processes of their own."""
    parent = FlowRunFilter(parent_flow_run_id=FlowRunFilterParentFlowRunId(any_=[run.id]))
    found = []
    for child in await _live(client, parent):
        if has_own_process(child):
            continue
        found += [child, *await _inside(client, child)]
    return found
