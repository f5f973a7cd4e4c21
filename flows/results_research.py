"""What continuous research and its steering give back."""

from __future__ import annotations

import sys
from datetime import datetime
from enum import StrEnum

from pydantic import Field

from flows.results import Result
from glaucoma.planning.continuous import Spent
from glaucoma.records.words import Novelty
from glaucoma.schema import Task


class Next(StrEnum):
    """What follows a turn."""

    START = "start"
    WAIT = "wait"
    STOP = "stop"
    BUSY = "busy"


class Turn(Result):
    """One look at a research, and the cycle that it ran, if it ran one."""

    name: str
    ran: str | None = Field(default=None, description="How a cycle ended that this turn ran; none where it ran none.")
    cycle_id: str | None = None
    reason: str = Field(default="", description="Why it failed, or was not approved.")
    next: Next = Field(description="start, wait, stop, or busy where another process works on it.")
    until: datetime | None = Field(default=None, description="With wait; none where only a person ends it.")
    says: str = Field(description="The same for people.")
    spent: Spent = Field(default_factory=Spent)


class Planned(Result):
    """An experiment that the next cycle would try."""

    experiment_id: str
    task: Task
    novelty: Novelty
    reason: str


class WouldTry(Result):
    """What the next cycle of a research would do."""

    name: str
    says: str
    takes_up: str | None = Field(default=None, description="The cycle that was cut off and would go on.")
    experiments: list[Planned] = Field(default_factory=list)
    notes: list[str] = Field(default_factory=list)


class ResearchResult(Result):
    """The turns of a run; in a dry run what the next cycles would try."""

    turns: list[Turn] = Field(default_factory=list)
    would_try: list[WouldTry] = Field(default_factory=list)


class SteerResult(Result):
    """What was asked of a research, and where it stands."""

    did: str
    turns: list[Turn] = Field(description="Each research, and what follows.")


def show_research_result(result: ResearchResult) -> None:
    """Prints a line a turn, or the plans of a dry run."""
    for one in result.would_try:
        sys.stdout.write(f"Research {one.name}: {one.says}. A dry run: nothing was done.\n")
        if one.takes_up:
            sys.stdout.write(f"It would go on with {one.takes_up}:\n")
        for planned in one.experiments:
            sys.stdout.write(f"  {planned.experiment_id} ({planned.task}, {planned.novelty}): {planned.reason}\n")
        for note in one.notes:
            sys.stdout.write(f"  {note}\n")
    _show_turns(result.turns)
    if not result.turns and not result.would_try:
        sys.stdout.write("No research is on.\n")


def show_steer_result(result: SteerResult) -> None:
    """Prints what was done, and where each research stands."""
    sys.stdout.write(f"{result.did}\n")
    _show_turns(result.turns)


def _show_turns(turns: list[Turn]) -> None:
    for turn in turns:
        ran = f"cycle {turn.cycle_id or ''} {turn.ran}; ".replace("  ", " ") if turn.ran else ""
        sys.stdout.write(f"Research {turn.name}: {ran}{turn.says}\n")
