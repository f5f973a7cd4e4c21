"""A turn of a continuous research, on the disk: what follows is looked up, a cycle's begin and end are written down."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from glaucoma.planning.continuous import (
    CycleEnd,
    CycleUnderWay,
    Outcome,
    ResearchState,
    Step,
    Stop,
    ended,
    next_step,
)
from glaucoma.planning.continuous_attempt import begun, hours_until, interrupted, lost
from glaucoma.planning.continuous_store import Research
from glaucoma.planning.cycle import is_taken_up
from glaucoma.planning.cycle_found import cycle_since, experiments_of_cycle
from glaucoma.planning.training_time import training_time
from glaucoma.records.ledger import Ledger, LedgerCycle
from glaucoma.records.words import CycleStatus

_OUTCOMES = {
    CycleStatus.COMPLETED: Outcome.COMPLETED,
    CycleStatus.FAILED: Outcome.FAILED,
    CycleStatus.CANCELLED: Outcome.NOT_APPROVED,
}


@dataclass(frozen=True)
class Settled:
    """What follows, and whether the research has just been stopped by it: then a person is to be told."""

    state: ResearchState
    step: Step
    just_stopped: bool


def settle(research: Research, now: datetime) -> Settled:
    """What follows at `now`; where that is a stop, the state keeps it until a person switches the research on again."""
    state = research.require()
    step = next_step(state, state.settings, now)
    if not isinstance(step, Stop) or state.stopped:
        return Settled(state, step, just_stopped=False)

    def stop(current: ResearchState) -> ResearchState:
        again = next_step(current, current.settings, now)
        return current.model_copy(update={"stopped": again.reason}) if isinstance(again, Stop) else current

    after = research.change_there(stop)
    if not after.stopped:  # somebody gave it more at this very moment
        return Settled(after, next_step(after, after.settings, now), just_stopped=False)
    return Settled(after, Stop(after.stopped, failed=step.failed), just_stopped=True)


def begin(research: Research, now: datetime, flow_run_id: str | None, where: str) -> CycleUnderWay:
    """Writes that a cycle runs: a new one, or the one that was cut off."""
    after = research.change_there(lambda state: begun(state, now, flow_run_id, where))
    assert after.under_way is not None  # noqa: S101  said for the type checker
    return after.under_way


def write_interrupted(research: Research, now: datetime) -> None:
    """Writes that the cycle was cut off in order, by a cancel or a signal: how long it ran is known."""
    research.change_there(lambda state: interrupted(state, now))


def write_lost(research: Research, now: datetime) -> str:
    """Writes that the last attempt was killed, where no end of it was written down; how, in a sentence, or "".

    To be asked by who holds the research.
    """
    under_way = research.require().under_way
    if under_way is None or under_way.attempt_ended:
        return ""
    return research.change_there(lambda state: lost(state, now)).failure


def cycle_of_attempt(research: Research, dataset: str, identity: Mapping[str, Any]) -> LedgerCycle | None:
    """The cycle that the attempt under way works on, or worked on; None where it came to none."""
    under_way = research.require().under_way
    if under_way is None:
        return None
    ledger = Ledger(research.workspace.ledger_url)
    return cycle_since(ledger, research.workspace, dataset, identity, under_way.attempt_at)


def ended_already(research: Research, dataset: str, identity: Mapping[str, Any]) -> LedgerCycle | None:
    """The same where it has ended, and a kill came before that was written down."""
    cycle = cycle_of_attempt(research, dataset, identity)
    return cycle if cycle is not None and cycle.ended_at is not None else None


def book_ended_already(research: Research, cycle: LedgerCycle) -> ResearchState:
    """Writes down the end of a cycle that ended without a word."""
    outcome, at = _OUTCOMES[cycle.status], cycle.ended_at
    assert at is not None  # noqa: S101  `ended_already` gives no other
    return book(research, outcome, cycle.reason, cycle.cycle_id, at)


def book(research: Research, outcome: Outcome, reason: str, cycle_id: str | None, at: datetime) -> ResearchState:
    """Writes down a cycle's end: once, however often it is told.

    Args:
        cycle_id: None where it failed before it was planned.

    Raises:
        IntegrityError: Its plan, or what an experiment of it says, cannot be read.
    """
    workspace = research.workspace
    took = training_time(experiments_of_cycle(cycle_id, workspace) if cycle_id else [], workspace)
    goes_on = cycle_id is not None and is_taken_up(cycle_id, Ledger(workspace.ledger_url), workspace)

    def end(state: ResearchState) -> ResearchState:
        under_way = state.under_way
        if under_way is None:
            return state
        return ended(
            state,
            CycleEnd(
                number=under_way.number,
                cycle_id=cycle_id,
                outcome=outcome,
                reason=reason,
                started_at=under_way.started_at,
                ended_at=at,
                attempts=under_way.attempts,
                hours=hours_until(under_way, at),
                gpu_hours=took.gpu_hours,
                cpu_hours=took.cpu_hours,
                goes_on=goes_on,
            ),
        )

    return research.change_there(end)


def pause_unanswered(research: Research, reason: str) -> None:
    """Pauses the research: nobody answered, and asking again at once would help nobody."""
    research.change_there(lambda state: state.model_copy(update={"paused": reason}))
