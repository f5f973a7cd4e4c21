"""What gives the label away without looking at the eye: where and with what a photograph was taken.

A dataset whose glaucoma photographs come from one clinic and whose normal ones from another teaches a model the clinic.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from glaucoma.datasets.comparison import FEWEST, MOST, Limits, at_most, shuffled
from glaucoma.datasets.permutation import Shuffles, holm, share_as_large
from glaucoma.schema import Column, Label

PICTURE_SIZE = "picture_size"
FILE_KIND = "file_kind"
WORDS = (Column.SITE.value, Column.ORIGIN.value, Column.EYE.value, FILE_KIND, PICTURE_SIZE)
_MOST_WORDS_SHARE = 0.2
"""More different words than this share of the photographs name the single photograph, not where it comes from."""


class Association(BaseModel):
    """How one property of the photographs goes with the label, normal or glaucoma."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    trait: str
    n: int
    words: int = Field(description="How many different ones there are.")
    cramers_v: float = Field(description="0 nothing, 1 the property gives the label away; corrected for small numbers.")
    p_value: float = Field(description="Of chi-square, by permutation of whole groups, after Holm's correction.")
    gives_away: bool

    @property
    def says(self) -> str:
        return (
            f"{self.trait} ({self.words} different, n={self.n}) goes with the label: Cramer's V "
            f"{self.cramers_v:.2f} (p={self.p_value:.2g})"
        )


def associations(table: pd.DataFrame, limits: Limits, *, min_association: float) -> list[Association]:
    """Every property of `WORDS` that varies, among photographs labelled normal or glaucoma; 10 of each at least.

    Each word that occurs counts, the empty one too: that a clinic is named for one class only gives the label away.
    """
    normal, glaucoma = (
        at_most(table[table[Column.LABEL] == label], MOST, limits.seed) for label in (Label.NORMAL, Label.GLAUCOMA)
    )
    if min(len(normal), len(glaucoma)) < FEWEST:
        return []
    both, shuffles = shuffled(normal, glaucoma, limits)
    if {"measured_width", "measured_height"} <= set(both.columns):
        both[PICTURE_SIZE] = both["measured_width"].astype(str) + " x " + both["measured_height"].astype(str)
    found = []
    for name in WORDS:
        words = both[name].fillna("").astype(str) if name in both else pd.Series([""] * len(both))
        if 2 <= words.nunique() <= max(2, _MOST_WORDS_SHARE * len(both)):
            found.append((name, len(both), words.nunique(), *_association(list(words), shuffles)))
    corrected = holm(np.array([one[-1] for one in found]))
    return [
        Association(
            trait=name,
            n=number,
            words=words,
            cramers_v=strength,
            p_value=float(p_value),
            gives_away=bool(p_value <= limits.significance and strength >= min_association),
        )
        for (name, number, words, strength, _), p_value in zip(found, corrected, strict=True)
    ]


def _association(words: list[str], shuffles: Shuffles) -> tuple[float, float]:
    """Cramer's V, and the p-value of its chi-square."""
    first, second = shuffles.words(words)
    chi2 = _chi_square(first, second)
    return cramers_v(float(chi2[0]), len(words), first.shape[1]), share_as_large(float(chi2[0]), chi2[1:])


def _chi_square(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
    """Pearson's chi-square of each row of two tables of counts (b, k), the two groups being the table's two rows."""
    both = first + second
    total = both.sum(axis=1, keepdims=True)
    found = np.zeros(len(first))
    for group in (first, second):
        expected = both * group.sum(axis=1, keepdims=True) / total
        found += (np.square(group - expected) / np.where(expected > 0, expected, 1.0)).sum(axis=1)
    return found


def cramers_v(chi2: float, number: int, words: int) -> float:
    """Cramer's V of a table with 2 rows and `words` columns, with Bergsma's correction (2013); 0 with one word.

    Without it many words and few photographs show an association where there is none.
    """
    squared = max(0.0, chi2 / number - (words - 1) / (number - 1))
    columns = words - (words - 1) ** 2 / (number - 1)
    rows = 2 - 1 / (number - 1)
    smaller = min(columns, rows) - 1
    return float(np.sqrt(squared / smaller)) if smaller > 0 else 0.0
