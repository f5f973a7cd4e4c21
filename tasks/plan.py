"""Plan: a cycle is opened, or taken up again, and its experiments are proposed from what the ledger knows."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefect.artifacts import create_table_artifact
from prefect.logging import get_run_logger

from tasks.stage import artifact_key, found_again, shown_if_possible, stage_task

if TYPE_CHECKING:
    from glaucoma.planning.settings import PlanSettings, Rules
    from glaucoma.training.settings import TrainSettings
    from glaucoma.workspace import Workspace


@stage_task(run_name="check models", timeout_s=600)
def check_models(train: TrainSettings) -> None:
    """Refuses unknown networks, and a tracker that is not installed, before any work is done."""
    from glaucoma.planning.cycle import require_known_models
    from glaucoma.training.tracking.tracker import require_installed

    require_known_models(train)
    require_installed(train.execution.tracking)


@stage_task(run_name="plan {name}", timeout_s=1800)
def plan_cycle(
    name: str,
    prepared: Path,
    workspace: Workspace,
    config: Mapping[str, Any],
    settings: PlanSettings,
    train: TrainSettings,
    rules: Rules,
) -> Any:
    """Proposes the cycle's experiments and writes `plan.json`; finds the plan of a cycle that was cut off."""
    from glaucoma.planning.cycle import open_cycle
    from glaucoma.records.ledger import Ledger

    ledger = Ledger(workspace.ledger_url)
    cycle = open_cycle(
        ledger, workspace, name=name, prepared=prepared, config=config, plan=settings, train=train, rules=rules
    )
    proposals = cycle.plan.proposals
    with shown_if_possible():
        create_table_artifact(
            table=[{"experiment": p.experiment_id, "novelty": p.novelty.value, "why": p.reason} for p in proposals],
            key=artifact_key("plan", cycle.plan.cycle_id),
            description=f"**{cycle.plan.cycle_id}**: what is tried, and why",
        )
    logger = get_run_logger()
    logger.info(
        "%s %s: %d experiments", "Goes on with" if cycle.resumed else "Planned", cycle.plan.cycle_id, len(proposals)
    )
    for proposal in proposals:
        logger.info("  %s (%s): %s", proposal.experiment_id, proposal.novelty.value, proposal.reason)
    for note in cycle.plan.notes:
        logger.warning("%s", note)
    if cycle.resumed:
        return found_again(cycle.plan, f"{cycle.plan.cycle_id} was planned already")
    return cycle.plan
