"""Waiting for runs that a flow asked for, to their ends, and cancelling them with the run that waits."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import httpx
from prefect import runtime
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterId,
    FlowRunFilterState,
    FlowRunFilterStateType,
    FlowRunFilterTags,
)
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.exceptions import ObjectNotFound
from prefect.logging import get_run_logger
from prefect.states import Cancelling

from tasks.own_run import OwnRun, ending, was_cancelled
from tasks.stage import ProgressArtifact, is_server_away, stage_task
from tasks.submit import AWAITED_BY, PAGE, Submitted, read_all

LOOK_EVERY_S = 2.0
RECOVER = "recover/recover"
_UNENDED = [StateType.SCHEDULED, StateType.PENDING, StateType.RUNNING, StateType.PAUSED]


@dataclass(frozen=True)
class Ended:
    """How a run ended."""

    run: Submitted
    completed: bool
    cancelled: bool
    reason: str
    """For people; empty where it was completed."""


@dataclass
class _Awaited:
    """A run that was asked for, and the one that does its work now: after a crash, that is one that `recover` made."""

    submitted: Submitted
    run_id: UUID
    run_name: str
    running: bool = False
    crashed_at_s: float | None = None
    """When the crash was seen, on this machine's monotonic clock; None where it has not crashed."""
    ended: Ended | None = None


@stage_task(run_name="wait for {what}", timeout_s=90 * 24 * 3600)
def wait_for(what: str, runs: Sequence[Submitted], key: str, recovery_s: float = 0.0) -> Any:
    """Waits until all runs have ended, however; a server that is away meanwhile is waited for too.

    A crash is not the end where the server has a deployment `recover`: the run that it starts for the same work is
    waited for in place of the crashed one.

    Args:
        key: Of the progress artifact.
        recovery_s: For so long after a crash; 0: it is the end.

    Returns:
        An `Ended` each, in their order.
    """
    logger, own_run, show = get_run_logger(), OwnRun(), ProgressArtifact(key, what, log_every_s=60)
    awaited = [_Awaited(run, run.run_id, run.run_name) for run in runs]
    away = False
    while waiting := [one for one in awaited if one.ended is None]:
        own_run.require_wanted()
        if not _look(waiting, recovery_s):
            if not away:
                logger.warning("The server is away; the runs go on, and are looked at again when it is back")
            away = True
            time.sleep(LOOK_EVERY_S)
            continue
        away = False
        ended = len(awaited) - sum(one.ended is None for one in awaited)
        for one in waiting:
            if one.ended is not None:
                logger.info("%s: %s (%d of %d)", one.submitted.name, one.ended.reason or "completed", ended, len(runs))
        running = sum(one.running for one in awaited)
        show(ended / len(runs), f"{ended} of {len(runs)} have ended, {running} running")
        if ended < len(runs):
            time.sleep(LOOK_EVERY_S)
    return [one.ended for one in awaited]


def _look(waiting: Sequence[_Awaited], recovery_s: float) -> bool:
    """Notes of each how it stands; False where the server cannot be asked just now."""
    try:
        with get_client(sync_client=True) as client:
            known = _runs(client, [one.run_id for one in waiting])
            for one in waiting:
                _note(one, known.get(one.run_id), client, recovery_s)
    except (httpx.HTTPError, OSError, RuntimeError) as error:
        if not is_server_away(error):
            raise
        return False
    return True


def _runs(client: SyncPrefectClient, run_ids: list[UUID]) -> dict[UUID, FlowRun]:
    """Those of the runs that the server knows."""
    found = [
        run
        for start in range(0, len(run_ids), PAGE)
        for run in read_all(client, FlowRunFilter(id=FlowRunFilterId(any_=run_ids[start : start + PAGE])))
    ]
    return {run.id: run for run in found}


def _note(one: _Awaited, run: FlowRun | None, client: SyncPrefectClient, recovery_s: float) -> None:
    one.running = run is not None and run.state is not None and run.state.is_running()
    end = _end_of(one, run)
    if run is None or end is None or run.state is None or not run.state.is_crashed():
        one.crashed_at_s, one.ended = None, end
        return
    if one.crashed_at_s is None:
        one.crashed_at_s = time.monotonic()
    if recovery_s and (newer := _newer(client, run, one.submitted.tag)) is not None:
        get_run_logger().info("%s crashed; %s goes on in %s", one.run_name, one.submitted.name, newer.name)
        one.run_id, one.run_name, one.crashed_at_s = newer.id, newer.name, None
    elif time.monotonic() - one.crashed_at_s >= recovery_s or not _is_recovered(client):
        one.ended = end


def _newer(client: SyncPrefectClient, crashed: FlowRun, tag: str) -> FlowRun | None:
    """The newest run for the same work that was made after the crashed one."""
    if crashed.created is None:
        return None
    runs = read_all(client, FlowRunFilter(tags=FlowRunFilterTags(all_=[tag])))
    later = [(run.created, run) for run in runs if run.created is not None and run.created > crashed.created]
    return max(later, key=lambda one: one[0])[1] if later else None


def _is_recovered(client: SyncPrefectClient) -> bool:
    """Whether the server has a deployment that takes up crashed runs."""
    try:
        client.read_deployment_by_name(RECOVER)
    except ObjectNotFound:
        return False
    return True


def _end_of(one: _Awaited, run: FlowRun | None) -> Ended | None:
    """How the run ended; None where it has not."""
    if run is None:
        return Ended(one.submitted, False, True, f"its run {one.run_name} was deleted")
    state = run.state
    if state is None or not state.is_final():
        return None
    if state.is_completed():
        return Ended(one.submitted, True, False, "")
    words = {StateType.CANCELLED: "was cancelled", StateType.CRASHED: "crashed"}.get(state.type, "failed")
    told = f": {state.message}" if state.message else ""
    return Ended(one.submitted, False, state.is_cancelled(), f"its run {one.run_name} {words}{told}")


@contextlib.contextmanager
def cancelled_together() -> Iterator[None]:
    """Where this run is cancelled while it waits for others, they are cancelled too; where it is lost, they go on."""
    try:
        yield
    except Exception:
        raise
    except BaseException as error:
        if was_cancelled(error):
            for line in cancel_awaited(str(runtime.flow_run.id)):
                get_run_logger().info("%s", line)
        instead = ending(error)
        if instead is error:
            raise
        raise instead from error


def cancel_awaited(run_id: str) -> list[str]:
    """Cancels what the run with this id waits for, as far as it has not ended; a sentence for each."""
    among = FlowRunFilter(
        tags=FlowRunFilterTags(all_=[f"{AWAITED_BY}{run_id}"]),
        state=FlowRunFilterState(type=FlowRunFilterStateType(any_=_UNENDED)),
    )
    lines = []
    with get_client(sync_client=True) as client:
        for run in read_all(client, among):
            client.set_flow_run_state(run.id, Cancelling(message="The run that asked for it was cancelled."))
            lines.append(f"{run.name} is cancelled too")
    return lines
