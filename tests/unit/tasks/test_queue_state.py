"""The order in which what waits for a GPU will be taken, and what it waits for."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from prefect.client.schemas.objects import (
    FlowRun,
    StateType,
    Worker,
    WorkerStatus,
    WorkPool,
    WorkQueue,
    WorkQueueStatus,
)

from tasks.queue_state import PoolState, QueueRow, queue_rows

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
QUEUES = {"p02-any": 1, "p02-gpu1": 2, "p05-any": 3, "p05-all": 4, "p05-gpu7": 5}


def run(name: str, queue: str, minutes: int = -1, kind: StateType = StateType.SCHEDULED, **more: Any) -> FlowRun:
    given = {"state_name": "Scheduled", "labels": {}, "start_time": None, **more}
    due = NOW + timedelta(minutes=minutes)
    return FlowRun.model_construct(
        id=uuid4(), name=name, work_queue_name=queue, state_type=kind, next_scheduled_start_time=due, **given
    )


def rows(*runs: FlowRun, paused: bool = False, online: bool = True) -> dict[str, QueueRow]:
    queues = [
        WorkQueue.model_construct(
            name=name,
            priority=priority,
            is_paused=False,
            status=WorkQueueStatus.READY if name == "p05-all" else WorkQueueStatus.NOT_READY,  # a busy worker is silent
        )
        for name, priority in QUEUES.items()
    ]
    status = WorkerStatus.ONLINE if online else WorkerStatus.OFFLINE
    worker = Worker.model_construct(name="arc-gpu1-here", status=status)
    state = PoolState(WorkPool.model_construct(name="arc-gpu", is_paused=paused), queues, [worker], runs)
    return {row.run: row for row in queue_rows(state, NOW)}


@pytest.fixture
def running() -> FlowRun:
    return run(
        "busy",
        "p05-any",
        kind=StateType.RUNNING,
        start_time=NOW - timedelta(hours=1),
        labels={"prefect.worker.name": "arc-gpu1-here"},
    )


def test_what_runs_stands_first_then_the_more_urgent_then_the_older(running: FlowRun) -> None:
    found = rows(
        run("later", "p02-any", minutes=30),
        run("second", "p05-any", minutes=-2),
        run("first", "p05-any", minutes=-9, state_name="Late"),
        run("held back", "p02-any", kind=StateType.PAUSED),
        run("urgent", "p02-gpu1"),
        running,
    )
    assert list(found)[:4] == ["busy", "urgent", "first", "second"]
    assert [row.place for row in found.values()] == [None, 1, 2, 3, 4, 5]
    assert [found[name].state for name in ("busy", "first", "second", "later", "held back")] == [
        "running",
        "late",
        "waiting",
        "planned",
        "paused",
    ]
    assert (found["busy"].worker, found["busy"].since) == ("arc-gpu1-here", NOW - timedelta(hours=1))


def test_it_is_said_what_each_waits_for(running: FlowRun) -> None:
    found = rows(
        running,
        run("one", "p02-gpu1"),
        run("whole", "p05-all"),
        run("any", "p05-any"),
        run("nobody", "p05-gpu7"),
        run("unknown", "own-queue"),
    )
    assert {name: row.waits_for for name, row in found.items() if row.place} == {
        "one": "GPU 1, where busy runs",
        "whole": "the whole machine, where busy runs",
        "any": "the next worker that is free",
        "nobody": "a worker: none listens to queue p05-gpu7",
        "unknown": "a worker: none listens to queue own-queue",
    }
    assert rows(run("any", "p05-any"), paused=True)["any"].waits_for == "the work pool, which is paused"
    assert rows(run("any", "p05-any"), online=False)["any"].waits_for == "a worker: none of arc-gpu is online"
