"""Continuous research: cycle after cycle, within a budget, outside quiet hours, one at a time."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import UTC, datetime

from prefect import flow
from prefect.logging import get_run_logger

from flows.cli import main
from flows.configs import ResearchCycleConfig
from flows.configs_research import ContinuousConfig
from flows.resolve import prepared_folder, workspace_of
from flows.results_research import Planned, ResearchResult, Turn, WouldTry, show_research_result
from flows.terminal import in_terminal, run_with_two_stops
from flows.turn import switch_on, take_turn
from glaucoma.errors import ArcError, NotFoundError
from glaucoma.planning.continuous import next_step, switched_on
from glaucoma.planning.continuous_store import Research, waiting_longest
from glaucoma.workspace import Workspace


@flow(name="research", flow_run_name="research-{config.named}")
def research(config: ContinuousConfig) -> ResearchResult:
    """The turn of one research, or of every one that is on: the next cycle, if it is due.

    With a cycle's settings the research is switched on first; settings that changed hold from its next cycle on.
    """
    workspace = workspace_of(config)
    if config.dry_run:
        return ResearchResult(would_try=[would_try(name, config, workspace) for name in names(config, workspace)])
    if config.cycle is not None:
        get_run_logger().info("%s", switch_on(config, workspace))
    return ResearchResult(turns=take_turns(names(config, workspace), workspace))


def take_turns(names: Sequence[str], workspace: Workspace) -> list[Turn]:
    """The turn of each; one that ends in an error does not keep the others from theirs.

    Raises:
        ArcError: Some turns ended in an error; of one alone the error itself is raised.
    """
    turns, errors = list[Turn](), dict[str, Exception]()
    for name in names:
        try:
            turns.append(take_turn(name, workspace))
        except Exception as error:  # noqa: BLE001  whatever it was, the others have their turn, and all are told
            get_run_logger().error("Research %s: %s", name, error)
            errors[name] = error
    if len(errors) == 1:
        raise next(iter(errors.values()))
    if errors:
        raise ArcError(
            f"The turns of {len(errors)} of {len(names)} researches ended in an error "
            f"({' '.join(f'{name}: {error}' for name, error in errors.items())})",
            consequence="The others had their turn",
            remedy="mend what is named: the next turn goes on from there",
        )
    return turns


def names(config: ContinuousConfig, workspace: Workspace) -> list[str]:
    """The research of the settings; where they name none, every one, who waits longest first."""
    return [config.name] if config.name is not None else waiting_longest(workspace)


def would_try(name: str, config: ContinuousConfig, workspace: Workspace) -> WouldTry:
    """What the next cycle would try, planned as it would plan; nothing is written."""
    from flows.turn import identity_of
    from glaucoma.planning.continuous_page import step_text
    from glaucoma.planning.cycle_found import preview
    from glaucoma.planning.settings import load_rules

    now, before = datetime.now(UTC), Research(name, workspace).read()
    if config.cycle is not None:
        cycle = config.cycle.model_copy(update={"workspace": None}).model_dump(mode="json")
        state, _ = switched_on(before, name, cycle, config.continuous, now)
    else:
        state = before or Research(name, workspace).require()
    says = step_text(next_step(state, state.settings, now))
    settings = state.under_way.settings if state.under_way else state.cycle
    asked = ResearchCycleConfig.model_validate(settings)
    try:
        prepared = prepared_folder(workspace, asked.name, None)
    except NotFoundError:
        archive = f"{asked.archive} would be taken in first" if asked.archive else "no archive is named either"
        return WouldTry(name=name, says=says, notes=[f"No prepared dataset {asked.name} is there: {archive}."])
    rules = load_rules(asked.rules)
    found = preview(workspace, asked.name, prepared, identity_of(asked) or {}, asked.plan, asked.train, rules)
    experiments = [
        Planned(experiment_id=p.experiment_id, task=p.spec.task, novelty=p.novelty, reason=p.reason)
        for p in found.plan.proposals
    ]
    notes = list(found.plan.notes)
    if asked.archive is not None:
        notes.append(f"{asked.archive} is taken in first; this is the plan for the dataset that is prepared now.")
    took_up = found.plan.cycle_id if found.taken_up else None
    return WouldTry(name=name, says=says, takes_up=took_up, experiments=experiments, notes=notes)


def command() -> int:
    """The command: turn after turn until the budget is used up or somebody stops it."""

    def loop(config: ContinuousConfig) -> ResearchResult:
        return research(config) if config.dry_run else in_terminal(research, config)

    return main(loop, ContinuousConfig, show=show_research_result)


if __name__ == "__main__":
    sys.exit(run_with_two_stops(command))
