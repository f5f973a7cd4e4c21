"""The state of the work pools for GPUs: what runs where, and what waits, in the order in which it will be taken.

Workers take the run of the most urgent queue that they listen to and, within a queue, the one that is due first.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, cast

from prefect.artifacts import create_table_artifact
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
    WorkPoolFilter,
    WorkPoolFilterName,
)
from prefect.client.schemas.objects import FlowRun, StateType, Worker, WorkPool, WorkQueue, WorkQueueStatus
from prefect.exceptions import ObjectNotFound
from pydantic import BaseModel, ConfigDict, Field

from glaucoma.errors import NotFoundError
from tasks.stage import shown_if_possible, stage_task
from tasks.submit import PAGE, run_page

_WORKER = "prefect.worker.name"
"""The label by which a worker marks the runs that it takes."""
_QUEUE = re.compile(r"^p\d\d-(any|all|gpu(\d{1,2}))$")
_HELD = {StateType.RUNNING: "running", StateType.PENDING: "starting", StateType.CANCELLING: "cancelling"}
_UNENDED = [*_HELD, StateType.SCHEDULED, StateType.PAUSED]


class QueueRow(BaseModel):
    """A run that runs or waits."""

    model_config = ConfigDict(frozen=True)

    place: int | None = Field(default=None, description="Among those of its pool that wait; the first is 1.")
    state: str = Field(description="running, starting, cancelling, waiting, late, planned (for later) or paused.")
    pool: str
    queue: str
    run: str
    run_id: str
    link: str = Field(default="", description="Its page; empty where the server has none.")
    worker: str = Field(default="", description="That has taken it.")
    since: datetime | None = Field(default=None, description="When it began, where it has.")
    scheduled: datetime | None = Field(default=None, description="When it is, or was, to begin.")
    waits_for: str = Field(default="", description="Where it waits.")


@dataclass(frozen=True)
class PoolState:
    """A work pool as the server shows it."""

    pool: WorkPool
    queues: Sequence[WorkQueue]
    workers: Sequence[Worker]
    runs: Sequence[FlowRun]

    @property
    def online(self) -> list[str]:
        """Names of the workers that are there."""
        return sorted(worker.name for worker in self.workers if worker.status.value == "ONLINE")

    @property
    def paused(self) -> list[str]:
        """What of it is paused."""
        if self.pool.is_paused:
            return [f"work pool {self.pool.name}"]
        return [f"queue {self.pool.name}/{queue.name}" for queue in self.queues if queue.is_paused]


@stage_task(run_name="read queues", timeout_s=600, first_delay_s=5)
def read_queues(pools: Sequence[str]) -> Any:
    """A `PoolState` each; `NotFoundError` where the server has no such pool."""
    with get_client(sync_client=True) as client:
        return [_read_pool(client, name) for name in pools]


def _read_pool(client: SyncPrefectClient, name: str) -> PoolState:
    try:
        pool = client.read_work_pool(name)
    except ObjectNotFound as error:
        raise NotFoundError(
            f"The server has no work pool {name}",
            expected="the pools that ARC declares",
            remedy="run `make up`, or `python -m deployments.apply` against the server that PREFECT_API_URL names",
        ) from error
    queues: list[WorkQueue] = []
    while page := client.read_work_queues(work_pool_name=name, limit=PAGE, offset=len(queues)):
        queues += page
    unended = FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=_UNENDED)))
    runs: list[FlowRun] = []
    in_pool = WorkPoolFilter(name=WorkPoolFilterName(any_=[name]))
    while found := client.read_flow_runs(
        flow_run_filter=unended, work_pool_filter=in_pool, limit=PAGE, offset=len(runs)
    ):
        runs += found
    return PoolState(pool, queues, client.read_workers_for_work_pool(name), runs)


def queue_rows(state: PoolState, now: datetime) -> list[QueueRow]:
    """Running first, the longest first; then what waits, in the order in which workers will take it."""
    held = [run for run in state.runs if run.state_type in _HELD]
    waiting = [run for run in state.runs if run.state_type not in _HELD]
    held.sort(key=lambda run: (run.start_time or now, str(run.id)))
    priorities = {queue.name: queue.priority for queue in state.queues}
    last = 1 + max(priorities.values(), default=0)

    def turn(run: FlowRun) -> tuple[Any, ...]:
        due = run.next_scheduled_start_time or run.expected_start_time or now
        can_begin = run.state_type is StateType.SCHEDULED and due <= now
        return (not can_begin, priorities.get(run.work_queue_name or "", last), due, str(run.id))

    waiting.sort(key=turn)
    rows = [_held_row(run, state) for run in held]
    return rows + [_waiting_row(run, place, state, held, now) for place, run in enumerate(waiting, 1)]


def _held_row(run: FlowRun, state: PoolState) -> QueueRow:
    return QueueRow(
        state=_HELD[cast(StateType, run.state_type)],
        worker=str(run.labels.get(_WORKER, "")),
        since=run.start_time,
        scheduled=run.expected_start_time,
        **_named(run, state),
    )


def _waiting_row(run: FlowRun, place: int, state: PoolState, held: Sequence[FlowRun], now: datetime) -> QueueRow:
    due = run.next_scheduled_start_time or run.expected_start_time
    if run.state_type is StateType.PAUSED:
        word, waits_for = "paused", "a person, who resumes it"
    elif due is not None and due > now:
        word, waits_for = "planned", "its time"
    else:
        word, waits_for = "late" if run.state_name == "Late" else "waiting", _waits_for(run, state, held)
    return QueueRow(place=place, state=word, scheduled=due, waits_for=waits_for, **_named(run, state))


def _named(run: FlowRun, state: PoolState) -> dict[str, str]:
    return {
        "pool": state.pool.name,
        "queue": run.work_queue_name or "",
        "run": run.name,
        "run_id": str(run.id),
        "link": run_page(run.id),
    }


def _waits_for(run: FlowRun, state: PoolState, held: Sequence[FlowRun]) -> str:
    """What must happen before a worker takes the run."""
    name = run.work_queue_name or ""
    queue = next((one for one in state.queues if one.name == name), None)
    if state.pool.is_paused:
        return "the work pool, which is paused"
    if queue is not None and queue.is_paused:
        return f"queue {name}, which is paused"
    if not state.online:
        return f"a worker: none of {state.pool.name} is online"
    target = _QUEUE.match(name)
    if not _is_heard(queue, target[1] if target else "", state):
        return f"a worker: none listens to queue {name}"
    if target is None or target[1] == "any":
        return "the next worker that is free"
    if target[1] == "all":
        busy = ", ".join(one.name for one in held)
        return f"the whole machine{f', where {busy} runs' if busy else ''}"
    mine = re.compile(rf"^{re.escape(state.pool.name)}{target[2]}-")
    busy = ", ".join(one.name for one in held if mine.match(str(one.labels.get(_WORKER, ""))))
    return f"GPU {target[2]}{f', where {busy} runs' if busy else ''}"


def _is_heard(queue: WorkQueue | None, target: str, state: PoolState) -> bool:
    """Whether a worker listens to the queue, as far as can be known: one that is busy asks the server for nothing."""
    if queue is not None and queue.status is not WorkQueueStatus.NOT_READY:
        return True
    kinds = [re.match(rf"^{re.escape(state.pool.name)}(\d+|-all|-cpu)-", name) for name in state.online]
    if None in kinds:
        return True  # a worker of a name of its own: what it listens to is not known
    there = {kind[1] for kind in kinds if kind}
    if target == "any":
        return bool(there - {"-all"})
    return bool(there & ({"-all", "-cpu"} if target == "all" else {target.removeprefix("gpu")}))


def notes_on(state: PoolState) -> list[str]:
    """What a person should know of the pool, apart from its runs."""
    if state.online:
        return []
    return [f"no worker of {state.pool.name} is online: what waits there does not begin"]


def row_for_pages(row: QueueRow) -> dict[str, Any]:
    """A row as Prefect's pages show it."""
    return {
        "place": row.place or "",
        "state": f"**{row.state}**" if row.state == "late" else row.state,
        "pool": row.pool,
        "queue": row.queue,
        "run": f"[{row.run}]({row.link})" if row.link else row.run,
        "worker or what it waits for": row.worker or row.waits_for,
        "since": _at(row.since),
        "scheduled": _at(row.scheduled),
    }


def _at(when: datetime | None) -> str:
    return f"{when.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC" if when else ""


def show_table(key: str, rows: list[dict[str, Any]], description: str) -> None:
    """Puts a table into Prefect's pages, as the newest version of the artifact of that key."""
    with shown_if_possible():
        create_table_artifact(table=rows, key=key, description=description)
