"""Which plans wait for a person, and what the person is shown. In each mode a rule stays a rule.

An experiment that breaks a rule is never run: not in `auto`, and no approval lets it through either. Whoever finds a
rule wrong changes the rules file, where everyone can see it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from glaucoma.errors import SettingsError
from glaucoma.planning.approval_settings import ApprovalSettings
from glaucoma.planning.cost import Cost
from glaucoma.planning.cycle import CyclePlan
from glaucoma.planning.propose import Proposal
from glaucoma.planning.settings import Rules
from glaucoma.provenance import digest
from glaucoma.records.words import Novelty
from glaucoma.training.spec import ExperimentSpec

MODE_VARIABLE = "arc_mode"
_STRAINED = ("learning_rate", "weight_decay", "batch_size", "input_px", "epochs")
"""Whose highest value stands for a risk or a cost. The strongest augmentation is neither."""


class Mode(StrEnum):
    """Which plans wait for a person."""

    MANUAL = "manual"
    """Every plan."""
    SEMI = "semi"
    """Those with an experiment that breaks or strains a rule, is a wild card, or costs much."""
    AUTO = "auto"
    """None."""


@dataclass(frozen=True)
class Assessed:
    """A proposal, and what a person should know of it."""

    proposal: Proposal
    cost: Cost
    broken: tuple[str, ...]
    """Rules that it breaks: it is not run."""
    concerns: tuple[str, ...]
    """Why mode semi asks a person."""

    @property
    def experiment_id(self) -> str:
        return self.proposal.experiment_id


def mode_from(value: object) -> Mode:
    """The mode that the variable's value names; auto where there is none. `SettingsError` for any other value."""
    if value is None:
        return Mode.AUTO
    try:
        return Mode(str(value).strip().lower())
    except ValueError as error:
        raise SettingsError(
            f"The variable {MODE_VARIABLE} is {value!r}",
            expected="manual, semi or auto",
            consequence="No plan was run, as it is not known whether a person must approve it",
            remedy=f"prefect variable set {MODE_VARIABLE} semi --overwrite",
        ) from error


def assess(
    proposals: Sequence[Proposal], costs: Sequence[Cost], rules: Rules, settings: ApprovalSettings
) -> list[Assessed]:
    """What is to be said of each proposal; `costs` in the same order."""
    return [
        Assessed(
            proposal,
            cost,
            broken := tuple(rules.broken_by(proposal.spec)),
            (*(f"breaks a rule: {one}" for one in broken), *_concerns(proposal, cost, rules, settings)),
        )
        for proposal, cost in zip(proposals, costs, strict=True)
    ]


def _concerns(proposal: Proposal, cost: Cost, rules: Rules, settings: ApprovalSettings) -> list[str]:
    found = strained(proposal.spec, rules, settings.strained_share)
    if settings.wildcats_wait and proposal.novelty is Novelty.WILDCAT:
        found.append("is a wild card")
    if cost.hours is None and settings.unknown_cost_waits:
        found.append(f"costs nobody knows what: {cost.how}")
    if cost.hours is not None and cost.hours > settings.experiment_hours:
        found.append(f"is expected to take {cost}, more than {settings.experiment_hours:g} h")
    return found


def strained(spec: ExperimentSpec, rules: Rules, share: float) -> list[str]:
    """A sentence for each rule whose highest value `spec` comes near without passing it."""
    found = []
    for name in _STRAINED:
        value, highest = getattr(spec, name), getattr(rules, name)[1]
        if share * highest < value <= highest:
            found.append(f"strains a rule: {name} {value:g} of at most {highest:g}")
    megapixels = spec.batch_size * spec.input_px**2 / 1e6
    if share * rules.max_step_megapixels < megapixels <= rules.max_step_megapixels:
        found.append(f"strains a rule: a step of {megapixels:.1f} of at most {rules.max_step_megapixels:g} megapixels")
    return found


def why_a_person(mode: Mode, assessed: Sequence[Assessed], settings: ApprovalSettings) -> list[str]:
    """Why this plan waits for a person, in sentences; empty where it does not."""
    if mode is Mode.AUTO:
        return []
    reasons = ["The mode is manual: every plan waits"] if mode is Mode.MANUAL else []
    reasons += [f"{one.experiment_id} {concern}" for one in assessed for concern in one.concerns]
    total = sum(one.cost.hours or 0.0 for one in assessed)
    if total > settings.plan_hours:
        reasons.append(f"All together are expected to take {total:.3g} h, more than {settings.plan_hours:g} h")
    return reasons


def plan_sha256(plan: CyclePlan) -> str:
    """What makes two plans the same one to a person: the cycle, and the experiments in it."""
    return digest([plan.cycle_id, sorted(proposal.experiment_id for proposal in plan.proposals)])


def plan_markdown(plan: CyclePlan, assessed: Sequence[Assessed], why: Sequence[str]) -> str:
    """The plan for a person who is to decide on it."""
    lines = [
        f"**{plan.cycle_id}: may these {len(assessed)} experiments run?**",  # no heading: the form shows a few lines
        f"Dataset {plan.dataset}, prepared as {plan.prepared_key}. Expected training time: {_time_of(assessed)}.",
        "**Why you are asked**",
        "\n".join(f"- {one}" for one in why),
        "\n".join(
            [
                "| experiment | task | novelty | expected | why it is proposed | to consider |",
                "| --- | --- | --- | --- | --- | --- |",
                *(_row(one) for one in assessed),
            ]
        ),
    ]
    if any(one.broken for one in assessed):
        lines.append("What breaks a rule is not run, whatever is answered: change the rules file if the rule is wrong.")
    lines.append("To refuse some, name them under drop; to refuse all, leave approve off.")
    return "\n\n".join(lines)


def _time_of(assessed: Sequence[Assessed]) -> str:
    known = [one.cost.hours for one in assessed if one.cost.hours is not None]
    unknown = len(assessed) - len(known)
    if not known:
        return "not known"
    return f"{sum(known):.2g} h in all" + (f", without {unknown} of which it is not known" if unknown else "")


def _row(one: Assessed) -> str:
    spec = one.proposal.spec
    cells = [f"`{one.experiment_id}`", str(spec.task), one.proposal.novelty.value, str(one.cost)]
    cells += [one.proposal.reason, "; ".join(one.concerns) or "nothing"]
    return f"| {' | '.join(cell.replace('|', '/').replace(chr(10), ' ') for cell in cells)} |"
