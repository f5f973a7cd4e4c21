"""What a decision on a plan does: it is kept beside the plan, and the ledger says of what is not run why."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from glaucoma.planning.approval import Assessed, Mode, plan_sha256
from glaucoma.planning.cost import Cost, expected_cost, past_trainings
from glaucoma.planning.cycle import CyclePlan
from glaucoma.planning.propose import Proposal
from glaucoma.records.decision import Decision, read_decision, write_decision
from glaucoma.records.ledger import Ledger
from glaucoma.records.words import CycleStatus, Standing
from glaucoma.training.build import build_model
from glaucoma.training.spec import ExperimentSpec
from glaucoma.workspace import Workspace

_RULES = "the rules"
"""Who decided, where nobody was asked and an experiment broke a rule."""


def costs_of(plan: CyclePlan, workspace: Workspace, mode: Mode) -> list[Cost]:
    """The expected cost of each proposal; in mode auto nobody looks at it, and it is not worked out."""
    if mode is Mode.AUTO:
        return [Cost(None, "not asked for")] * len(plan.proposals)
    past = past_trainings(Ledger(workspace.ledger_url), workspace)
    models = {(one.task, one.model) for one in past}
    sizes: dict[tuple[str, str], int] = {}
    costs = []
    for spec in (proposal.spec for proposal in plan.proposals):
        kind = (spec.task, spec.model)
        if past and kind not in models and kind not in sizes:
            sizes[kind] = _parameters(spec)
        costs.append(expected_cost(spec, past, sizes.get(kind)))
    return costs


def _parameters(spec: ExperimentSpec) -> int:
    return sum(parameter.numel() for parameter in build_model(spec, pretrained=False).parameters())


def kept_decision(plan: CyclePlan, workspace: Workspace) -> Decision | None:
    """What was decided on this plan before; None where it was not, or where the plan is another one now."""
    decision = read_decision(workspace.cycles / plan.cycle_id)
    return decision if decision is not None and decision.plan_sha256 == plan_sha256(plan) else None


def without_a_person(plan: CyclePlan, assessed: Sequence[Assessed], mode: Mode, now: datetime) -> Decision:
    """The decision where nobody has to be asked: all may run but what breaks a rule."""
    return Decision(
        plan_sha256=plan_sha256(plan),
        mode=mode.value,
        why=[],
        approved=True,
        by=_RULES,
        dropped=_broken(assessed),
        asked_at=now,
        decided_at=now,
    )


def keep_decision(plan: CyclePlan, decision: Decision, workspace: Workspace) -> None:
    """Writes the decision beside the plan. One that nobody made and that drops nothing is none, and is not kept."""
    if decision.why or decision.dropped:
        write_decision(workspace.cycles / plan.cycle_id, decision)


def proposals_to_run(
    plan: CyclePlan, decision: Decision, assessed: Sequence[Assessed], workspace: Workspace, now: datetime
) -> list[Proposal]:
    """The proposals that may run. The others become refused in the ledger; where none is left, the cycle is cancelled.

    What breaks a rule is refused whatever was decided: the rules may have become stricter since.
    """
    refused = {**decision.dropped, **_broken(assessed)}
    if not decision.approved:
        said = f"Not approved by {decision.by}" + (f": {decision.comment}" if decision.comment else "")
        refused = {one.experiment_id: refused.get(one.experiment_id, said) for one in plan.proposals}
    ledger = Ledger(workspace.ledger_url)
    for name, why in refused.items():
        if ledger.experiment(name).status is not Standing.COMPLETED:
            ledger.change(name, status=Standing.REFUSED, reason=why)
    left = [proposal for proposal in plan.proposals if proposal.experiment_id not in refused]
    if not left:
        ledger.end_cycle(plan.cycle_id, CycleStatus.CANCELLED, at=now, reason=decision.sentence())
    return left


def end_unanswered(plan: CyclePlan, workspace: Workspace, reason: str, now: datetime) -> None:
    """The cycle ends as cancelled; its experiments stay proposed, so that the same plan is asked for again."""
    Ledger(workspace.ledger_url).end_cycle(plan.cycle_id, CycleStatus.CANCELLED, at=now, reason=reason)


def _broken(assessed: Sequence[Assessed]) -> dict[str, str]:
    return {one.experiment_id: f"Breaks the rules: {'; '.join(one.broken)}" for one in assessed if one.broken}
