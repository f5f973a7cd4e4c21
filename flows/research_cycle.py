"""One research cycle: archive in, report out."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from prefect import flow, runtime
from prefect.client.schemas.objects import State
from prefect.logging import get_run_logger

from flows.cli import main
from flows.configs import ResearchCycleConfig
from flows.configs_queue import PlannedExperimentConfig
from flows.elsewhere import bring_completed
from flows.experiment import run_experiment
from flows.hooks import WAITED
from flows.intake import intake
from flows.queues import require_fitting
from flows.resolve import account_of, prepared_folder, workspace_of
from flows.results import CycleResult, show_cycle
from glaucoma.errors import InputError, TrainingError
from glaucoma.planning.batch import is_done
from glaucoma.planning.cycle import CyclePlan, can_go_on
from glaucoma.planning.propose import Proposal
from glaucoma.planning.settings import Rules, load_rules
from glaucoma.records.comparison import Comparison
from glaucoma.records.cycle_turn import cycle_turn
from glaucoma.records.ledger import Ledger
from glaucoma.records.words import CycleStatus
from glaucoma.reporting.conclude import promotion_vetoes
from glaucoma.schema import Split
from glaucoma.training.experiment import open_experiment
from glaucoma.workspace import Workspace
from tasks.approve import approve
from tasks.await_runs import Ended, cancelled_together, wait_for
from tasks.conclude import compare_experiments, conclude
from tasks.evaluate import evaluate
from tasks.plan import check_models, plan_cycle
from tasks.remember import failure_remembered, remember, remember_lost
from tasks.stage import artifact_key
from tasks.submit import Submitted, Wanted, is_served, submit

PLANNED = "planned-experiment/planned-experiment"


@flow(name="research-cycle", flow_run_name="research-cycle-{config.name}", **WAITED)
def research_cycle(config: ResearchCycleConfig) -> CycleResult:
    """One research cycle: intake, plan, experiments, comparison, one look at the test split, record and report.

    A cycle that was cut off is taken up again by the next start with the same settings; one that another process works
    on is left to it. A plan waits for a person where
    the variable `arc_mode` asks for one.
    """
    workspace = workspace_of(config)
    rules = load_rules(config.rules)
    check_models(config.train)
    account_of(config.train.execution.tracking)  # a block that is missing is no experiment's failure
    prepared = prepared_dataset(config, workspace)
    identity = cycle_identity(config, rules)
    plan: CyclePlan = plan_cycle(config.name, prepared, workspace, identity, config.plan, config.train, rules)
    with cycle_turn(plan.cycle_id, str(runtime.flow_run.id), workspace):
        approved: Any = approve(plan, config.approval, rules, workspace)
        if isinstance(approved, State):
            return approved  # type: ignore[return-value]  # the run ends in it
        run_proposals(approved, plan, config, workspace)
        comparisons: list[Comparison] = compare_experiments(plan, workspace, config.evaluate)
        for comparison in comparisons:
            look_at_test(comparison, plan, config, workspace)
        done = conclude(
            plan, comparisons, workspace, prepared, identity, config.preset.value, config.plan, config.train
        )
    if done.record.status is not CycleStatus.COMPLETED:
        goes_on = can_go_on(Ledger(workspace.ledger_url), plan)
        then = f"takes {plan.cycle_id} up again" if goes_on else "tries other experiments"
        raise TrainingError(
            f"{done.record.failure} {'; '.join(done.record.learned)}",
            remedy=f"see {done.report_path}; the same command {then}",
        )
    return CycleResult.of(done)


def prepared_dataset(config: ResearchCycleConfig, workspace: Workspace) -> Path:
    """The dataset that the cycle works on: taken in from the archive, or the newest one of that name."""
    if config.archive is None:
        return prepared_folder(workspace, config.name, None)
    return intake(config.intake(config.archive)).prepared


def cycle_identity(config: ResearchCycleConfig, rules: Rules) -> dict[str, Any]:
    """What makes two starts the same cycle: all settings but places, and how, when and by whose leave it is run."""
    settings = config.model_dump(mode="json", exclude={"workspace", "archive", "queue", "recovery_s", "approval"})
    settings["train"].pop("execution")
    settings["rules"] = rules.model_dump(mode="json")
    return settings


def run_proposals(
    proposals: Sequence[Proposal], plan: CyclePlan, config: ResearchCycleConfig, workspace: Workspace
) -> None:
    """Runs these experiments of the plan: by the GPUs' workers where a worker runs the cycle, else here, one by one."""
    if is_served(PLANNED):
        run_on_workers(proposals, plan, config, workspace)
        return
    for proposal in proposals:
        attempt(proposal, config, workspace)


def run_on_workers(
    proposals: Sequence[Proposal], plan: CyclePlan, config: ResearchCycleConfig, workspace: Workspace
) -> None:
    """Submits each proposed experiment as a run of its own and waits for all of them, holding no GPU meanwhile.

    What an earlier start of this cycle submitted, and is not over, is waited for and not submitted again. One that
    crashed is waited for in the run that `recover` starts in its place.
    """
    require_fitting(config.queue, config.train.execution)
    wanted = [planned_run(proposal, plan, config) for proposal in proposals]
    names = [one.name for one in wanted]
    bring_completed(names, workspace)
    there = partial(is_done, workspace=workspace)
    with cancelled_together():
        runs: list[Submitted] = submit(PLANNED, wanted, there, awaited=True)
        key = artifact_key("waits", plan.cycle_id)
        ends: list[Ended] = wait_for(f"experiments of {plan.cycle_id}", runs, key, config.recovery_s)
    for proposal, end in zip(proposals, ends, strict=True):
        if not end.completed:
            remember_lost(proposal.spec, workspace, end.reason, cancelled=end.cancelled)
    bring_completed(names, workspace)


def planned_run(proposal: Proposal, plan: CyclePlan, config: ResearchCycleConfig) -> Wanted:
    """The run of one proposal; what is trained it reads from the plan, or the ledger, itself."""
    run = PlannedExperimentConfig(
        preset=config.preset,
        workspace=config.workspace,
        cycle=plan.cycle_id,
        experiment=proposal.experiment_id,
        execution=config.train.execution,
        evaluate=config.evaluate,
        explain=config.explain,
    )
    tag = f"arc-cycle:{plan.cycle_id}/{proposal.experiment_id}"
    return Wanted(proposal.experiment_id, tag, {"config": run.model_dump(mode="json")}, config.queue.name)


def attempt(proposal: Proposal, config: ResearchCycleConfig, workspace: Workspace) -> None:
    """Runs one proposed experiment; its failure is written down and does not end the cycle."""
    try:
        with failure_remembered(proposal.spec, workspace, rollback=config.train.execution.rollback):
            run_experiment(proposal.spec, workspace, config.train.execution, config.evaluate, config.explain)
    except Exception as error:  # noqa: BLE001  whatever it was, the other experiments go on and the ledger keeps the reason
        get_run_logger().error("%s failed: %s", proposal.experiment_id, error)


def look_at_test(comparison: Comparison, plan: CyclePlan, config: ResearchCycleConfig, workspace: Workspace) -> None:
    """Measures the leader on the test split where it is put up for promotion: new, and no rule bars it.

    The ledger keeps the look, before it happens.
    """
    leader = comparison.leader
    if leader is None or leader not in {proposal.experiment_id for proposal in plan.proposals}:
        return
    if barred := promotion_vetoes(leader, comparison, plan, workspace):
        get_run_logger().info("%s is not measured on the test split: %s", leader, "; ".join(barred))
        return
    experiment = open_experiment(leader, workspace)
    reason = f"leads the {comparison.task} ranking of {plan.cycle_id}"
    try:
        evaluate(experiment, workspace, config.evaluate, Split.TEST, reason)
    except InputError as error:  # such as a test split without masks: the cycle still ends with its record
        get_run_logger().warning("%s could not be measured on the test split: %s", leader, error)
    remember(experiment.spec, workspace)


if __name__ == "__main__":
    sys.exit(main(research_cycle, ResearchCycleConfig, show=partial(show_cycle, arguments=sys.argv[1:])))
