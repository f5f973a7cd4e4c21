"""How new an experiment is, measured against all that was tried, and which kind is due next."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from glaucoma.planning.settings import PlanSettings
from glaucoma.planning.space import SearchSpace, Value
from glaucoma.records.words import Novelty

Point = Mapping[str, Value]
NEAR = 0.2
"""Gower's distance up to which an experiment counts as near the best one; of five settings one may differ wholly."""
SAME = 0.01
"""Nearer than this to something tried, an experiment would tell nothing new."""


def measured_novelty(point: Point, best: Point | None, space: SearchSpace) -> Novelty:
    """The class of `point` by where it lies: outside the space, near the best one, or elsewhere."""
    if not space.holds(point):
        return Novelty.WILDCAT
    if best is not None and space.distance(point, best) <= NEAR:
        return Novelty.EXPLOIT
    return Novelty.EXPLORE


def nearest(point: Point, tried: Iterable[Point], space: SearchSpace) -> float:
    """Distance to the nearest of `tried`; infinite where nothing was tried."""
    return min((space.distance(point, other) for other in tried), default=float("inf"))


def due(history: Sequence[Novelty], settings: PlanSettings) -> Novelty:
    """The class that is furthest behind its share of all experiments so far; exploit before explore before wildcat."""
    shares = {
        Novelty.EXPLOIT: settings.exploit_share,
        Novelty.EXPLORE: settings.explore_share,
        Novelty.WILDCAT: settings.wildcat_share,
    }
    behind = {kind: share * (len(history) + 1) - history.count(kind) for kind, share in shares.items()}
    return max(behind, key=lambda kind: behind[kind])
