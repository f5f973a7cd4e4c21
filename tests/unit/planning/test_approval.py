"""Which plans wait for a person, what the person is shown, and what a decision does."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from glaucoma.errors import IntegrityError, SettingsError
from glaucoma.planning.approval import Assessed, Mode, assess, mode_from, plan_markdown, plan_sha256, why_a_person
from glaucoma.planning.approval_settings import ApprovalSettings
from glaucoma.planning.approve import keep_decision, kept_decision, proposals_to_run, without_a_person
from glaucoma.planning.cost import Cost, PastTraining, expected_cost, past_trainings
from glaucoma.planning.cycle import CyclePlan, can_go_on
from glaucoma.planning.propose import Proposal
from glaucoma.planning.settings import Rules
from glaucoma.records.decision import DECISION_NAME, Decision
from glaucoma.records.ledger import Ledger
from glaucoma.records.words import CycleStatus, Novelty, Standing
from glaucoma.schema import Task
from glaucoma.training.experiment import create_experiment
from glaucoma.training.spec import ExperimentSpec
from glaucoma.workspace import Workspace

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
CHEAP = Cost(0.5, "from 3 trainings")


def proposal(base: ExperimentSpec, novelty: Novelty = Novelty.EXPLOIT, **changes: Any) -> Proposal:
    return Proposal(spec=base.model_copy(update=changes), novelty=novelty, reason="Because | of this.")


def assessed(base: ExperimentSpec, cost: Cost = CHEAP, novelty: Novelty = Novelty.EXPLOIT, **changes: Any) -> Assessed:
    return assess([proposal(base, novelty, **changes)], [cost], Rules(), ApprovalSettings())[0]


def plan_of(*proposals: Proposal) -> CyclePlan:
    return CyclePlan(
        cycle_id="eyes-0001-aaaaaa", started_at=NOW, dataset="eyes", prepared_key="a" * 16, incumbents={},
        proposals=list(proposals),
    )  # fmt: skip


@pytest.mark.parametrize(("value", "mode"), [(None, Mode.AUTO), ("manual", Mode.MANUAL), (" Semi ", Mode.SEMI)])
def test_the_variable_names_the_mode_and_where_it_is_not_there_it_is_auto(value: object, mode: Mode) -> None:
    assert mode_from(value) is mode


@pytest.mark.parametrize("value", ["", "on", {"a": 1}, 3])
def test_a_word_that_is_no_mode_is_an_error_and_never_auto(value: object) -> None:
    with pytest.raises(SettingsError, match="manual, semi or auto"):
        mode_from(value)


def test_manual_asks_for_every_plan_auto_for_none(base: ExperimentSpec) -> None:
    plain, wild = assessed(base), assessed(base, novelty=Novelty.WILDCAT)
    assert why_a_person(Mode.MANUAL, [plain], ApprovalSettings()) == ["The mode is manual: every plan waits"]
    assert why_a_person(Mode.AUTO, [wild], ApprovalSettings()) == []


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ({}, ""),
        ({"novelty": Novelty.WILDCAT}, "is a wild card"),
        ({"learning_rate": 0.09}, "strains a rule: learning_rate 0.09 of at most 0.1"),
        ({"augment": 1.0}, ""),
        ({"epochs": 450}, "strains a rule: epochs 450 of at most 500"),
        ({"batch_size": 200, "input_px": 540}, "strains a rule: a step of 58.3 of at most 64 megapixels"),
        ({"batch_size": 512}, "breaks a rule: batch_size 512 lies outside 2 to 256"),
        ({"cost": Cost(None, "nothing like it")}, "costs nobody knows what: nothing like it"),
        ({"cost": Cost(13.0, "", gpu=True)}, "is expected to take 13 GPU h, more than 12 h"),
    ],
)
def test_semi_asks_for_what_breaks_or_strains_a_rule_is_a_wild_card_or_costs_much(
    what: dict[str, Any], said: str, base: ExperimentSpec
) -> None:
    one = assessed(base, **what)
    reasons = why_a_person(Mode.SEMI, [one], ApprovalSettings())
    assert bool(reasons) is bool(said)
    assert all(said in reason for reason in reasons[:1])


def test_semi_asks_where_many_cheap_ones_are_dear_together(base: ExperimentSpec) -> None:
    many = [assessed(base, Cost(10.0, ""), seed=seed) for seed in range(5)]
    assert why_a_person(Mode.SEMI, many[:4], ApprovalSettings()) == []
    (reason,) = why_a_person(Mode.SEMI, many, ApprovalSettings())
    assert reason == "All together are expected to take 50 h, more than 48 h"


def test_each_reason_of_semi_can_be_switched_off(base: ExperimentSpec) -> None:
    lenient = ApprovalSettings(wildcats_wait=False, unknown_cost_waits=False, strained_share=1.0)
    bold = proposal(base, Novelty.WILDCAT, learning_rate=0.1)
    assert why_a_person(Mode.SEMI, assess([bold], [Cost(None, "")], Rules(), lenient), lenient) == []


def test_the_page_names_each_experiment_with_its_reason_cost_and_concerns(base: ExperimentSpec) -> None:
    one = assessed(base, batch_size=512)
    text = plan_markdown(plan_of(one.proposal), [one], ["It waits"])
    assert (
        f"| `{one.experiment_id}` | classification | exploit | 0.5 CPU h | Because / of this. | breaks a rule" in text
    )
    assert "What breaks a rule is not run, whatever is answered" in text


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace.at(tmp_path)


@pytest.fixture
def three(workspace: Workspace, base: ExperimentSpec, remember: Callable[..., Any], ledger: Ledger) -> CyclePlan:
    plan = plan_of(proposal(base), proposal(base, seed=1), proposal(base, batch_size=512))
    ledger.start_cycle(plan.cycle_id, {}, at=NOW)
    for one in plan.proposals:
        remember(one.spec, None, status="proposed", cycle_id=plan.cycle_id)
    return plan


def decision(plan: CyclePlan, approved: bool, *dropped: str) -> Decision:
    return Decision(
        plan_sha256=plan_sha256(plan), mode="manual", why=["it waits"], approved=approved, by="Ada", comment="no GPU",
        dropped=dict.fromkeys(dropped, "Dropped by Ada"), asked_at=NOW, decided_at=NOW,
    )  # fmt: skip


def to_run(plan: CyclePlan, what: Decision, workspace: Workspace) -> list[str]:
    found = assess(plan.proposals, [CHEAP] * 3, Rules(), ApprovalSettings())
    return [one.experiment_id for one in proposals_to_run(plan, what, found, workspace, NOW)]


def test_what_is_dropped_and_what_breaks_a_rule_is_refused_in_the_ledger_though_approved(
    three: CyclePlan, workspace: Workspace, ledger: Ledger
) -> None:
    first, second, broken = (one.experiment_id for one in three.proposals)
    assert to_run(three, decision(three, True, second), workspace) == [first]
    assert (ledger.experiment(second).status, ledger.experiment(second).reason) == (Standing.REFUSED, "Dropped by Ada")
    assert ledger.experiment(broken).reason.startswith("Breaks the rules: batch_size 512")
    assert ledger.experiment(first).status is Standing.PROPOSED


def test_a_plan_that_is_not_approved_leaves_a_cancelled_cycle_that_cannot_go_on(
    three: CyclePlan, workspace: Workspace, ledger: Ledger
) -> None:
    assert to_run(three, decision(three, False), workspace) == []
    cycle = ledger.cycle(three.cycle_id)
    assert cycle.status is CycleStatus.CANCELLED
    assert "not approved by Ada" in cycle.reason
    assert not can_go_on(ledger, three)
    assert {one.reason for one in ledger.experiments()} >= {"Not approved by Ada: no GPU"}


def test_in_auto_what_breaks_a_rule_is_refused_and_never_silently(
    three: CyclePlan, workspace: Workspace, ledger: Ledger
) -> None:
    found = assess(three.proposals, [CHEAP] * 3, Rules(), ApprovalSettings())
    what = without_a_person(three, found, Mode.AUTO, NOW)
    keep_decision(three, what, workspace)
    assert len(to_run(three, what, workspace)) == 2
    assert kept_decision(three, workspace) == what
    assert "1 experiments broke a rule" in what.sentence()


def test_a_decision_holds_for_its_plan_alone_and_a_damaged_one_is_an_error(
    three: CyclePlan, workspace: Workspace
) -> None:
    keep_decision(three, decision(three, True), workspace)
    assert kept_decision(three, workspace) == decision(three, True)
    other = three.model_copy(update={"proposals": three.proposals[:1]})
    assert kept_decision(other, workspace) is None
    (workspace.cycles / three.cycle_id / DECISION_NAME).write_text("{")
    with pytest.raises(IntegrityError, match="the plan is asked for again"):
        kept_decision(three, workspace)


def past(model: str, hours: float, key: str = "a" * 16, parameters: int = 100) -> PastTraining:
    return PastTraining(Task.CLASSIFICATION, model, key, 12 * 96.0**2, hours, parameters, gpu=True)


def test_a_cost_is_told_from_the_trainings_that_are_most_like_it(base: ExperimentSpec) -> None:
    double = base.model_copy(update={"epochs": 24})
    here = [past(base.model, 1.0), past(base.model, 3.0), past(base.model, 2.0)]
    elsewhere = [past(base.model, 9.0, "b" * 16)]
    other = [past("resnet50", 8.0, parameters=400)]
    assert expected_cost(double, [*here, *elsewhere, *other]).hours == pytest.approx(4.0)
    assert expected_cost(base, [*elsewhere, *other]).hours == pytest.approx(9.0)
    scaled = expected_cost(base, other, parameters=100)
    assert (scaled.hours, str(scaled)) == (pytest.approx(2.0), "2 GPU h")
    assert expected_cost(base, other).hours is None
    assert expected_cost(base, []).hours is None
    assert str(expected_cost(base, [])) == "unknown"


def test_past_trainings_are_those_of_the_ledger_whose_folder_is_there(
    base: ExperimentSpec, workspace: Workspace, ledger: Ledger, remember: Callable[..., Any]
) -> None:
    there, gone = base, base.model_copy(update={"seed": 1})
    create_experiment(there, workspace).update(lambda m: m.training.update(device="cuda:0", devices=2, parameters=7))
    remember(there, 0.8, duration_s=3600.0)
    remember(gone, 0.8, duration_s=3600.0)
    (found,) = past_trainings(ledger, workspace)
    assert (found.hours, found.parameters, found.gpu, found.work) == (2.0, 7, True, 12 * 96.0**2)
