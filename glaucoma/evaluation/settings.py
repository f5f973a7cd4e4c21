"""Settings of the evaluation: nothing here can change a model, only how it is measured."""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field

from glaucoma.settings import Settings, by_preset


class ThresholdRule(StrEnum):
    """How the operating point is chosen on the validation split."""

    YOUDEN = "youden"
    """The largest sensitivity + specificity - 1."""
    SENSITIVITY_AT = "sensitivity_at"
    """The best specificity among thresholds whose sensitivity reaches the target."""
    SPECIFICITY_AT = "specificity_at"
    """The best sensitivity among thresholds whose specificity reaches the target."""


class EvaluateSettings(Settings):
    """How a trained model is measured."""

    threshold_rule: ThresholdRule = Field(
        default=ThresholdRule.YOUDEN,
        description="How the threshold is chosen, always on validation: youden, sensitivity_at or specificity_at.",
    )
    threshold_target: float = Field(
        default=0.9,
        ge=0.5,
        le=1.0,
        description="The sensitivity or specificity to reach, 0.5 to 1, under the rules that have a target.",
    )
    replicates: int = by_preset(
        smoke=500, base=2000, large=2000, description="Bootstrap replicates for intervals.", ge=100, le=20_000
    )
    confidence: float = Field(default=0.95, gt=0.5, lt=1.0, description="Coverage of the intervals.")
    calibration_bins: int = Field(default=15, ge=2, le=100, description="Equal-mass bins of the calibration error.")
    min_positives: int = Field(
        default=10,
        ge=2,
        le=1000,
        description="A site with fewer glaucoma or fewer normal photographs than this is reported as insufficient.",
    )
    mask_threshold: float = Field(
        default=0.5, gt=0.0, lt=1.0, description="Probability from which a pixel counts as disc or cup."
    )
    seed: int = Field(default=0, ge=0, lt=2**32, description="Seed of the bootstrap.")
