"""Optuna as an engine for candidates: a study in memory, rebuilt from the ledger each time, thrown away after."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from typing import Any

from glaucoma.planning.novelty import Point
from glaucoma.planning.space import Choice, SearchSpace
from glaucoma.records.ledger import LedgerExperiment
from glaucoma.records.words import Novelty, Standing


def parzen_candidates(
    past: Sequence[LedgerExperiment], pending: Sequence[Point], space: SearchSpace, seed: int, n: int
) -> Iterator[Point]:
    """Up to `n` points that a multivariate tree-structured Parzen estimator expects to score well.

    Completed experiments are told with their score, failed ones as failed, running and pending ones as running, so that
    the estimator keeps away from them. Wildcats and points outside the space are left out: they ran at another cost, or
    the estimator's distributions do not hold them.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    distributions = {name: _distribution(optuna, d) for name, d in space.dimensions.items()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        sampler = optuna.samplers.TPESampler(seed=seed, multivariate=True, constant_liar=True, n_startup_trials=4)
    study = optuna.create_study(direction="maximize", sampler=sampler)
    for entry in past:
        point = space.point(entry.spec)
        if space.holds(point) and entry.novelty is not Novelty.WILDCAT:
            study.add_trial(_trial(optuna, point, distributions, entry.status, entry.primary_score))
    for waiting in pending:
        if space.holds(waiting):
            study.add_trial(_trial(optuna, waiting, distributions, Standing.RUNNING, None))
    for _ in range(n):
        trial = study.ask(distributions)
        units = {name: _plain(space, name, value) for name, value in trial.params.items()}
        yield {name: units[name] for name in space.dimensions}
        study.tell(trial, state=optuna.trial.TrialState.FAIL)


def _plain(space: SearchSpace, name: str, value: Any) -> Any:
    """Numbers rounded as everywhere in the search."""
    dimension = space.dimensions[name]
    return value if isinstance(dimension, Choice) else dimension.from_unit(dimension.to_unit(value))


def _distribution(optuna: Any, dimension: Any) -> Any:
    if isinstance(dimension, Choice):
        return optuna.distributions.CategoricalDistribution(dimension.values)
    return optuna.distributions.FloatDistribution(dimension.low, dimension.high, log=dimension.log)


def _trial(optuna: Any, point: Point, distributions: Any, status: Standing, score: float | None) -> Any:
    states = optuna.trial.TrialState
    done = status is Standing.COMPLETED and score is not None
    running = status in (Standing.RUNNING, Standing.PROPOSED)
    return optuna.trial.create_trial(
        params=dict(point),
        distributions=distributions,
        value=score if done else None,
        state=states.COMPLETE if done else states.RUNNING if running else states.FAIL,
    )
