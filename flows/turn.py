"""One turn of a continuous research: what follows is looked up, and where that is a cycle, it runs here."""

from __future__ import annotations

import os
import socket
from datetime import UTC, datetime
from typing import Any

from prefect import runtime
from prefect.client.schemas.objects import State
from prefect.logging import get_run_logger
from pydantic import ValidationError

from flows.configs import ResearchCycleConfig
from flows.configs_research import ContinuousConfig
from flows.results_research import Next, Turn
from glaucoma.errors import ArcError, problems
from glaucoma.planning.continuous import (
    CycleEnd,
    CycleUnderWay,
    Outcome,
    ResearchState,
    Start,
    Step,
    Stop,
    Wait,
    next_step,
    switched_on,
)
from glaucoma.planning.continuous_store import Research
from glaucoma.workspace import Workspace
from tasks.approve import UNANSWERED
from tasks.research import show_research, tell_stopped


def switch_on(config: ContinuousConfig, workspace: Workspace) -> str:
    """Switches the research of the settings on; gives a sentence for people."""
    assert config.cycle is not None  # noqa: S101  the settings have seen to both
    assert config.name is not None  # noqa: S101
    name, settings = config.name, config.continuous
    cycle = config.cycle.model_copy(update={"workspace": None}).model_dump(mode="json")
    said: list[str] = []

    def change(before: ResearchState | None) -> ResearchState:
        after, words = switched_on(before, name, cycle, settings, datetime.now(UTC))
        said.append(words)
        return after

    Research(name, workspace).change(change)
    return f"Research {name} {said[-1]}"


def take_turn(name: str, workspace: Workspace) -> Turn:
    """Runs the research's next cycle, if one is due, and says what follows."""
    from glaucoma.planning.continuous_turn import settle

    research = Research(name, workspace)
    with research.turn() as mine:
        if not mine:
            return busy(research)
        ran = left_unsaid(research)
        settled = settle(research, datetime.now(UTC))
        if ran is None and isinstance(settled.step, Start):
            ran = run_cycle(research)
            settled = settle(research, datetime.now(UTC))
        if settled.just_stopped:
            tell_stopped(settled.state, failed=isinstance(settled.step, Stop) and settled.step.failed)
    show_research(research, settled.state, settled.step)
    return turn_of(settled.state, settled.step, ran)


def left_unsaid(research: Research) -> CycleEnd | None:
    """Writes down what a kill kept from it: the cycle's end, which is given back, or that its attempt was lost."""
    from glaucoma.planning.continuous_turn import book_ended_already, ended_already, write_lost

    config = cycle_under_way(research)
    if config is not None and (identity := identity_of(config)) is not None:
        try:
            if (cycle := ended_already(research, config.name, identity)) is not None:
                get_run_logger().info("Cycle %s had ended, and its end was not written down", cycle.cycle_id)
                return book_ended_already(research, cycle).last
        except ArcError as error:  # such as a damaged plan
            begin_attempt(research)  # a new one, as nobody knows how long the last one took
            return failed(research, str(error), None)
    if said := write_lost(research, datetime.now(UTC)):
        get_run_logger().warning("Research %s: %s", research.name, said)
    return None


def begin_attempt(research: Research) -> CycleUnderWay:
    """Writes that this process works on a cycle: a new one, or the one that was cut off."""
    from glaucoma.planning.continuous_turn import begin

    where = f"{socket.gethostname()}, process {os.getpid()}"
    return begin(research, datetime.now(UTC), str(runtime.flow_run.id), where)


def run_cycle(research: Research) -> CycleEnd | None:
    """Runs one cycle, new or cut off before, and writes down how it ended; None where it was cut off again."""
    from flows.research_cycle import research_cycle
    from glaucoma.planning.continuous_turn import write_interrupted

    under_way = begin_attempt(research)
    get_run_logger().info("Research %s: cycle %d, attempt %d", research.name, under_way.number, under_way.attempts)
    try:
        settings = {**under_way.settings, "workspace": research.workspace.root}
        config = ResearchCycleConfig.model_validate(settings)
        return written_down(research, config, research_cycle(config, return_state=True))
    except ValidationError as error:  # the settings were good once, for another version of this program
        return failed(research, f"Its settings do not hold any more ({problems(error)})", None)
    except Exception as error:  # noqa: BLE001  as a cycle's own failure: waits and stops, and is not tried for ever
        get_run_logger().exception("Research %s: cycle %d", research.name, under_way.number)
        return failed(research, str(error) or type(error).__name__, None)
    except BaseException:  # cancelled, or asked to end: the cycle goes on at the next turn
        write_interrupted(research, datetime.now(UTC))
        raise


def cycle_under_way(research: Research) -> ResearchCycleConfig | None:
    """The settings of the cycle that was cut off; None where none was, or where they do not hold any more."""
    under_way = research.require().under_way
    try:
        return ResearchCycleConfig.model_validate(under_way.settings) if under_way is not None else None
    except ValidationError:
        return None


def identity_of(config: ResearchCycleConfig) -> dict[str, Any] | None:
    """What makes two starts the same cycle; None where the rules cannot be read, so that no cycle can begin."""
    from flows.research_cycle import cycle_identity
    from glaucoma.planning.settings import load_rules

    try:
        return cycle_identity(config, load_rules(config.rules))
    except ArcError:
        return None


def written_down(research: Research, config: ResearchCycleConfig, state: State[Any]) -> CycleEnd | None:
    """Writes down how the cycle's flow run ended."""
    from glaucoma.planning.continuous_turn import book, pause_unanswered

    now = datetime.now(UTC)
    if state.is_completed():
        cycle_id = state.result().record.cycle_id
        return book(research, Outcome.COMPLETED, "", cycle_id, now).last
    if state.is_cancelled():
        reason = state.message or "Its plan was not approved"
        end = book(research, Outcome.NOT_APPROVED, reason, cycle_id_since(research, config), now).last
        if state.name == UNANSWERED:
            pause_unanswered(research, reason)
        return end
    error = state.result(raise_on_failure=False)
    return failed(research, str(error) or type(error).__name__, cycle_id_since(research, config))


def failed(research: Research, reason: str, cycle_id: str | None) -> CycleEnd | None:
    """Writes down a cycle that failed."""
    from glaucoma.planning.continuous_turn import book

    return book(research, Outcome.FAILED, reason, cycle_id, datetime.now(UTC)).last


def cycle_id_since(research: Research, config: ResearchCycleConfig) -> str | None:
    """The cycle that the research's present attempt worked on; None where it came to none."""
    from glaucoma.planning.continuous_turn import cycle_of_attempt

    identity = identity_of(config)
    try:
        cycle = cycle_of_attempt(research, config.name, identity) if identity is not None else None
    except ArcError as error:  # such as a damaged plan, which may be the cycle's failure or another cycle's
        get_run_logger().warning("Research %s: the cycle cannot be told: %s", research.name, error)
        return None
    return cycle.cycle_id if cycle is not None else None


def turn_of(state: ResearchState, step: Step, ran: CycleEnd | None = None) -> Turn:
    """A turn's result."""
    from glaucoma.planning.continuous_page import step_text

    kind = {Start: Next.START, Wait: Next.WAIT, Stop: Next.STOP}[type(step)]
    return Turn(
        name=state.name,
        ran=ran.outcome.value if ran else None,
        cycle_id=ran.cycle_id if ran else None,
        reason=ran.reason if ran else "",
        next=kind,
        until=step.until if isinstance(step, Wait) else None,
        says=step_text(step),
        spent=state.spent,
    )


def busy(research: Research) -> Turn:
    """The result where another process works on the research."""
    state = research.require()
    under_way = state.under_way
    where = f" ({under_way.where})" if under_way is not None and under_way.where else ""
    says = f"is being worked on by another process{where}: one cycle at a time"
    get_run_logger().warning("Research %s %s", research.name, says)
    return Turn(name=research.name, next=Next.BUSY, says=says, spent=state.spent)


def look(name: str, workspace: Workspace) -> Turn:
    """Where the research stands; nothing is changed."""
    research = Research(name, workspace)
    state = research.require()
    step = next_step(state, state.settings, datetime.now(UTC))
    show_research(research, state, step)
    return turn_of(state, step)
