"""What a person can ask of a continuous research, as changes of its state."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from pydantic import Field

from glaucoma.errors import InputError
from glaucoma.planning.continuous import NO_FAILURES, ResearchState, Stop, why_off
from glaucoma.planning.continuous_settings import BudgetSettings
from glaucoma.settings import Settings


class Action(StrEnum):
    """What is asked."""

    STATUS = "status"
    START = "start"
    PAUSE = "pause"
    GO_ON = "go-on"
    STOP_AFTER_CYCLE = "stop-after-cycle"
    STOP_NOW = "stop-now"
    RESET_FAILURES = "reset-failures"
    RAISE_BUDGET = "raise-budget"


class MoreBudget(Settings):
    """By how much the budget is raised."""

    cycles: int = Field(default=0, ge=0, le=1_000_000, description="More cycles.")
    hours: float = Field(default=0.0, ge=0, le=1_000_000, description="More hours.")
    gpu_hours: float = Field(default=0.0, ge=0, le=10_000_000, description="More GPU hours.")


def steered(
    state: ResearchState, action: Action, *, by: str = "", more: MoreBudget | None = None
) -> tuple[ResearchState, str]:
    """The state after `action`, and what was done, in a sentence. `status` and `start` change nothing here.

    Raises:
        InputError: It cannot go on before something else is done; or the budget is to be raised by nothing, or where
            it has no limit.
    """
    person = by.strip() or "A person"
    changes: dict[str, Any] = {}
    said = "was left as it was"
    if action is Action.PAUSE:
        changes, said = {"paused": f"{person} paused it"}, "is paused: a cycle that runs ends, and none starts"
    elif action is Action.GO_ON:
        changes, said = {"paused": "", "stopped": "", "stop_after_cycle": False}, "goes on"
        _require_on(state.model_copy(update=changes))
    elif action is Action.STOP_AFTER_CYCLE:
        changes, said = {"stop_after_cycle": True}, "stops after the cycle that runs, or was cut off"
    elif action is Action.STOP_NOW:
        changes, said = {"stopped": f"{person} stopped it"}, "is stopped; a cycle that is cut off goes on after go-on"
    elif action is Action.RESET_FAILURES:
        changes, said = dict(NO_FAILURES), "has no failures to its name any more"
        changes |= {"stopped": ""} if state.failures >= state.settings.failures.stop_after else {}
    elif action is Action.RAISE_BUDGET:
        budget, said = _raised(state.settings.budget, more or MoreBudget())
        changes = {"settings": state.settings.model_copy(update={"budget": budget})}
        changes |= {"stopped": ""} if state.stopped.startswith("The budget is used up") else {}
    return state.model_copy(update=changes), said


def _require_on(state: ResearchState) -> None:
    stop: Stop | None = why_off(state, state.settings)
    if stop is not None:
        raise InputError(
            f"Research {state.name} cannot go on ({stop.reason})",
            expected="a research that may have another cycle",
            consequence="Nothing was changed",
            remedy=f"{Action.RESET_FAILURES} forgives the failures"
            if stop.failed
            else f"{Action.RAISE_BUDGET} gives it more",
        )


def _raised(budget: BudgetSettings, more: MoreBudget) -> tuple[BudgetSettings, str]:
    wanted = {name: value for name, value in more.model_dump().items() if value}
    endless = [name for name in wanted if getattr(budget, name) is None]
    if not wanted or endless:
        raise InputError(
            f"The budget has no limit on {' and '.join(endless)}"
            if endless
            else "The budget is to be raised by nothing",
            expected="more of what has a limit",
            consequence="Nothing was changed",
            remedy="say by how much, with more.cycles, more.hours or more.gpu_hours",
        )
    raised = budget.model_copy(update={name: getattr(budget, name) + value for name, value in wanted.items()})
    left = ", ".join(f"{getattr(raised, name):g} {name.replace('_', ' ')}" for name in wanted)
    return raised, f"has a budget of {left} now"
