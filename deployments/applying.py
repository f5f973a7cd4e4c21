"""One application of the declared state to a server: what was done to each thing, and what could not be done."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from enum import Enum
from itertools import groupby
from typing import Any

import httpx
from prefect.client.orchestration import PrefectClient
from prefect.exceptions import ObjectAlreadyExists
from pydantic import BaseModel, ConfigDict

from glaucoma.errors import problems

Step = Callable[[], Awaitable[object]]
_CONFLICT = 409
_MANY = 3


class Outcome(Enum):
    """What became of one thing."""

    MADE = "made"
    CHANGED = "changed"
    SAME = "as declared"
    REMOVED = "removed"
    LEFT = "no longer declared"
    FAILED = "FAILED"


class Change(BaseModel):
    """One thing on the server, and what became of it."""

    model_config = ConfigDict(frozen=True)

    kind: str
    name: str
    outcome: Outcome
    detail: str = ""

    def line(self, *, dry_run: bool = False) -> str:
        """For a person."""
        done = self.outcome in (Outcome.MADE, Outcome.CHANGED, Outcome.REMOVED)
        what = f"would be {self.outcome.value}" if dry_run and done else self.outcome.value
        return f"{self.kind} {self.name}: {what}" + (f" ({self.detail})" if self.detail else "")


@dataclass
class Applying:
    """Where every step says what it did, and asks whether it may do anything."""

    client: PrefectClient
    dry_run: bool = False
    prune: bool = False
    changes: list[Change] = field(default_factory=list)

    def say(self, kind: str, name: str, outcome: Outcome, detail: str = "") -> None:
        """Takes down what became of a thing."""
        self.changes.append(Change(kind=kind, name=name, outcome=outcome, detail=detail))

    async def do(self, kind: str, name: str, outcome: Outcome, step: Step, detail: str = "") -> None:
        """Makes, changes or removes one thing, except in a dry run, and takes it down."""
        if not self.dry_run:
            await step()
        self.say(kind, name, outcome, detail)

    async def make(self, kind: str, name: str, step: Step, detail: str = "") -> None:
        """Makes a thing whose name is unique; where another application made it in this moment, that one serves."""
        try:
            await self.do(kind, name, Outcome.MADE, step, detail)
        except (ObjectAlreadyExists, httpx.HTTPStatusError) as error:
            if not _is_conflict(error):
                raise
            self.say(kind, name, Outcome.SAME, "another application made it just now")

    async def remove(self, kind: str, name: str, step: Step) -> None:
        """Removes what is ours and no longer declared, where that was asked for."""
        if self.prune:
            await self.attempt(kind, name, lambda: self.do(kind, name, Outcome.REMOVED, step))
        else:
            self.say(kind, name, Outcome.LEFT, "--prune removes it")

    async def attempt(self, kind: str, name: str, step: Step) -> None:
        """Takes one step; its failure is taken down and does not keep the others from being tried."""
        try:
            await step()
        except Exception as error:  # noqa: BLE001  whatever it was, it is listed, and ends the command with 1
            self.say(kind, name, Outcome.FAILED, reason(error))


def lines(changes: list[Change], *, dry_run: bool = False) -> list[str]:
    """For a person: a line for each thing; many queues of one pool that were made together share one."""
    shown: list[str] = []
    for (kind, pool, outcome), group in groupby(changes, lambda one: (one.kind, one.name.split("/")[0], one.outcome)):
        alike = list(group)
        if kind == "work queue" and outcome is Outcome.MADE and len(alike) > _MANY:
            first, last = alike[0].name, alike[-1].name.partition("/")[2]
            shown.append(alike[0].model_copy(update={"name": f"{first} .. {last}"}).line(dry_run=dry_run))
            shown[-1] += f" ({len(alike)} queues of {pool})"
        else:
            shown += [one.line(dry_run=dry_run) for one in alike]
    return shown


def reason(error: Exception) -> str:
    """Why a step failed, in one line: the server's own words where it gave some."""
    response = getattr(error, "response", None)
    if isinstance(response, httpx.Response):
        return f"the server answers {response.status_code}: {_words(response)}"
    return f"{type(error).__name__}: {problems(error)}"


def _words(response: httpx.Response) -> Any:
    try:
        said = response.json()
    except ValueError:
        return response.text[:500]
    return said.get("detail") or said.get("exception_message") or said if isinstance(said, dict) else said


def _is_conflict(error: Exception) -> bool:
    response = getattr(error, "response", None)
    return isinstance(error, ObjectAlreadyExists) or getattr(response, "status_code", None) == _CONFLICT
