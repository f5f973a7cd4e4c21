"""The settings of continuous research: how much of it, when, and what follows a failure."""

from __future__ import annotations

from pydantic import Field

from glaucoma.planning.quiet_hours import QuietHours
from glaucoma.settings import Settings


class BudgetSettings(Settings):
    """How much a continuous research may use in all. It is looked at before a cycle starts.

    No cycle starts where less is left than the dearest completed one took, so only a cycle that takes more than all
    before it can go beyond.
    """

    cycles: int | None = Field(default=None, ge=1, le=1_000_000, description="Cycles. Empty: any number.")
    hours: float | None = Field(
        default=None,
        gt=0,
        le=1_000_000,
        description="Hours in which cycles run, without those that a plan waits for a person. Empty: any number.",
    )
    gpu_hours: float | None = Field(
        default=None,
        gt=0,
        le=10_000_000,
        description="Hours of training on GPUs, times their number; training on the CPU counts 0. Empty: any number.",
    )


class FailureSettings(Settings):
    """What follows a cycle that fails."""

    first_delay_s: float = Field(
        default=600.0, ge=0, le=604_800, description="Before the next cycle starts, after one that failed."
    )
    factor: float = Field(default=2.0, ge=1, le=100, description="Each further failure in a row: so many times longer.")
    longest_delay_s: float = Field(default=21_600.0, ge=0, le=2_592_000, description="But never longer than this.")
    stop_after: int = Field(
        default=5, ge=1, le=100, description="After so many failures in a row it stops, and a person is told."
    )

    def delay_s(self, failures: int) -> float:
        """Seconds to wait after so many failures in a row; none after none."""
        delay = self.first_delay_s if failures > 0 else 0.0
        for _ in range(failures - 1):
            if delay >= self.longest_delay_s or delay == 0:
                break
            delay *= self.factor
        return min(delay, self.longest_delay_s)


class ContinuousSettings(Settings):
    """How much, when, and what follows a failure."""

    budget: BudgetSettings = Field(default_factory=BudgetSettings, description="How much it may use in all.")
    quiet: QuietHours | None = Field(default=None, description="When no cycle starts. Empty: at any time.")
    failures: FailureSettings = Field(default_factory=FailureSettings, description="What follows a cycle that fails.")
