"""What a continuous research does next: each rule by a fixed clock, and what holds whatever happens."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glaucoma.errors import InputError
from glaucoma.planning.continuous import (
    CycleEnd,
    Outcome,
    ResearchState,
    Start,
    Stop,
    Wait,
    ended,
    next_step,
    switched_on,
)
from glaucoma.planning.continuous_attempt import answered, asked, begun, hours_until, interrupted, lost
from glaucoma.planning.continuous_settings import ContinuousSettings, FailureSettings
from glaucoma.planning.continuous_steer import Action, MoreBudget, steered

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
QUIET = {"begin": "08:00", "end": "18:00", "timezone": "UTC"}


def settings(**given_: Any) -> ContinuousSettings:
    return ContinuousSettings.model_validate(given_)


def new(now: datetime = NOON, **given_: Any) -> ResearchState:
    return switched_on(None, "night", {"name": "eyes"}, settings(**given_), now)[0]


def end(state: ResearchState, at: datetime, outcome: Outcome = Outcome.COMPLETED, **more: Any) -> ResearchState:
    assert state.under_way is not None
    facts: dict[str, Any] = {"cycle_id": f"eyes-{state.under_way.number:04d}", "hours": 1.0, "reason": "", **more}
    begin = state.under_way.started_at
    number = state.under_way.number
    return ended(state, CycleEnd(number=number, outcome=outcome, started_at=begin, ended_at=at, **facts))


def ran(state: ResearchState, at: datetime = NOON, outcome: Outcome = Outcome.COMPLETED, **more: Any) -> ResearchState:
    return end(begun(state, at), at, outcome, **more)


def step(state: ResearchState, at: datetime = NOON) -> Any:
    return next_step(state, state.settings, at)


def test_a_new_research_starts_its_first_cycle_at_once() -> None:
    assert step(new()) == Start(1, cut_off=False)
    assert step(ran(new())) == Start(2, cut_off=False)


@pytest.mark.parametrize(
    ("budget", "cycle", "cycles"),
    [
        ({"cycles": 2}, {}, 2),
        ({"hours": 2.0}, {"hours": 1.0}, 2),
        ({"hours": 2.5}, {"hours": 1.0}, 2),
        ({"gpu_hours": 1.0}, {"gpu_hours": 0.5}, 2),
        ({"gpu_hours": 1.4}, {"gpu_hours": 0.5}, 2),
        ({"hours": 0.5}, {"hours": 3.0}, 1),
    ],
)
def test_no_cycle_starts_where_less_is_left_than_the_dearest_took(
    budget: dict[str, Any], cycle: dict[str, Any], cycles: int
) -> None:
    state, done = new(budget=budget), 0
    while isinstance(step(state), Start):
        state, done = ran(state, **cycle), done + 1
        assert done < 10
    assert done == cycles
    assert "The budget is used up" in step(state).reason


def test_training_on_the_cpu_counts_no_gpu_hours() -> None:
    state = ran(new(budget={"gpu_hours": 0.1}), gpu_hours=0.0, cpu_hours=7.0)
    assert isinstance(step(state), Start)
    assert (state.spent.gpu_hours, state.spent.cpu_hours) == (0.0, 7.0)


def test_in_quiet_hours_it_waits_until_their_end() -> None:
    assert step(new(quiet=QUIET)) == Wait(datetime(2026, 6, 1, 18, tzinfo=UTC), "quiet hours 08:00 to 18:00 UTC")
    assert isinstance(step(new(quiet=QUIET), datetime(2026, 6, 1, 18, tzinfo=UTC)), Start)


def test_after_each_failure_in_a_row_it_waits_longer_up_to_a_longest() -> None:
    failures = FailureSettings(first_delay_s=60, factor=3, longest_delay_s=1000)
    assert [failures.delay_s(n) for n in (0, 1, 2, 3, 4, 5, 100)] == [0, 60, 180, 540, 1000, 1000, 1000]
    assert FailureSettings(first_delay_s=5000, longest_delay_s=1000).delay_s(1) == 1000
    state = ran(ran(new(failures={"first_delay_s": 60, "factor": 3}), outcome=Outcome.FAILED), outcome=Outcome.FAILED)
    assert step(state) == Wait(NOON + timedelta(seconds=180), "2 attempts failed in a row: 180 s must pass")
    assert isinstance(step(state, NOON + timedelta(seconds=180)), Start)
    assert isinstance(step(ran(state)), Start), "a cycle that completes ends the row"


def test_a_delay_that_ends_in_quiet_hours_is_prolonged_to_their_end() -> None:
    seven = datetime(2026, 6, 1, 7, 59, 30, tzinfo=UTC)
    state = ran(new(quiet=QUIET, failures={"first_delay_s": 60}), at=seven, outcome=Outcome.FAILED)
    assert step(state, seven).until == datetime(2026, 6, 1, 18, tzinfo=UTC)


def test_after_as_many_failures_in_a_row_as_the_settings_say_it_stops_with_the_last_ones_reason() -> None:
    state = new(failures={"stop_after": 2})
    state = ran(ran(state, outcome=Outcome.FAILED), outcome=Outcome.FAILED, reason="the card fell off the bus")
    assert step(state) == Stop("2 attempts failed in a row, the last one: the card fell off the bus", failed=True)
    assert isinstance(step(steered(state, Action.RESET_FAILURES)[0]), Start)


def test_a_plan_that_was_not_approved_is_a_cycle_and_no_failure() -> None:
    state = ran(new(failures={"stop_after": 1}), outcome=Outcome.NOT_APPROVED, reason="No.")
    assert isinstance(step(state), Start)
    assert (state.spent.cycles, state.failures) == (1, 0)


def test_a_cycle_that_was_cut_off_is_taken_up_with_its_own_settings_and_counts_once() -> None:
    state = begun(new(budget={"cycles": 1}), NOON)
    state = interrupted(state, NOON + timedelta(hours=2))
    state, _ = switched_on(state, "night", {"name": "other"}, state.settings, NOON)
    assert step(state) == Start(1, cut_off=True)
    state = begun(state, NOON + timedelta(hours=5), "run", "here")
    assert state.under_way is not None
    assert (state.under_way.number, state.under_way.attempts, state.under_way.settings) == (1, 2, {"name": "eyes"})
    assert state.under_way.spent_hours == 2.0
    state = end(state, NOON + timedelta(hours=6))
    assert state.spent.cycles == 1
    assert isinstance(step(state), Stop)


def test_an_attempt_that_was_killed_is_a_failure_with_delay_and_stop_and_one_that_was_cancelled_is_none() -> None:
    state = new(failures={"first_delay_s": 60, "factor": 3, "stop_after": 3})
    state = interrupted(begun(state, NOON), NOON)
    assert (lost(state, NOON), step(state)) == (state, Start(1, cut_off=True))
    state = lost(begun(state, NOON, "run", "box, process 7"), NOON)
    assert lost(state, NOON + timedelta(hours=1)) == state, "it is written down once"
    assert step(state) == Wait(NOON + timedelta(seconds=60), "The last attempt failed: 60 s must pass")
    assert step(state, NOON + timedelta(seconds=60)) == Start(1, cut_off=True), "the same cycle goes on"
    state = lost(begun(state, NOON), NOON)
    assert step(state).until == NOON + timedelta(seconds=180)
    state = lost(begun(state, NOON, "run", "box, process 9"), NOON)
    said = step(state)
    assert said.failed
    assert said.reason.startswith(
        "3 attempts failed in a row, the last one: Attempt 4 of cycle 1 (box, process 9) ended without a word"
    )
    assert state.spent.hours == 0, "how long they ran is known to nobody"
    done = end(begun(state, NOON), NOON)
    assert (done.failures, done.failed_at, done.failure) == (0, None, ""), "one that completes ends the row"


def test_hours_in_which_an_attempt_waits_for_a_person_do_not_count_whether_it_ends_or_is_interrupted() -> None:
    hour = timedelta(hours=1)
    answered_ = answered(asked(begun(new(), NOON), NOON + hour), NOON + 9 * hour)
    assert answered_.under_way is not None
    assert hours_until(answered_.under_way, NOON + 10 * hour) == 2.0
    cut = interrupted(answered_, NOON + 10 * hour)
    waits = interrupted(asked(begun(cut, NOON), NOON + hour), NOON + 100 * hour)
    assert waits.under_way is not None
    assert (waits.under_way.spent_hours, waits.under_way.waited_hours, waits.under_way.asked_at) == (3.0, 0.0, None)
    last = begun(waits, NOON)
    assert last.under_way is not None
    assert hours_until(last.under_way, NOON + hour) == 4.0
    killed = begun(lost(asked(begun(new(), NOON), NOON), NOON + hour), NOON + hour)
    assert killed.under_way is not None
    assert hours_until(killed.under_way, NOON + 2 * hour) == 1.0


@pytest.mark.parametrize("outcome", [Outcome.FAILED, Outcome.NOT_APPROVED])
def test_the_last_cycle_of_the_budget_is_tried_again_where_it_can_go_on(outcome: Outcome) -> None:
    facts: dict[str, Any] = {"cycle_id": "eyes-0001-aaaaaa", "goes_on": True}
    state = ran(new(budget={"cycles": 1}, failures={"first_delay_s": 0}), outcome=outcome, **facts)
    assert step(state) == Start(2, cut_off=False)
    cut = interrupted(begun(state, NOON), NOON)
    assert step(cut) == Start(2, cut_off=True)
    state = end(begun(cut, NOON), NOON, Outcome.FAILED, cycle_id=None)
    assert isinstance(step(state), Start), "a start that failed before it was planned has not changed that"
    other, _ = switched_on(state, "night", {"name": "other"}, state.settings, NOON)
    assert step(other).reason == "The budget is used up: 1 of 1 cycles", "that would be another cycle"
    over = ran(state, outcome=outcome, **{**facts, "goes_on": False})
    assert "1 of 1 cycles" in step(over).reason
    done = ran(state, cycle_id="eyes-0001-aaaaaa")
    assert (done.spent.cycles, isinstance(step(done), Stop)) == (1, True)


def test_a_cycle_counts_once_though_a_start_between_two_of_its_ends_failed_before_it_was_planned() -> None:
    state = ran(new(), outcome=Outcome.FAILED, cycle_id="eyes-0001", gpu_hours=10.0, cpu_hours=1.0)
    state = ran(state, outcome=Outcome.FAILED, cycle_id=None)
    state = ran(state, cycle_id="eyes-0001", gpu_hours=12.0, cpu_hours=3.0)
    assert (state.spent.cycles, state.spent.gpu_hours, state.spent.cpu_hours) == (1, 12.0, 3.0)


def test_a_failed_cycle_that_is_taken_up_again_counts_once_and_so_do_its_gpu_hours() -> None:
    state = ran(new(), outcome=Outcome.FAILED, cycle_id="eyes-0001", gpu_hours=2.0)
    state = ran(state, outcome=Outcome.COMPLETED, cycle_id="eyes-0001", gpu_hours=3.0)
    assert (state.spent.cycles, state.spent.gpu_hours, state.spent.hours) == (1, 3.0, 2.0)


def test_a_start_that_failed_before_it_was_planned_is_a_failure_and_no_cycle() -> None:
    state = ran(new(), outcome=Outcome.FAILED, cycle_id=None)
    assert (state.spent.cycles, state.failures) == (0, 1)


def test_a_changed_setting_is_told_and_holds_from_the_next_cycle_on() -> None:
    state = ran(new(budget={"cycles": 1}))
    same, said = switched_on(state, "night", {"name": "eyes"}, settings(budget={"cycles": 1}), NOON)
    assert (same, said) == (state, "is on")
    changed, said = switched_on(state, "night", {"name": "eyes"}, settings(budget={"cycles": 2}), NOON)
    assert said == "is on with changed settings (from the next cycle on)"
    assert (step(changed), changed.spent) == (Start(2, cut_off=False), state.spent)


def test_switched_on_again_by_a_person_it_has_no_failures_to_its_name_any_more() -> None:
    state = ran(new(failures={"stop_after": 1}), outcome=Outcome.FAILED)
    state = state.model_copy(update={"stopped": step(state).reason})
    again, said = switched_on(state, "night", state.cycle, state.settings, NOON)
    assert said == "is switched on again"
    assert isinstance(step(again), Start)


def test_each_action_does_what_it_says() -> None:
    state = new(budget={"cycles": 1})
    paused, _ = steered(state, Action.PAUSE, by="Ada")
    assert step(paused) == Wait(None, "Ada paused it")
    assert isinstance(step(steered(paused, Action.GO_ON)[0]), Start)
    stopped, _ = steered(state, Action.STOP_NOW, by="Ada")
    assert step(stopped) == Stop("Ada stopped it")
    assert isinstance(step(steered(stopped, Action.GO_ON)[0]), Start)
    last, _ = steered(begun(state, NOON), Action.STOP_AFTER_CYCLE)
    assert step(last) == Start(1, cut_off=True), "the cycle under way ends first"
    assert isinstance(step(end(last, NOON)), Stop)
    used = ran(state)
    used = used.model_copy(update={"stopped": step(used).reason})
    raised, said = steered(used, Action.RAISE_BUDGET, more=MoreBudget(cycles=2))
    assert said == "has a budget of 3 cycles now"
    assert isinstance(step(raised), Start)
    with pytest.raises(InputError, match="no limit on hours"):
        steered(used, Action.RAISE_BUDGET, more=MoreBudget(hours=1))


def test_go_on_is_refused_where_the_research_would_not_go_on_and_names_the_remedy() -> None:
    failing = ran(new(failures={"stop_after": 1}), outcome=Outcome.FAILED, reason="the card fell off the bus")
    failing = failing.model_copy(update={"stopped": step(failing).reason})
    with pytest.raises(InputError, match=r"night cannot go on .*fell off the bus.*Nothing was changed.*reset-failures"):
        steered(failing, Action.GO_ON)
    used = steered(ran(new(budget={"cycles": 1})), Action.PAUSE)[0]
    with pytest.raises(InputError, match=r"cannot go on .*1 of 1 cycles.*raise-budget"):
        steered(used, Action.GO_ON)
    assert isinstance(step(steered(failing, Action.RESET_FAILURES)[0]), Start)


events = st.lists(
    st.tuples(
        st.sampled_from(["completed", "failed", "refused", "killed", "cancelled", "nothing"]),
        st.integers(0, 400),
        st.floats(0.01, 5.0),
    ),
    max_size=40,
)


@given(events, st.integers(1, 6), st.floats(0.5, 12.0), st.booleans())
def test_whatever_happens_it_never_starts_in_quiet_hours_or_beyond_its_budget_and_no_cycle_has_two_numbers(
    happened: list[tuple[str, int, float]], cycles: int, hours: float, is_quiet: bool
) -> None:
    state = new(
        budget={"cycles": cycles, "hours": hours},
        quiet=QUIET if is_quiet else None,
        failures={"first_delay_s": 600, "stop_after": 3},
    )
    now, open_number, begun_numbers, dearest = NOON, None, [], 0.0
    for what, minutes, length_h in happened:
        now += timedelta(minutes=minutes)
        found = step(state, now)
        if isinstance(found, Wait):
            assert found.until is not None
            assert found.until > now
            assert isinstance(step(state, found.until), Start), "at the end of a wait it starts"
        if not isinstance(found, Start) or what == "nothing":
            continue
        assert not (state.settings.quiet and state.settings.quiet.holds(now))
        assert state.spent.cycles < cycles
        assert state.spent.hours + (dearest if open_number is None else 0) <= hours
        assert found.cut_off is (open_number is not None)
        assert found.number == (open_number if open_number is not None else len(begun_numbers) + 1)
        if open_number is None:
            begun_numbers.append(found.number)
        state, open_number = begun(state, now), found.number
        now += timedelta(hours=length_h)
        if what == "killed":
            state = lost(state, now)
            continue
        if what == "cancelled":
            state = interrupted(state, now)
            continue
        outcome = {"completed": Outcome.COMPLETED, "failed": Outcome.FAILED, "refused": Outcome.NOT_APPROVED}[what]
        state, open_number = end(state, now, outcome, hours=length_h), None
        dearest = max(dearest, length_h) if outcome is Outcome.COMPLETED else dearest
    assert begun_numbers == list(range(1, len(begun_numbers) + 1))
    assert state.spent.cycles <= cycles
