"""The settings of continuous research and of its steering."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from flows.configs import FlowConfig, ResearchCycleConfig
from glaucoma.planning.continuous_settings import BudgetSettings, ContinuousSettings, FailureSettings
from glaucoma.planning.continuous_steer import Action, MoreBudget
from glaucoma.planning.quiet_hours import QuietHours
from glaucoma.workspace import NAME_PATTERN

ResearchName = Annotated[str, Field(pattern=NAME_PATTERN, examples=["night"])]


_WITH_A_CYCLE = {"budget": BudgetSettings(), "quiet": None, "failures": FailureSettings()}


class ContinuousConfig(FlowConfig):
    """Research, cycle after cycle, within a budget; with no settings: the turn of every research that is on."""

    name: ResearchName | None = Field(default=None, description="Of the research. Empty: every one that is on.")
    cycle: ResearchCycleConfig | None = Field(
        default=None, description="What each cycle does; it switches the research on. Empty: as it was given before."
    )
    budget: BudgetSettings = Field(default_factory=BudgetSettings, description="How much it may use in all.")
    quiet: QuietHours | None = Field(default=None, description="When no cycle starts. Empty: at any time.")
    failures: FailureSettings = Field(default_factory=FailureSettings, description="What follows a cycle that fails.")
    dry_run: bool = Field(default=False, description="Plan, say what the next cycle would try, and do nothing.")

    @model_validator(mode="before")
    @classmethod
    def _cycle_by_this_preset(cls, data: Any) -> Any:
        """A cycle without a preset of its own has the research's."""
        cycle = data.get("cycle") if isinstance(data, Mapping) else None
        if not isinstance(cycle, Mapping) or cycle.get("preset") or not data.get("preset"):
            return data
        return {**data, "cycle": {"preset": data["preset"], **{k: v for k, v in cycle.items() if k != "preset"}}}

    @model_validator(mode="after")
    def _every_setting_has_an_effect(self) -> Self:
        if self.cycle is None:
            idle = [name for name, default in _WITH_A_CYCLE.items() if getattr(self, name) != default]
            if idle:
                raise ValueError(f"{', '.join(idle)} would have no effect: give cycle too")
            return self
        if self.name is None:
            raise ValueError("a research that is switched on needs a name")
        if self.cycle.workspace is not None and self.cycle.workspace != self.workspace:
            raise ValueError("cycle.workspace would have no effect: name the workspace beside cycle")
        return self

    @property
    def named(self) -> str:
        """What the run is called."""
        return self.name or "all"

    @property
    def continuous(self) -> ContinuousSettings:
        """How much, when, and what follows a failure."""
        return ContinuousSettings(budget=self.budget, quiet=self.quiet, failures=self.failures)


class SteerConfig(FlowConfig):
    """Look at a continuous research, switch it on, pause it, stop it, or give it more."""

    name: ResearchName | None = Field(default=None, description="Of the research. Empty: all, and only to look at.")
    action: Action = Field(
        default=Action.STATUS,
        description="status; start (with research); pause, go-on; stop-after-cycle; stop-now, which cancels the run; "
        "reset-failures; raise-budget (with more).",
    )
    by: str = Field(default="", max_length=200, description="Who says so. It is kept with the research.")
    more: MoreBudget = Field(default_factory=MoreBudget, description="With raise-budget: by how much.")
    research: ContinuousConfig | None = Field(
        default=None,
        description="With start: the settings of the research, which is switched on; the next turn is its.",
    )

    @model_validator(mode="after")
    def _every_setting_has_an_effect(self) -> Self:
        if (self.research is not None) != (self.action is Action.START):
            raise ValueError("action start and research are given together, or neither of them")
        if self.more != MoreBudget() and self.action is not Action.RAISE_BUDGET:
            raise ValueError(f"more would have no effect on action {self.action}")
        if self.research is not None and (self.research.cycle is None or self.research.dry_run):
            raise ValueError("research must name its cycle, and be no dry run")
        if self.research is not None and self.research.workspace not in (None, self.workspace):
            raise ValueError("research.workspace would have no effect: name the workspace beside research")
        if self.research is not None and self.name not in (None, self.research.name):
            raise ValueError(f"name {self.name!r} is not research.name {self.research.name!r}")
        if self.name is None and self.action not in (Action.STATUS, Action.START):
            raise ValueError(f"action {self.action} needs the name of a research")
        return self

    @property
    def named(self) -> str:
        """What the run is called."""
        return f"{self.action}-{self.name or (self.research.name if self.research else None) or 'all'}"
