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
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterId,
    FlowRunFilterState,
    FlowRunFilterStateType,
    FlowRunFilterTags,
)
from prefect.client.schemas.objects import State, StateType
from prefect.logging import get_run_logger
from prefect.states import Cancelling

from tasks.own_run import OwnRun, ending, was_cancelled
from tasks.stage import ProgressArtifact, is_server_away, stage_task
from tasks.submit import AWAITED_BY, PAGE, Submitted, read_all

LOOK_EVERY_S = 2.0
_UNENDED = [StateType.SCHEDULED, StateType.PENDING, StateType.RUNNING, StateType.PAUSED]


@dataclass(frozen=True)
class Ended:
    """How a run ended."""

    run: Submitted
    completed: bool
    cancelled: bool
    reason: str
    """For people; empty where it was completed."""


@stage_task(run_name="wait for {what}", timeout_s=90 * 24 * 3600)
def wait_for(what: str, runs: Sequence[Submitted], key: str) -> Any:
    """Waits until all runs have ended, however; a server that is away meanwhile is waited for too.

    Args:
        key: Of the progress artifact.

    Returns:
        An `Ended` each, in their order.
    """
    logger, own_run, show = get_run_logger(), OwnRun(), ProgressArtifact(key, what, log_every_s=60)
    ended: dict[UUID, Ended] = {}
    away = False
    while len(ended) < len(runs):
        own_run.require_wanted()
        states = _states([run.run_id for run in runs if run.run_id not in ended])
        if states is None:
            if not away:
                logger.warning("The server is away; the runs go on, and are looked at again when it is back")
            away = True
            time.sleep(LOOK_EVERY_S)
            continue
        away = False
        for run in runs:
            if run.run_id in ended or (end := _end_of(run, states)) is None:
                continue
            ended[run.run_id] = end
            logger.info("%s: %s (%d of %d)", run.name, end.reason or "completed", len(ended), len(runs))
        running = sum(1 for state in states.values() if state is not None and state.is_running())
        show(len(ended) / len(runs), f"{len(ended)} of {len(runs)} have ended, {running} running")
        if len(ended) < len(runs):
            time.sleep(LOOK_EVERY_S)
    return [ended[run.run_id] for run in runs]


def _states(run_ids: list[UUID]) -> dict[UUID, State[Any] | None] | None:
    """The state of each run that the server knows; None where the server cannot be asked just now."""
    try:
        with get_client(sync_client=True) as client:
            runs = [
                run
                for start in range(0, len(run_ids), PAGE)
                for run in read_all(client, FlowRunFilter(id=FlowRunFilterId(any_=run_ids[start : start + PAGE])))
            ]
    except (httpx.HTTPError, OSError, RuntimeError) as error:
        if not is_server_away(error):
            raise
        return None
    return {run.id: run.state for run in runs}


def _end_of(run: Submitted, states: dict[UUID, State[Any] | None]) -> Ended | None:
    """How the run ended; None where it has not."""
    if run.run_id not in states:
        return Ended(run, False, True, f"its run {run.run_name} was deleted")
    state = states[run.run_id]
    if state is None or not state.is_final():
        return None
    if state.is_completed():
        return Ended(run, True, False, "")
    words = {StateType.CANCELLED: "was cancelled", StateType.CRASHED: "crashed"}.get(state.type, "failed")
    told = f": {state.message}" if state.message else ""
    return Ended(run, False, state.is_cancelled(), f"its run {run.run_name} {words}{told}")


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
