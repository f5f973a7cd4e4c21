"""Continuous research as data: where it stands, what it does next, and how a cycle's end changes that.

Everything here is a function of its arguments. `continuous_attempt` has what happens between a cycle's begin and its
end; `continuous_store` keeps the state on the disk.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from glaucoma.planning.continuous_settings import BudgetSettings, ContinuousSettings
from glaucoma.provenance import digest


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Outcome(StrEnum):
    """How a cycle of a continuous research ended."""

    COMPLETED = "completed"
    FAILED = "failed"
    NOT_APPROVED = "not approved"


class CycleUnderWay(_Part):
    """The cycle that runs, or was cut off: which of the two, only the lock of the research can say."""

    number: int = Field(ge=1)
    settings: dict[str, Any] = Field(description="Of the cycle, as they were when it began.")
    started_at: datetime
    attempts: int = Field(default=1, ge=1)
    attempt_at: datetime = Field(description="When the last attempt began; after a cancel: when that ended.")
    attempt_ended: bool = Field(default=False, description="It is written down that it ended; else it runs or is lost.")
    asked_at: datetime | None = Field(default=None, description="Since when the attempt waits for a person.")
    waited_hours: float = Field(default=0.0, ge=0, description="That it waited for one before; not in `spent_hours`.")
    spent_hours: float = Field(default=0.0, description="Of earlier attempts, but for those that were killed.")
    flow_run_id: str | None = None
    where: str = Field(default="", description="Host and process, for people.")


class CycleEnd(_Part):
    """One line of the journal: a cycle that ended."""

    number: int
    cycle_id: str | None = Field(default=None, description="None where it failed before it was planned.")
    outcome: Outcome
    reason: str = ""
    started_at: datetime
    ended_at: datetime
    attempts: int = 1
    hours: float = Field(ge=0, description="In which it ran, without those that it waited for a person.")
    gpu_hours: float = Field(default=0.0, ge=0, description="Of training on GPUs, in the whole cycle so far.")
    cpu_hours: float = Field(default=0.0, ge=0, description="The same on the CPU.")
    goes_on: bool = Field(default=False, description="The next start with the same settings takes it up again.")


class Counted(_Part):
    """The last cycle that was planned, as far as it is in `Spent`: taken up again, it must not count twice."""

    cycle_id: str
    gpu_hours: float
    cpu_hours: float
    settings: str = Field(description="Hash of those that it goes on with; empty where it is over.")


class Spent(_Part):
    """What was used of the budget."""

    cycles: int = Field(default=0, description="Cycles that were planned; one that is taken up again counts once.")
    hours: float = 0.0
    gpu_hours: float = 0.0
    cpu_hours: float = 0.0
    longest_hours: float = Field(default=0.0, description="Of one completed cycle.")
    most_gpu_hours: float = Field(default=0.0, description="Of one completed cycle.")


class ResearchState(_Part):
    """`research/<name>/state.json`."""

    name: str
    given: str = Field(description="Hash of the settings as they were last given: what a changed one is told by.")
    cycle: dict[str, Any] = Field(description="The settings of the next cycle; another room knows what they mean.")
    settings: ContinuousSettings
    changed_at: datetime
    stopped: str = Field(default="", description="Why it is off; empty: it is on.")
    paused: str = Field(default="", description="Why it is paused; empty: it is not.")
    stop_after_cycle: bool = False
    failures: int = Field(default=0, description="In a row: cycles that failed, and attempts that were killed.")
    failed_at: datetime | None = Field(default=None, description="When the last of them was written down.")
    failure: str = Field(default="", description="Why the last of them failed.")
    spent: Spent = Field(default_factory=Spent)
    numbers: int = Field(default=0, description="How many cycles were begun.")
    under_way: CycleUnderWay | None = None
    last: CycleEnd | None = None
    counted: Counted | None = None


@dataclass(frozen=True)
class Start:
    """A cycle can start now."""

    number: int
    cut_off: bool
    """It is one that was cut off, and is taken up again."""


@dataclass(frozen=True)
class Wait:
    """Nothing starts before `until`; without one, before a person says so."""

    until: datetime | None
    reason: str


@dataclass(frozen=True)
class Stop:
    """Nothing starts any more, until a person switches it on again."""

    reason: str
    failed: bool = False


Step = Start | Wait | Stop


def next_step(state: ResearchState, settings: ContinuousSettings, now: datetime) -> Step:
    """What follows at `now`, given that no cycle of the research runs. At a wait's end it is a start.

    Args:
        settings: As a rule those of the state.
        now: With its time zone.
    """
    if (stop := why_off(state, settings)) is not None:
        return stop
    if state.paused:
        return Wait(None, state.paused)
    return _by_the_clock(state, settings, now) or Start(_number(state), cut_off=state.under_way is not None)


def why_off(state: ResearchState, settings: ContinuousSettings) -> Stop | None:
    """Why no cycle starts before a person changes something; None where one does, sooner or later."""
    if state.stopped:
        return Stop(state.stopped)
    if state.stop_after_cycle and state.under_way is None:
        return Stop("A person asked it to stop after the cycle")
    if state.failures >= settings.failures.stop_after:
        said = state.failure or "no reason was kept"
        return Stop(f"{failed_text(state)}{', the last one' if state.failures > 1 else ''}: {said}", failed=True)
    used = used_up(state, settings.budget)
    return Stop(used) if used else None


def failed_text(state: ResearchState) -> str:
    """How many failed, in words. A cycle that is killed and taken up again may fail more than once."""
    return f"{state.failures} attempts failed in a row" if state.failures > 1 else "The last attempt failed"


def _number(state: ResearchState) -> int:
    return state.under_way.number if state.under_way else state.numbers + 1


def _by_the_clock(state: ResearchState, settings: ContinuousSettings, now: datetime) -> Wait | None:
    begin, reasons = now, []
    if state.failures and state.failed_at is not None:
        delay_s = settings.failures.delay_s(state.failures)
        if (ready := state.failed_at + timedelta(seconds=delay_s)) > now:
            begin = ready
            reasons.append(f"{failed_text(state)}: {delay_s:.0f} s must pass")
    if settings.quiet is not None and settings.quiet.holds(begin):
        begin = settings.quiet.over_at(begin)
        reasons.append(str(settings.quiet))
    return Wait(begin, "; ".join(reasons)) if reasons else None


def used_up(state: ResearchState, budget: BudgetSettings) -> str:
    """What is used up of the budget, in a sentence; empty where another cycle fits, or one goes on that was begun.

    Another cycle fits where as much is left as the dearest completed one took.
    """
    spent, under_way = state.spent, state.under_way
    more = under_way.spent_hours if under_way else 0.0
    if budget.cycles is not None and spent.cycles >= budget.cycles and not _goes_on(state):
        return f"The budget is used up: {spent.cycles} of {budget.cycles} cycles"
    for name, most, used, dearest in (
        ("hours", budget.hours, spent.hours + more, spent.longest_hours),
        ("GPU hours", budget.gpu_hours, spent.gpu_hours, spent.most_gpu_hours),
    ):
        if most is None:
            continue
        if used >= most:
            return f"The budget is used up: {used:.2f} of {most:g} {name}"
        if under_way is None and used + dearest > most:
            return f"The budget is used up: {used:.2f} of {most:g} {name}, and a cycle has taken {dearest:.2f}"
    return ""


def _goes_on(state: ResearchState) -> bool:
    """True where what starts next is a cycle that did not complete, and is counted already."""
    settings = state.under_way.settings if state.under_way else state.cycle
    return state.counted is not None and state.counted.settings == digest(settings)


NO_FAILURES: dict[str, Any] = {"failures": 0, "failed_at": None, "failure": ""}
"""What a state is changed by that is to have no failures to its name."""


def switched_on(
    before: ResearchState | None, name: str, cycle: dict[str, Any], settings: ContinuousSettings, now: datetime
) -> tuple[ResearchState, str]:
    """The research with these settings, on; and what a person is to be told.

    What it has used stays used. After it stopped for failures, switching it on sets their count back.
    """
    given = digest({"cycle": cycle, "settings": settings.model_dump(mode="json")})
    if before is None:
        made = ResearchState(name=name, given=given, cycle=cycle, settings=settings, changed_at=now)
        return made, "is switched on"
    on: dict[str, Any] = {"stopped": "", "paused": "", "stop_after_cycle": False}
    if before.stopped and before.failures >= before.settings.failures.stop_after:
        on |= NO_FAILURES
    said = "is on" if not before.stopped and not before.paused else "is switched on again"
    if given != before.given:
        on |= {"given": given, "cycle": cycle, "settings": settings, "changed_at": now}
        then = (
            "the cycle under way ends with those that it began with" if before.under_way else "from the next cycle on"
        )
        said += f" with changed settings ({then})"
    return before.model_copy(update=on), said


def ended(state: ResearchState, end: CycleEnd) -> ResearchState:
    """The state after a cycle's end. One that failed and is taken up again is the same cycle, and counts once."""
    spent, counted = state.spent, state.counted
    again = counted is not None and counted.cycle_id == end.cycle_id
    before = (counted.gpu_hours, counted.cpu_hours) if again and counted is not None else (0.0, 0.0)
    completed = end.outcome is Outcome.COMPLETED
    used = Spent(
        cycles=spent.cycles + (end.cycle_id is not None and not again),
        hours=spent.hours + end.hours,
        gpu_hours=spent.gpu_hours + max(0.0, end.gpu_hours - before[0]),
        cpu_hours=spent.cpu_hours + max(0.0, end.cpu_hours - before[1]),
        longest_hours=max(spent.longest_hours, end.hours) if completed else spent.longest_hours,
        most_gpu_hours=max(spent.most_gpu_hours, end.gpu_hours) if completed else spent.most_gpu_hours,
    )
    changes: dict[str, Any] = {"spent": used, "under_way": None, "last": end}
    if end.cycle_id is not None:  # a start that failed before it was planned changes nothing about the cycle before it
        settings = digest(state.under_way.settings) if end.goes_on and state.under_way else ""
        changes["counted"] = Counted(
            cycle_id=end.cycle_id, gpu_hours=end.gpu_hours, cpu_hours=end.cpu_hours, settings=settings
        )
    if completed:
        changes |= NO_FAILURES
    elif end.outcome is Outcome.FAILED:
        changes |= one_more_failure(state, end.reason, end.ended_at)
    return state.model_copy(update=changes)


def one_more_failure(state: ResearchState, reason: str, at: datetime) -> dict[str, Any]:
    """What a failure changes: delay and stop follow from it."""
    return {"failures": state.failures + 1, "failed_at": at, "failure": reason}
