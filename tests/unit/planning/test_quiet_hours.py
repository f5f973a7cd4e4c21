"""Quiet hours: never a start in them, over midnight and over every change of the clock."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from glaucoma.planning.quiet_hours import QuietHours

BERLIN = ZoneInfo("Europe/Berlin")


def quiet(begin: str, end: str, timezone: str = "Europe/Berlin") -> QuietHours:
    return QuietHours.model_validate({"begin": begin, "end": end, "timezone": timezone})


def berlin(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=BERLIN)


@pytest.mark.parametrize(
    ("span", "at", "held"),
    [
        (("08:00", "18:00"), "2026-06-01T07:59:59", False),
        (("08:00", "18:00"), "2026-06-01T08:00:00", True),
        (("08:00", "18:00"), "2026-06-01T18:00:00", False),
        (("22:00", "06:00"), "2026-06-01T23:30:00", True),
        (("22:00", "06:00"), "2026-06-02T05:59:59", True),
        (("22:00", "06:00"), "2026-06-02T06:00:00", False),
    ],
)
def test_the_begin_is_quiet_the_end_is_not_and_a_span_goes_over_midnight(
    span: tuple[str, str], at: str, held: bool
) -> None:
    assert quiet(*span).holds(berlin(at)) is held


def test_it_is_the_clock_on_the_wall_that_counts_in_summer_and_in_winter() -> None:
    hours = quiet("08:00", "18:00")
    assert hours.over_at(berlin("2026-01-15T12:00:00")) == datetime(2026, 1, 15, 17, tzinfo=UTC)
    assert hours.over_at(berlin("2026-07-15T12:00:00")) == datetime(2026, 7, 15, 16, tzinfo=UTC)


def test_a_night_in_which_the_clock_is_put_forward_or_back_ends_by_the_clock_too() -> None:
    hours = quiet("22:00", "06:00")
    forward, back = hours.over_at(berlin("2026-03-28T23:00:00")), hours.over_at(berlin("2026-10-24T23:00:00"))
    assert (forward, back) == (datetime(2026, 3, 29, 4, tzinfo=UTC), datetime(2026, 10, 25, 5, tzinfo=UTC))


@pytest.mark.parametrize(
    ("given_", "said"),
    [
        ({"begin": "08:00", "end": "08:00"}, "no time of day would be left"),
        ({"begin": "08:00", "end": "09:00", "timezone": "Berlin"}, "no time zone"),
        ({"begin": "08:00", "end": "09:00", "timezone": "../../etc/passwd"}, "no time zone"),
        ({"begin": "08:00Z", "end": "09:00"}, "a time zone of its own"),
    ],
)
def test_hours_that_mean_nothing_are_refused(given_: dict[str, str], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        QuietHours.model_validate(given_)


minutes = st.integers(0, 24 * 60 - 1).map(lambda m: time(m // 60, m % 60))
moments = st.datetimes(datetime(2024, 1, 1), datetime(2028, 12, 31)).map(lambda at: at.replace(tzinfo=UTC))
zones = st.sampled_from(
    ["UTC", "Europe/Berlin", "America/New_York", "Asia/Kathmandu", "Australia/Lord_Howe", "Pacific/Apia"]
)


@given(minutes, minutes, zones, moments)
def test_the_end_is_not_quiet_and_comes_within_a_day_and_an_hour(
    begin: time, end: time, zone: str, at: datetime
) -> None:
    if begin == end:
        return
    hours = QuietHours(begin=begin, end=end, timezone=zone)
    over = hours.over_at(at)
    assert not hours.holds(over)
    assert at <= over <= at + timedelta(hours=25)
    assert (over == at) is not hours.holds(at)
