"""What to try next: a Parzen estimator near the best, quasi-random points elsewhere, rarely a wild card.

The ledger is the memory. Optuna is given what the ledger holds, asked for candidates, and forgotten. The same ledger
and seed give the same proposals. Nothing here sees the test split, and nothing here can change how a model is measured.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from glaucoma.planning.novelty import SAME, Point, due, measured_novelty, nearest
from glaucoma.planning.search import parzen_candidates
from glaucoma.planning.settings import PlanSettings, Rules
from glaucoma.planning.space import SearchSpace, default_space, widened
from glaucoma.planning.words import changes_text, score_text
from glaucoma.provenance import digest
from glaucoma.records.ledger import Ledger, LedgerExperiment
from glaucoma.records.words import Novelty, Standing
from glaucoma.schema import Task
from glaucoma.training.spec import ExperimentSpec, experiment_id

_TRIES = 48
_NOISE = 0.12
"""Spread, as a share of each range, of a candidate around the best one when the estimator offers none that is near."""
_COUNTED = (Standing.COMPLETED, Standing.FAILED, Standing.RUNNING, Standing.PROPOSED, Standing.CANCELLED)


class Proposal(BaseModel):
    """An experiment to run, how new it is, and why."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    spec: ExperimentSpec
    novelty: Novelty = Field(description="As measured by the distance to what was tried.")
    reason: str = Field(description="Why, in a sentence for people.")

    @property
    def experiment_id(self) -> str:
        return experiment_id(self.spec)


@dataclass
class _Search:
    """What is known of one question (task, prepared dataset, fixed settings), growing as proposals are added."""

    base: ExperimentSpec
    space: SearchSpace
    rules: Rules
    past: list[LedgerExperiment]
    known_ids: set[str]
    rng: np.random.Generator
    seed: int
    proposals: list[Proposal] = field(default_factory=list)

    @property
    def tried(self) -> Sequence[Point]:
        return [self.space.point(e.spec) for e in self.past] + [self.space.point(p.spec) for p in self.proposals]

    @property
    def kinds(self) -> list[Novelty]:
        return [e.novelty for e in self.past if e.novelty] + [p.novelty for p in self.proposals]

    @property
    def scored(self) -> list[LedgerExperiment]:
        """Those that can be compared: completed, with a defined score, at full cost."""
        done = [e for e in self.past if e.status is Standing.COMPLETED and e.primary_score is not None]
        return [e for e in done if e.spec.get("epochs") == self.base.epochs]

    @property
    def best(self) -> LedgerExperiment | None:
        return max(self.scored, key=lambda e: e.primary_score or 0.0, default=None)

    def spec(self, point: Point, **more: Any) -> ExperimentSpec | None:
        """The experiment at `point`; None where it is known already, is no valid spec, or breaks a rule."""
        values = {**self.base.model_dump(), **point, **more}
        try:
            spec = ExperimentSpec.model_validate(values)
        except ValidationError:
            return None  # a combination that the spec itself forbids, such as a U-Net's input that is no multiple of 32
        new = experiment_id(spec) not in self.known_ids | {p.experiment_id for p in self.proposals}
        return spec if new and not self.rules.broken_by(spec) else None


def propose(
    ledger: Ledger,
    prepared_key: str,
    task: Task,
    base_spec: ExperimentSpec,
    n: int,
    space: SearchSpace | None = None,
    seed: int = 0,
    *,
    settings: PlanSettings | None = None,
    rules: Rules | None = None,
) -> list[Proposal]:
    """Up to `n` new experiments of a task on a prepared dataset; fewer where the space holds no more.

    Experiments of the ledger count as history where they ask the same question: all settings outside the space, other
    than the seed, are those of `base_spec`. With no history the first proposal is `base_spec` itself.

    Args:
        space: Where to search; `default_space(base_spec)` where none is given.
        settings: The shares of novelty and the number of seed repeats.

    Raises:
        RuleBrokenError: `base_spec` itself breaks a rule.
        ValueError: `base_spec` is of another task or prepared dataset.
    """
    if base_spec.task is not task or base_spec.prepared_key != prepared_key:
        raise ValueError(
            f"the base is of {base_spec.task} on {base_spec.prepared_key}, not of {task} on {prepared_key}"
        )
    rules, settings = rules or Rules(), settings or PlanSettings.for_preset("base")
    rules.require(base_spec)
    search = _search(ledger, base_spec, space or default_space(base_spec, rules), rules, seed)
    for _ in range(n):
        found = next(_offers(search, settings), None)
        if found is None:
            break
        search.proposals.append(found)
    return search.proposals


def _search(ledger: Ledger, base: ExperimentSpec, space: SearchSpace, rules: Rules, seed: int) -> _Search:
    entries = ledger.experiments(task=base.task, prepared_key=base.prepared_key)
    past = [e for e in entries if e.status in _COUNTED and same_question(e, base, space)]
    state = digest([seed, [[e.experiment_id, e.status, e.primary_score] for e in past]])
    number = int(state[:8], 16)
    known = {e.experiment_id for e in entries if e.status is not Standing.INTERRUPTED}
    return _Search(base, space, rules, past, known, np.random.default_rng(number), number)


def same_question(entry: LedgerExperiment, base: ExperimentSpec, space: SearchSpace) -> bool:
    """True where `entry` differs from `base` only in the space, the seed, or, for a wildcat, the reduced epochs."""
    free = {*space.dimensions, "seed", "weights_path"} | ({"epochs"} if entry.novelty is Novelty.WILDCAT else set())
    fixed = base.model_dump(mode="json", exclude=free)
    return all(name in entry.spec for name in space.dimensions) and all(
        name in entry.spec and entry.spec[name] == value for name, value in fixed.items()
    )


def _offers(search: _Search, settings: PlanSettings) -> Iterator[Proposal]:
    """Candidates for the next place, the most wanted first."""
    if not search.past and not search.proposals:
        yield from _start(search)
    yield from _seed_repeat(search, settings)
    yield from _proven_wildcat(search)
    kind = due(search.kinds, settings)
    if kind is Novelty.WILDCAT and search.scored:
        yield from _wildcats(search)
    if kind is Novelty.EXPLOIT and search.best is not None:
        yield from _exploits(search, search.best)
    yield from _explores(search)


def _start(search: _Search) -> Iterator[Proposal]:
    spec = search.spec(search.space.point(search.base))
    if spec is not None:
        reason = (
            "Nothing comparable has been tried on this dataset: the settings as given, to measure all others against."
        )
        yield Proposal(spec=spec, novelty=Novelty.EXPLORE, reason=reason)


def _seed_repeat(search: _Search, settings: PlanSettings) -> Iterator[Proposal]:
    """One repeat of the best a cycle, until its seed noise is known."""
    best = search.best
    if best is None or any("another seed" in p.reason for p in search.proposals):
        return
    point = search.space.point(best.spec)
    seeds = {int(e.spec["seed"]) for e in search.past if search.space.point(e.spec) == point}
    if len(search.scored) < 2 or len(seeds) >= settings.seed_repeats:
        return
    spec = search.spec(point, seed=max(seeds) + 1)
    if spec is not None:
        reason = (
            f"The settings of the best so far, {score_text(best)}, with another seed ({len(seeds)} of "
            f"{settings.seed_repeats} done): how far chance moves the score must be known before a gain is believed."
        )
        yield Proposal(spec=spec, novelty=Novelty.EXPLOIT, reason=reason)


def _proven_wildcat(search: _Search) -> Iterator[Proposal]:
    """A wildcat that beat the best at reduced cost, now at full cost."""
    best = search.best
    if best is None:
        return
    for entry in search.past:
        reduced = entry.novelty is Novelty.WILDCAT and entry.spec["epochs"] != search.base.epochs
        if reduced and entry.status is Standing.COMPLETED and (entry.primary_score or 0) > (best.primary_score or 0):
            spec = search.spec(search.space.point(entry.spec))
            if spec is not None:
                reason = (
                    f"The wildcat {score_text(entry)} passed the best, {score_text(best)}, at {entry.spec['epochs']} "
                    f"epochs: the same at the full {search.base.epochs}, so that the two can be compared."
                )
                point = search.space.point(spec)
                kind = measured_novelty(point, search.space.point(best.spec), search.space)
                # It is no longer a leap: the place is known, and at full cost it may be promoted.
                yield Proposal(spec=spec, novelty=Novelty.EXPLORE if kind is Novelty.WILDCAT else kind, reason=reason)


def _exploits(search: _Search, best: LedgerExperiment) -> Iterator[Proposal]:
    centre = search.space.point(best.spec)
    done = len(search.scored)
    from_search = (
        parzen_candidates(
            search.past, [search.space.point(p.spec) for p in search.proposals], search.space, search.seed, _TRIES
        )
        if done >= 4
        else ()
    )
    for source, points in (("search", from_search), ("step", _steps(search, centre))):
        for point in points:
            if measured_novelty(point, centre, search.space) is not Novelty.EXPLOIT:
                continue
            spec = search.spec(point) if nearest(point, search.tried, search.space) > SAME else None
            if spec is None:
                continue
            why = (
                f"a density model of the {done} comparable results finds it promising"
                if source == "search"
                else "a small random step from it"
            )
            reason = f"Near the best so far, {score_text(best)}: {changes_text(centre, point)}; {why}."
            yield Proposal(spec=spec, novelty=Novelty.EXPLOIT, reason=reason)


def _steps(search: _Search, centre: Point) -> Iterator[Point]:
    """Random points around `centre`, inside the space; a choice changes one time in five."""
    for _ in range(_TRIES):
        yield search.space.near(centre, _NOISE, search.rng)


def _explores(search: _Search) -> Iterator[Proposal]:
    """Of quasi-random points over the space the one farthest from all that was tried, then the next."""
    from scipy.stats import qmc

    units = qmc.Sobol(len(search.space.dimensions), seed=search.rng).random(2**6)
    tried, space = search.tried, search.space
    points = sorted((space.from_units(u) for u in units), key=lambda p: -nearest(p, tried, space))
    base = space.point(search.base)
    best = space.point(search.best.spec) if search.best else None
    for point in points:
        gap = nearest(point, tried, space)
        spec = search.spec(point) if gap > SAME else None
        if spec is not None:
            reason = (
                f"The farthest of {len(units)} points spread over the search space from all {len(tried)} tried or "
                f"planned (distance {gap:.2f} of 1). From the settings as given: {changes_text(base, point)}."
            )
            yield Proposal(spec=spec, novelty=measured_novelty(point, best, space), reason=reason)


def _wildcats(search: _Search) -> Iterator[Proposal]:
    """Points outside the space but inside the rules, at half the epochs."""
    wide = widened(search.space, search.rules)
    epochs = max(1, search.rules.epochs[0], (search.base.epochs + 1) // 2)
    base = search.space.point(search.base)
    for _ in range(_TRIES):
        point = wide.from_units(search.rng.random(len(wide.dimensions)))
        if measured_novelty(point, None, search.space) is not Novelty.WILDCAT:
            continue
        spec = search.spec(point, epochs=epochs)
        if spec is not None:
            reason = (
                f"A wild card outside the search space, at {epochs} of {search.base.epochs} epochs: "
                f"{changes_text(base, point)}. It is run to see whether the space is drawn too tight."
            )
            yield Proposal(spec=spec, novelty=Novelty.WILDCAT, reason=reason)
