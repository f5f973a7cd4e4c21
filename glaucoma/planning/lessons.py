"""What a cycle taught, in sentences, and what bars a model from promotion."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import stdev

from glaucoma.evaluation.result import Metric
from glaucoma.planning.settings import Rules
from glaucoma.records.comparison import Comparison
from glaucoma.records.ledger import LedgerExperiment
from glaucoma.records.record import ExperimentFacts
from glaucoma.records.words import Novelty, Standing
from glaucoma.schema import Split, Task

MIN_SEEDS = 3
"""Fewer runs than this say nothing of how far chance moves a score."""


def lessons(
    experiments: Sequence[ExperimentFacts],
    comparisons: Sequence[Comparison],
    *,
    rules: Rules | None = None,
    history: Sequence[LedgerExperiment] = (),
) -> list[str]:
    """What the comparisons say, where the best looks, how far chance moves it, what bars it, and what did not complete.

    Args:
        history: All experiments of the ledger on the same prepared dataset, for the seed noise.
    """
    said = []
    for comparison in comparisons:
        said += comparison.sentences
        leader = next((e for e in experiments if e.experiment_id == comparison.leader), None)
        if leader is not None:
            said += [line for line in (_where_it_looks(leader), _noise(leader, history)) if line]
            if barred := vetoes(leader, rules or Rules(), comparison):
                said.append(f"{leader.experiment_id} cannot take the place of the best before: {'; '.join(barred)}.")
    for experiment in experiments:
        if experiment.status is not Standing.COMPLETED:
            why = experiment.failure.splitlines()[0] if experiment.failure else "no reason was kept."
            said.append(f"{experiment.experiment_id} ended as {experiment.status}: {why}")
    return said or ["No experiment was completed, so nothing can be said of the models."]


def _noise(experiment: ExperimentFacts, history: Sequence[LedgerExperiment]) -> str:
    spread, n = seed_noise(history, experiment.experiment_id)
    if spread is None:
        return ""
    return f"With another seed alone the score of {experiment.experiment_id} moves by {spread:.3f} (SD of {n} runs)."


def _where_it_looks(experiment: ExperimentFacts) -> str:
    found = experiment.dri.get(Split.VAL.value, {})
    dri, lift, untrained = (found.get(name) for name in ("dri", "lift", "dri_untrained"))
    if experiment.task is not Task.CLASSIFICATION or dri is None or dri.value is None:
        return ""
    words = f"{experiment.experiment_id} has {dri.value:.0%} of its relevance on the optic disc"
    if lift is not None and lift.value is not None:
        words += f", {lift.value:.1f} times what chance would put there"
    if untrained is not None and untrained.value is not None:
        words += f"; an untrained network of the same kind has {untrained.value:.0%}"
    return words + "."


def seed_noise(history: Sequence[LedgerExperiment], experiment_id: str) -> tuple[float | None, int]:
    """Standard deviation of the score over runs that differ in the seed alone, and how many there are.

    None below three runs with a score.
    """
    centre = next((e for e in history if e.experiment_id == experiment_id), None)
    if centre is None:
        return None, 0
    same = {name: value for name, value in centre.spec.items() if name != "seed"}
    scores = [
        e.primary_score
        for e in history
        if e.status is Standing.COMPLETED
        and e.primary_score is not None
        and {name: value for name, value in e.spec.items() if name != "seed"} == same
    ]
    return (stdev(scores) if len(scores) >= MIN_SEEDS else None), len(scores)


def vetoes(experiment: ExperimentFacts, rules: Rules, comparison: Comparison | None = None) -> list[str]:
    """Why the experiment may not be promoted; empty where nothing bars it. What a floor needs must be measured."""
    found = []
    if experiment.status is not Standing.COMPLETED:
        found.append(f"it is {experiment.status}, not completed")
    if experiment.novelty is Novelty.WILDCAT:
        found.append("a wildcat is run again at full cost before it may be promoted")
    if comparison is not None and comparison.incumbent not in (None, experiment.experiment_id):
        if comparison.leader != experiment.experiment_id:
            found.append(f"{comparison.leader} ranks before it")
        elif not comparison.gain_is_told:
            found.append(f"its gain over {comparison.incumbent} cannot be told from none")
    lift = experiment.dri.get(Split.VAL.value, {}).get("lift")
    floors: list[tuple[str, Metric | None, float]] = [
        ("sensitivity", experiment.metric("sensitivity"), rules.min_sensitivity),
        ("DRI lift", lift, rules.min_dri_lift),
    ]
    if experiment.task is Task.SEGMENTATION:
        floors = [("disc Dice", experiment.metric("disc_dice"), rules.min_disc_dice)]
    for name, metric, floor in floors:
        value = metric.value if metric else None
        if floor > 0 and (value is None or value < floor):
            shown = "not measured" if value is None else f"{value:.3f}"
            found.append(f"its {name} is {shown}, the rules ask for {floor:g}")
    return found
