"""Whether two groups of photographs differ in what a model could take for the disease: brightness, colour, size.

A difference between the classes is a confounder, between the splits a shift, against a reference a drift. It counts
where it is both significant (two-sample Kolmogorov-Smirnov, corrected by Holm for all quantities compared) and large
enough to matter (Wasserstein distance in standard deviations): fixed limits on a drift index raise false alarms on
small sets.
"""

from __future__ import annotations

from itertools import product

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from glaucoma.datasets.statistics import Measured

_MIN_GROUP = 10


class Comparison(BaseModel):
    """One quantity in two groups of photographs."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    quantity: str
    first: str
    second: str
    n_first: int
    n_second: int
    distance_sd: float = Field(description="Wasserstein distance over the pooled standard deviation.")
    p_value: float = Field(description="Kolmogorov-Smirnov, after Holm's correction.")
    differs: bool

    @property
    def says(self) -> str:
        return (
            f"{self.quantity} of {self.first} (n={self.n_first}) and {self.second} (n={self.n_second}) lies "
            f"{self.distance_sd:.2f} standard deviations apart (p={self.p_value:.1e})"
        )


def compare(
    groups: dict[str, pd.DataFrame], pairs: list[tuple[str, str]], *, min_difference: float, significance: float
) -> list[Comparison]:
    """Every measured quantity in every pair of groups; pairs with fewer than 10 values on a side are left out."""
    from scipy import stats

    found: list[tuple[str, str, str, int, int, float, float]] = []
    for (first, second), quantity in product(pairs, Measured):
        left, right = _values(groups[first], quantity), _values(groups[second], quantity)
        spread = float(np.sqrt((left.var() + right.var()) / 2)) if left.size and right.size else 0.0
        if min(left.size, right.size) < _MIN_GROUP or spread == 0:
            continue
        distance = float(stats.wasserstein_distance(left, right)) / spread
        p_value = float(stats.ks_2samp(left, right).pvalue)
        found.append((str(quantity), first, second, left.size, right.size, distance, p_value))
    corrected = holm(np.array([one[-1] for one in found]))
    return [
        Comparison(
            quantity=quantity,
            first=first,
            second=second,
            n_first=n_first,
            n_second=n_second,
            distance_sd=distance,
            p_value=float(p_value),
            differs=bool(p_value < significance and distance >= min_difference),
        )
        for (quantity, first, second, n_first, n_second, distance, _), p_value in zip(found, corrected, strict=True)
    ]


def holm(p_values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Holm's step-down correction: p-values (k,) that hold together, in the given order."""
    order = np.argsort(p_values, kind="stable")
    factors = np.arange(len(p_values), 0, -1)
    stepped = np.minimum(np.maximum.accumulate(p_values[order] * factors), 1.0) if len(p_values) else p_values
    corrected = np.empty_like(p_values, dtype=np.float64)
    corrected[order] = stepped
    return corrected


def _values(group: pd.DataFrame, quantity: str) -> NDArray[np.float64]:
    values = pd.to_numeric(group[quantity], errors="coerce").to_numpy(dtype=np.float64)
    return np.asarray(values[np.isfinite(values)], dtype=np.float64)
