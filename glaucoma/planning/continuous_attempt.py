"""A cycle's attempts as changes of the research's state: begun, waiting for a person, ended in order, or lost."""

from __future__ import annotations

from datetime import datetime

from glaucoma.planning.continuous import CycleUnderWay, ResearchState, one_more_failure


def begun(state: ResearchState, now: datetime, flow_run_id: str | None = None, where: str = "") -> ResearchState:
    """The state while a cycle runs: a new one, or the one that was cut off, with the settings that it began with."""
    attempt = {"attempt_at": now, "flow_run_id": flow_run_id, "where": where}
    if (cut_off := state.under_way) is not None:
        nothing_waited = {"attempt_ended": False, "asked_at": None, "waited_hours": 0.0}
        again = cut_off.model_copy(update={"attempts": cut_off.attempts + 1, **nothing_waited, **attempt})
        return state.model_copy(update={"under_way": again})
    number = state.numbers + 1
    new = CycleUnderWay(number=number, settings=state.cycle, started_at=now, **attempt)
    return state.model_copy(update={"under_way": new, "numbers": number})


def asked(state: ResearchState, at: datetime) -> ResearchState:
    """The state from when the attempt waits for a person."""
    under_way = state.under_way
    return state if under_way is None else _with(state, under_way.model_copy(update={"asked_at": at}))


def answered(state: ResearchState, at: datetime) -> ResearchState:
    """The state from when the attempt goes on, whether a person has answered or the time was over."""
    under_way = state.under_way
    if under_way is None:
        return state
    return _with(state, under_way.model_copy(update={"asked_at": None, "waited_hours": _waited_hours(under_way, at)}))


def interrupted(state: ResearchState, now: datetime) -> ResearchState:
    """The state after an attempt that ended before its cycle did, by a cancel or a signal."""
    under_way = state.under_way
    if under_way is None:
        return state
    hours = {"spent_hours": hours_until(under_way, now), "attempt_at": now, "asked_at": None, "waited_hours": 0.0}
    return _with(state, under_way.model_copy(update={**hours, "attempt_ended": True, "flow_run_id": None}))


def lost(state: ResearchState, now: datetime) -> ResearchState:
    """The state after an attempt that was killed. It is a failure: what kills it may do so again, for ever.

    To be asked by who holds the research, so that no attempt can be running. How long it ran is known to nobody.
    """
    under_way = state.under_way
    if under_way is None or under_way.attempt_ended:
        return state
    where = f" ({under_way.where})" if under_way.where else ""
    reason = (
        f"Attempt {under_way.attempts} of cycle {under_way.number}{where} ended without a word: it was killed, "
        "as by kill -9 or for want of memory, or its machine went down"
    )
    left = under_way.model_copy(
        update={"attempt_ended": True, "flow_run_id": None, "asked_at": None, "waited_hours": 0.0}
    )
    return _with(state, left).model_copy(update=one_more_failure(state, reason, now))


def hours_until(under_way: CycleUnderWay, at: datetime) -> float:
    """Hours that the cycle took until `at`, without those that it waited for a person and those of lost attempts."""
    ran = _hours(under_way.attempt_at, at) - _waited_hours(under_way, at)
    return under_way.spent_hours + max(0.0, ran)


def _waited_hours(under_way: CycleUnderWay, at: datetime) -> float:
    waits = _hours(under_way.asked_at, at) if under_way.asked_at is not None else 0.0
    return under_way.waited_hours + waits


def _hours(begin: datetime, end: datetime) -> float:
    return max(0.0, (end - begin).total_seconds() / 3600)


def _with(state: ResearchState, under_way: CycleUnderWay) -> ResearchState:
    return state.model_copy(update={"under_way": under_way})
