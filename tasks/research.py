"""Continuous research and people: a page that says where it stands, events for automations, and how long it waits."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from prefect import runtime
from prefect.artifacts import create_markdown_artifact
from prefect.events import emit_event
from prefect.logging import get_run_logger

from tasks.stage import artifact_key, shown_if_possible

if TYPE_CHECKING:
    from glaucoma.planning.continuous import ResearchState, Step
    from glaucoma.planning.continuous_store import Research
    from glaucoma.workspace import Workspace


@contextlib.contextmanager
def wait_noted(workspace: Workspace) -> Iterator[None]:
    """While a plan waits for a person: noted with the research that the cycle is of, whose hours do not count it.

    Where the wait is cut off, its end is the attempt's.
    """
    from glaucoma.planning.continuous_attempt import answered, asked
    from glaucoma.planning.continuous_store import worked_on_by

    turn = runtime.flow_run.parent_flow_run_id
    research = worked_on_by(str(turn), workspace) if turn else None
    if research is not None:
        asked_at = datetime.now(UTC)
        research.change_there(lambda state: asked(state, asked_at))
    yield
    if research is not None:
        answered_at = datetime.now(UTC)
        research.change_there(lambda state: answered(state, answered_at))


def show_research(research: Research, state: ResearchState, step: Step) -> str:
    """Puts the research's page in place, and gives its first line back."""
    from glaucoma.planning.continuous_page import page, step_text

    with shown_if_possible():
        create_markdown_artifact(
            page(state, step, research.journal(), running=research.is_under_way()),
            key=artifact_key("research", state.name),
            description=f"Continuous research {state.name}",
        )
    line = step_text(step)
    get_run_logger().info("Research %s: %s", state.name, line)
    return line


def tell_stopped(state: ResearchState, *, failed: bool) -> None:
    """Raises the event that an automation tells a person by."""
    emit_event(
        "arc.research.failed" if failed else "arc.research.stopped",
        resource={"prefect.resource.id": f"arc.research.{state.name}", "prefect.resource.name": state.name},
        payload={
            "reason": state.stopped,
            "failures_in_a_row": state.failures,
            "cycles": state.spent.cycles,
            "hours": round(state.spent.hours, 3),
            "gpu_hours": round(state.spent.gpu_hours, 3),
        },
    )
