from __future__ import annotations

import math
from collections.abc import Callable

import pytest

from glaucoma.planning.novelty import NEAR, measured_novelty
from glaucoma.planning.propose import Proposal, propose
from glaucoma.planning.settings import PlanSettings, RuleBrokenError, Rules
from glaucoma.planning.space import Choice, SearchSpace, default_space
from glaucoma.records.ledger import Ledger, LedgerExperiment
from glaucoma.records.words import Novelty
from glaucoma.schema import Task
from glaucoma.training.loss_settings import LossOptions, SegmentationLoss
from glaucoma.training.spec import ExperimentSpec, experiment_id

Remember = Callable[..., LedgerExperiment]
QUIET = PlanSettings.for_preset("smoke")  # no seed repeats


def ask(ledger: Ledger, base: ExperimentSpec, n: int, **more: object) -> list[Proposal]:
    more = {"settings": QUIET} | more
    return propose(ledger, base.prepared_key, base.task, base, n, **more)  # type: ignore[arg-type]


def score(spec: ExperimentSpec) -> float:
    """A smooth hill with its top at a learning rate of 0.003 and augmentation of 0.8."""
    return 0.95 - 0.05 * math.log10(spec.learning_rate / 0.003) ** 2 - 0.2 * (spec.augment - 0.8) ** 2


def test_with_no_history_the_first_is_the_base_and_the_rest_are_spread(ledger: Ledger, base: ExperimentSpec) -> None:
    first, *rest = ask(ledger, base, 4)
    assert first.spec == base
    assert "Nothing comparable" in first.reason
    assert len({p.experiment_id for p in [first, *rest]}) == 4
    assert all(p.novelty is Novelty.EXPLORE for p in rest)
    space = default_space(base)
    points = [space.point(p.spec) for p in [first, *rest]]
    assert min(space.distance(a, b) for i, a in enumerate(points) for b in points[:i]) > 0.2


def test_the_same_ledger_and_seed_give_the_same_proposals(
    ledger: Ledger, base: ExperimentSpec, remember: Remember
) -> None:
    for p in ask(ledger, base, 6):
        remember(p.spec, score(p.spec))
    assert ask(ledger, base, 6) == ask(ledger, base, 6)
    assert ask(ledger, base, 6, seed=1) != ask(ledger, base, 6)


def test_nothing_that_the_ledger_has_is_proposed_again_whatever_became_of_it(
    ledger: Ledger, base: ExperimentSpec, remember: Remember
) -> None:
    seen = set()
    for status in ("completed", "failed", "running", "proposed", "cancelled", "refused"):
        for p in ask(ledger, base, 3):
            assert p.experiment_id not in seen
            seen.add(p.experiment_id)
            remember(p.spec, 0.8 if status == "completed" else None, status=status, novelty=p.novelty)


def test_over_ten_cycles_the_shares_hold_and_the_search_climbs(
    ledger: Ledger, base: ExperimentSpec, remember: Remember
) -> None:
    kinds = []
    best = []
    for _ in range(10):
        for p in ask(ledger, base, 3):
            kinds.append(p.novelty)
            remember(p.spec, score(p.spec), novelty=p.novelty)
            if p.novelty is not Novelty.WILDCAT:
                best.append(score(p.spec))
    assert kinds.count(Novelty.WILDCAT) in (2, 3, 4)
    assert 12 <= kinds.count(Novelty.EXPLOIT) <= 21
    assert max(best) > best[0] + 0.005
    assert max(best) > 0.94


def test_the_class_is_what_is_measured(ledger: Ledger, base: ExperimentSpec, remember: Remember) -> None:
    for p in ask(ledger, base, 6):
        remember(p.spec, score(p.spec), novelty=p.novelty)
    top = ledger.best(task=Task.CLASSIFICATION, prepared_key=base.prepared_key)
    assert top is not None
    space = default_space(base)
    for p in ask(ledger, base, 8):
        centre = space.point(top.spec)
        assert p.novelty is measured_novelty(space.point(p.spec), centre, space)
        near = space.distance(space.point(p.spec), centre) <= NEAR
        assert (p.novelty is Novelty.EXPLOIT) == (near and space.holds(space.point(p.spec)))


def test_an_exploit_says_from_what_it_starts_and_what_it_changes(
    ledger: Ledger, base: ExperimentSpec, remember: Remember
) -> None:
    remember(base, 0.81)
    (proposal,) = ask(ledger, base, 1)
    assert proposal.novelty is Novelty.EXPLOIT
    assert experiment_id(base) in proposal.reason
    assert "AUC 0.810" in proposal.reason
    assert " to " in proposal.reason


def test_a_wildcat_costs_half_lies_outside_the_space_and_keeps_the_rules(
    ledger: Ledger, base: ExperimentSpec, remember: Remember
) -> None:
    remember(base, 0.8)
    wild = PlanSettings(exploit_share=0, explore_share=0, wildcat_share=1, seed_repeats=0, experiments_per_task=1)
    proposals = ask(ledger, base, 5, settings=wild)
    assert {p.novelty for p in proposals} == {Novelty.WILDCAT}
    for p in proposals:
        assert p.spec.epochs == base.epochs // 2
        assert not default_space(base).holds(default_space(base).point(p.spec))
        assert Rules().broken_by(p.spec) == []


def test_a_wildcat_that_beats_the_best_is_run_again_at_full_cost(
    ledger: Ledger, base: ExperimentSpec, remember: Remember
) -> None:
    remember(base, 0.8)
    wild = base.model_copy(update={"learning_rate": 0.09, "epochs": base.epochs // 2})
    remember(wild, 0.9, novelty="wildcat")
    (proposal,) = ask(ledger, base, 1)
    assert (proposal.spec.learning_rate, proposal.spec.epochs) == (0.09, base.epochs)
    assert proposal.novelty is not Novelty.WILDCAT
    remember(proposal.spec, 0.7)
    assert ask(ledger, base, 1)[0].spec.learning_rate != 0.09


def test_a_wildcat_is_not_taken_for_the_best(ledger: Ledger, base: ExperimentSpec, remember: Remember) -> None:
    remember(base, 0.8)
    remember(base.model_copy(update={"learning_rate": 0.09, "epochs": 6}), 0.7, novelty="wildcat")
    assert experiment_id(base) in ask(ledger, base, 1)[0].reason


def test_the_best_is_repeated_with_new_seeds_once_a_cycle_until_enough(
    ledger: Ledger, base: ExperimentSpec, remember: Remember
) -> None:
    remember(base, 0.9)
    remember(base.model_copy(update={"augment": 0.1}), 0.8)
    settings = PlanSettings.for_preset("smoke", seed_repeats=3)
    for wanted in (1, 2):
        repeats = [p for p in ask(ledger, base, 4, settings=settings) if p.spec.seed != base.seed]
        assert [p.spec.seed for p in repeats] == [wanted]
        assert repeats[0].spec.model_copy(update={"seed": 0}) == base
        remember(repeats[0].spec, 0.85)
    assert all(p.spec.seed == 0 for p in ask(ledger, base, 4, settings=settings))


def test_experiments_under_other_fixed_settings_are_no_history(
    ledger: Ledger, base: ExperimentSpec, remember: Remember
) -> None:
    remember(base.model_copy(update={"input_px": 320}), 0.99)
    assert ask(ledger, base, 1)[0].spec == base


def test_what_something_outside_interrupted_may_be_proposed_again(
    ledger: Ledger, base: ExperimentSpec, remember: Remember
) -> None:
    space = SearchSpace(dimensions={"batch_size": Choice(values=(8, 16))})
    one, two = ask(ledger, base, 5, space=space)
    remember(one.spec, 0.8)
    remember(two.spec, None, status="failed")
    assert ask(ledger, base, 5, space=space) == []
    remember(two.spec, None, status="interrupted")
    (again,) = ask(ledger, base, 5, space=space)
    assert again.spec == two.spec


def test_a_space_that_is_used_up_gives_fewer(ledger: Ledger, base: ExperimentSpec) -> None:
    space = SearchSpace(dimensions={"batch_size": Choice(values=(8, 16))})
    proposals = ask(ledger, base, 5, space=space)
    assert sorted(p.spec.batch_size for p in proposals) == [8, 16]


def test_a_base_that_breaks_a_rule_is_refused_with_all_rules_named(ledger: Ledger, base: ExperimentSpec) -> None:
    rules = Rules(learning_rate=(1e-6, 1e-4), models=("resnet18",))
    with pytest.raises(RuleBrokenError, match=r"learning_rate 0.003 .* model resnet10t is none of resnet18"):
        ask(ledger, base, 1, rules=rules)


def test_no_proposal_breaks_a_rule(ledger: Ledger, base: ExperimentSpec, remember: Remember) -> None:
    rules = Rules(max_step_megapixels=0.15, learning_rate=(1e-3, 5e-3), batch_size=(4, 64))
    for _ in range(4):
        for p in ask(ledger, base, 3, rules=rules):
            assert rules.broken_by(p.spec) == []
            remember(p.spec, score(p.spec), novelty=p.novelty)


def test_segmentation_is_planned_the_same_way(ledger: Ledger, base: ExperimentSpec) -> None:
    spec = base.model_copy(
        update={"task": Task.SEGMENTATION, "loss": "dice", "model": "resnet18", "input_px": 128, "batch_size": 8}
    )
    proposals = ask(ledger, spec, 24)
    assert len(proposals) == 24
    assert {p.spec.loss for p in proposals} == {str(loss) for loss in SegmentationLoss}


def test_only_losses_that_take_the_bases_options_are_proposed(ledger: Ledger, base: ExperimentSpec) -> None:
    values = base.model_dump() | {
        "task": Task.SEGMENTATION,
        "model": "resnet18",
        "loss": "tversky",
        "loss_options": LossOptions(tversky_beta=0.8),
        "balanced_sampling": False,
    }
    spec = ExperimentSpec.model_validate(values)
    proposals = ask(ledger, spec, 6)
    assert {p.spec.loss for p in proposals} == {"tversky", "tversky_focal"}
    assert {p.spec.loss_options.tversky_beta for p in proposals} == {0.8}


def test_a_base_of_another_question_is_a_mistake_of_the_caller(ledger: Ledger, base: ExperimentSpec) -> None:
    with pytest.raises(ValueError, match="not of"):
        propose(ledger, "b" * 16, base.task, base, 1)
