"""Whether two groups of photographs differ in what a model could take for the disease: brightness, colour, size.

A difference between the classes is a confounder, between the splits a shift, against a reference a drift. It counts
where it is larger than chance makes it at these numbers of photographs, and large enough to matter: fixed limits on a
drift index raise false alarms on small sets.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from glaucoma.datasets.permutation import Contrast, Shuffles, holm, unit_codes
from glaucoma.schema import Column

FEWEST = 10
"""Fewer photographs on a side are not compared."""
MOST = 2000
"""So many on a side are enough to tell any difference that matters; of more, whole groups are drawn by the seed."""


@dataclass(frozen=True)
class Limits:
    """When a difference counts.

    Attributes:
        min_difference: Standard deviations (Wasserstein distance), at least.
        significance: Probability that chance alone shows as much, at most.
        permutations: Shuffles from which that probability is taken.
        telling_auc: From which on one quantity alone tells the groups apart.
    """

    min_difference: float = 0.3
    significance: float = 0.01
    permutations: int = 1999
    seed: int = 0
    telling_auc: float = 0.7


class Comparison(BaseModel):
    """One quantity in two groups of photographs."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    quantity: str
    first: str
    second: str
    n_first: int
    n_second: int
    median_first: float
    median_second: float
    distance_sd: float = Field(description="Wasserstein distance over the pooled standard deviation.")
    threshold_sd: float = Field(
        description="What chance stays below with probability 1 - significance, in all quantities at once."
    )
    ks: float = Field(description="Kolmogorov-Smirnov's D, 0 to 1.")
    p_value: float = Field(description="Of D, by permutation, after Holm's correction.")
    auc: float = Field(description="Chance that the quantity is larger in the first group; 0.5 tells nothing.")
    auc_p_value: float = Field(description="Of the AUC, likewise, two-sided.")
    differs: bool = Field(description="Distance above its floor and above chance, and D significant.")
    tells_apart: bool = Field(description="AUC, or 1 - AUC, at least `telling_auc`, and significant.")

    @property
    def says(self) -> str:
        return (
            f"{self.quantity}: {self.first} (n={self.n_first}, median {self.median_first:.4g}) and {self.second} "
            f"(n={self.n_second}, median {self.median_second:.4g}) lie {self.distance_sd:.2f} standard deviations "
            f"apart (chance: up to {self.threshold_sd:.2f}), D {self.ks:.2f} (p={self.p_value:.2g}), AUC alone "
            f"{max(self.auc, 1 - self.auc):.2f}"
        )


def compare(
    tables: tuple[pd.DataFrame, pd.DataFrame], names: tuple[str, str], quantities: Sequence[str], limits: Limits
) -> list[Comparison]:
    """Every quantity in two tables of checks, whose column `group` says which photographs belong together.

    Quantities with fewer than 10 values on a side are left out. Holm's correction and the threshold are over the
    quantities of this pair.
    """
    first, second = (at_most(table, MOST, limits.seed) for table in tables)
    if min(len(first), len(second)) < FEWEST:
        return []
    both, shuffles = shuffled(first, second, limits)
    values = {quantity: numbers(both, quantity) for quantity in quantities}
    side = shuffles.first
    usable = [name for name, one in values.items() if min(_known(one[side]), _known(one[~side])) >= FEWEST]
    contrasts = {name: shuffles.numbers(values[name]) for name in usable}
    threshold = chance_threshold(list(contrasts.values()), limits.significance)
    ks_p = holm(np.array([contrasts[name].ks_p for name in usable]))
    auc_p = holm(np.array([contrasts[name].auc_p for name in usable]))
    return [
        _comparison(name, names, values[name], side, contrasts[name], threshold, p, q, limits)
        for name, p, q in zip(usable, ks_p.tolist(), auc_p.tolist(), strict=True)
    ]


def shuffled(first: pd.DataFrame, second: pd.DataFrame, limits: Limits) -> tuple[pd.DataFrame, Shuffles]:
    """Both tables as one, and its shuffles; a group that stands in both counts as two."""
    both = pd.concat([first, second], ignore_index=True)
    side = np.arange(len(both)) < len(first)
    units = unit_codes(list(both[Column.GROUP]), side)
    return both, Shuffles(side, units, permutations=limits.permutations, seed=limits.seed)


def at_most(table: pd.DataFrame, count: int, seed: int) -> pd.DataFrame:
    """The table, or `count` rows of it, group after group in an order drawn by the seed."""
    if len(table) <= count:
        return table
    groups = table[Column.GROUP].unique()
    order = {name: place for place, name in enumerate(np.random.default_rng(seed).permutation(groups))}
    places = table[Column.GROUP].map(order).to_numpy(dtype=np.int64)
    kept = np.sort(np.argsort(places, kind="stable")[:count])
    return table.iloc[kept]


def numbers(table: pd.DataFrame, column: str) -> NDArray[np.float64]:
    """The column as float64, NaN where it says nothing or is not there."""
    if column not in table:
        return np.full(len(table), np.nan)
    return pd.to_numeric(table[column], errors="coerce").to_numpy(dtype=np.float64, copy=True)


def chance_threshold(contrasts: Sequence[Contrast], significance: float) -> float:
    """The distance, in standard deviations, that the largest of all quantities stays below when chance alone acts."""
    if not contrasts:
        return 0.0
    largest = np.max([one.null_distance_sd for one in contrasts], axis=0)
    return float(np.quantile(largest, 1 - significance, method="higher"))


def _comparison(
    quantity: str,
    names: tuple[str, str],
    values: NDArray[np.float64],
    side: NDArray[np.bool_],
    contrast: Contrast,
    threshold: float,
    p_value: float,
    auc_p: float,
    limits: Limits,
) -> Comparison:
    left, right = values[side], values[~side]
    telling = max(contrast.auc, 1 - contrast.auc)
    return Comparison(
        quantity=quantity,
        first=names[0],
        second=names[1],
        n_first=_known(left),
        n_second=_known(right),
        median_first=float(np.nanmedian(left)),
        median_second=float(np.nanmedian(right)),
        distance_sd=contrast.distance_sd,
        threshold_sd=threshold,
        ks=contrast.ks,
        p_value=p_value,
        auc=contrast.auc,
        auc_p_value=auc_p,
        differs=p_value <= limits.significance and contrast.distance_sd >= max(limits.min_difference, threshold),
        tells_apart=auc_p <= limits.significance and telling >= limits.telling_auc,
    )


def _known(values: NDArray[np.float64]) -> int:
    return int(np.count_nonzero(np.isfinite(values)))
