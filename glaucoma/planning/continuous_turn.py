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
    begun,
    ended,
    interrupted,
    next_step,
)
from glaucoma.planning.continuous_store import Research
from glaucoma.planning.cycle_found import cycle_since, experiments_of_cycle
from glaucoma.planning.training_time import training_time
from glaucoma.records.decision import read_decision
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


def book(
    research: Research, outcome: Outcome, reason: str, cycle_id: str | None, at: datetime, *, waited_h: float = 0.0
) -> ResearchState:
    """Writes down a cycle's end: once, however often it is told.

    Args:
        cycle_id: None where it failed before it was planned.
        waited_h: Hours that it waited for a person who did not answer.
    """
    workspace = research.workspace
    decision = read_decision(workspace.cycles / cycle_id) if cycle_id else None
    took = training_time(experiments_of_cycle(cycle_id, workspace) if cycle_id else [], workspace)

    def end(state: ResearchState) -> ResearchState:
        under_way = state.under_way
        if under_way is None:
            return state
        if decision is not None and decision.why and decision.asked_at >= under_way.attempt_at:
            waited_s = decision.waited_s
        else:
            waited_s = waited_h * 3600
        ran_s = (at - under_way.attempt_at).total_seconds() - waited_s
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
                hours=under_way.spent_hours + max(0.0, ran_s) / 3600,
                gpu_hours=took.gpu_hours,
                cpu_hours=took.cpu_hours,
            ),
        )

    return research.change_there(end)


def pause_unanswered(research: Research, reason: str) -> None:
    """Pauses the research: nobody answered, and asking again at once would help nobody."""
    research.change_there(lambda state: state.model_copy(update={"paused": reason}))
