"""Quiet hours: a span of the local day in which no cycle starts, over midnight and over changes of the clock."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from typing import Self
from zoneinfo import ZoneInfo, available_timezones

from pydantic import Field, field_validator, model_validator

from glaucoma.settings import Settings

_MOST_DAYS = 3
"""An end of quiet hours is never further away, whatever the clock does."""


class QuietHours(Settings):
    """When no cycle starts, by the clock on the wall; a cycle that runs goes on."""

    begin: time = Field(description="From this time of day on, such as 08:00.", examples=["08:00"])
    end: time = Field(
        description="Until this time of day; earlier than the begin: of the next day.", examples=["18:30"]
    )
    timezone: str = Field(
        default="UTC", description="Whose time of day, by name, such as Europe/Berlin.", examples=["Europe/Berlin"]
    )

    @field_validator("begin", "end")
    @classmethod
    def _plain(cls, value: time) -> time:
        if value.tzinfo is not None:
            raise ValueError(f"{value} names a time zone of its own: name it in timezone")
        return value

    @field_validator("timezone")
    @classmethod
    def _known(cls, value: str) -> str:
        if value not in available_timezones():
            raise ValueError(f"{value!r} is no time zone; expected a name such as Europe/Berlin, or UTC")
        return value

    @model_validator(mode="after")
    def _some_of_the_day(self) -> Self:
        if self.begin == self.end:
            raise ValueError(f"begin and end are both {self.begin:%H:%M}: no time of day would be left, or all of it")
        return self

    def holds(self, at: datetime) -> bool:
        """True where `at`, a moment with a time zone, lies in quiet hours: the begin is quiet, the end is not."""
        clock = at.astimezone(ZoneInfo(self.timezone)).time()
        if self.begin < self.end:
            return self.begin <= clock < self.end
        return clock >= self.begin or clock < self.end

    def over_at(self, at: datetime) -> datetime:
        """The first end of quiet hours at or after `at`, in UTC; `at` itself where it is not quiet.

        Where the clock jumps over the end, it is as much later as the clock jumped.
        """
        if not self.holds(at):
            return at.astimezone(UTC)
        zone = ZoneInfo(self.timezone)
        today = at.astimezone(zone).date()
        ends = [
            datetime.combine(today + timedelta(days=days), self.end, zone).replace(fold=fold).astimezone(UTC)
            for days in range(_MOST_DAYS)
            for fold in (0, 1)
        ]
        return min(end for end in ends if end > at and not self.holds(end))

    def __str__(self) -> str:
        return f"quiet hours {self.begin:%H:%M} to {self.end:%H:%M} {self.timezone}"
