"""What the user may choose about drift."""

from __future__ import annotations

import re
from enum import StrEnum

from pydantic import Field, field_validator, model_validator

from glaucoma.datasets.permutation import permutations_needed
from glaucoma.settings import Settings
from glaucoma.workspace import NAME_PATTERN

QUANTITIES_AT_MOST = 10
"""How many quantities are compared at once; each needs its part of the permutations."""
_REFERENCE = NAME_PATTERN.rstrip("$") + r"(/[0-9a-f]{16})?$"


class DriftGate(StrEnum):
    """What becomes of a dataset that has drifted."""

    OFF = "off"
    """Nothing is compared."""
    WARN = "warn"
    STOP = "stop"
    """The dataset is not used."""


class DriftSettings(Settings):
    """Comparison of a dataset with an earlier one, the reference, and what follows from a difference."""

    reference: str = Field(
        default="",
        description="Name of the dataset to compare with, or name/key for one version of it. Empty: none, and no "
        "comparison. The dataset's own name means its newest other version.",
        examples=["refuge", "refuge/0123456789abcdef"],
    )
    gate: DriftGate = Field(
        default=DriftGate.WARN,
        description="off: no comparison. warn: a drift is reported. stop: a drift is an error, and the dataset is not "
        "used.",
    )
    min_difference: float = Field(
        default=0.3,
        ge=0,
        description="A measured quantity has drifted by at least so many standard deviations (Wasserstein distance).",
    )
    min_label_difference: float = Field(
        default=0.1,
        ge=0,
        le=1,
        description="The mix of labels has drifted where at least this share of the images would need another label.",
    )
    significance: float = Field(
        default=0.01,
        gt=0,
        lt=1,
        description="Probability that any drift at all is reported where there is none, at most.",
    )
    permutations: int = Field(
        default=1999, ge=99, le=100_000, description="Shuffles of whole groups that show what chance alone does."
    )
    seed: int = Field(default=0, ge=0, lt=2**32, description="The same seed gives the same shuffles.")

    @field_validator("reference")
    @classmethod
    def _is_a_name(cls, value: str) -> str:
        if value and not re.fullmatch(_REFERENCE, value):
            raise ValueError(f"{value!r} is neither a dataset's name nor name/key with 16 hexadecimal digits")
        return value

    @model_validator(mode="after")
    def _enough_permutations(self) -> DriftSettings:
        needed = permutations_needed(2 * QUANTITIES_AT_MOST, self.significance)
        if self.permutations < needed:
            raise ValueError(
                f"{self.permutations} permutations can never show a significance of {self.significance} in "
                f"{QUANTITIES_AT_MOST} quantities; it takes {needed}"
            )
        return self

    @property
    def wanted(self) -> bool:
        """Whether there is anything to compare."""
        return bool(self.reference) and self.gate is not DriftGate.OFF
