"""Look at a continuous research, and steer it: pause, go on, stop, forgive failures, raise the budget."""

from __future__ import annotations

import sys
from uuid import UUID

from prefect import flow
from prefect.client.orchestration import get_client
from prefect.exceptions import ObjectNotFound
from prefect.logging import get_run_logger
from prefect.states import Cancelling

from flows.cli import main
from flows.configs_research import SteerConfig
from flows.resolve import workspace_of
from flows.results_research import SteerResult, show_steer_result
from flows.turn import look, switch_on
from glaucoma.planning.continuous import ResearchState
from glaucoma.planning.continuous_steer import Action, steered
from glaucoma.planning.continuous_store import Research, names
from glaucoma.workspace import Workspace
from tasks.research import tell_stopped


@flow(name="steer", flow_run_name="steer-{config.named}")
def steer(config: SteerConfig) -> SteerResult:
    """Does what is asked, and shows where the research stands; with no name, where each of them stands."""
    workspace = workspace_of(config)
    did = do(config, workspace)
    get_run_logger().info("%s", did)
    name = config.name or (config.research.name if config.research else None)
    shown = [name] if name else names(workspace)
    return SteerResult(did=did, turns=[look(one, workspace) for one in shown])


def do(config: SteerConfig, workspace: Workspace) -> str:
    """Does what is asked; gives a sentence for people."""
    if config.research is not None:
        return switch_on(config.research, workspace)
    if config.name is None or config.action is Action.STATUS:
        return "Nothing was changed"
    research, said = Research(config.name, workspace), list[str]()

    def change(state: ResearchState) -> ResearchState:
        after, words = steered(state, config.action, by=config.by, more=config.more)
        said.append(words)
        return after

    state = research.change_there(change)
    line = f"Research {config.name} {said[-1]}"
    if config.action is Action.STOP_NOW:
        tell_stopped(state, failed=False)
        line += f". {cancel_its_run(research, state)}"
    return line


def cancel_its_run(research: Research, state: ResearchState) -> str:
    """Cancels the flow run that works on the research, if one does; gives a sentence for people."""
    run_id = state.under_way.flow_run_id if state.under_way else None
    if run_id is None or not research.is_under_way():
        return "Nothing of it runs"
    with get_client(sync_client=True) as client:
        try:
            client.set_flow_run_state(UUID(run_id), Cancelling())
        except ObjectNotFound:
            where = state.under_way.where if state.under_way else ""
            return f"Its cycle runs in a terminal ({where}), which this server does not know: end it there with Ctrl-C"
    return f"Its run {run_id} is being cancelled"


if __name__ == "__main__":
    sys.exit(main(steer, SteerConfig, show=show_steer_result))
