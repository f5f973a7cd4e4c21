"""What the user may choose about validation."""

from __future__ import annotations

from pydantic import Field, model_validator

from glaucoma.settings import Settings


class ValidateSettings(Settings):
    """Bounds that the checks judge by. Bounds on how a photograph looks only warn; the others are critical."""

    min_side_px: int = Field(default=64, ge=1, le=4096, description="Critical: shorter side of a photograph, at least.")
    near_duplicate_bits: int = Field(
        default=16,
        ge=0,
        le=64,
        description="Critical: photographs of two splits whose 256-bit perceptual hashes differ in at most this many.",
    )
    review_bits: int = Field(
        default=28, ge=0, le=96, description="Warning: the same, for a person to look at both photographs."
    )
    min_brightness: float = Field(
        default=15.0, ge=0, le=255, description="Warning: mean grey of the lit pixels, at least."
    )
    max_brightness: float = Field(
        default=235.0, ge=0, le=255, description="Warning: mean grey of the lit pixels, at most."
    )
    min_contrast: float = Field(
        default=5.0, ge=0, le=128, description="Warning: standard deviation of the lit pixels' grey, at least."
    )
    min_sharpness: float = Field(
        default=0.5, ge=0, description="Warning: variance of the Laplacian at 512 px, at least; lower is blurred."
    )
    min_entropy: float = Field(
        default=3.0, ge=0, le=8, description="Warning: Shannon entropy of the lit pixels' grey in bits, at least."
    )
    min_lit_share: float = Field(
        default=0.2, ge=0, le=1, description="Warning: share of the photograph that is not near-black, at least."
    )
    min_difference: float = Field(
        default=0.3,
        ge=0,
        description="Warning: two groups of photographs (classes, splits, a reference) differ by at least so many "
        "standard deviations (Wasserstein distance) in a measured quantity.",
    )
    significance: float = Field(
        default=0.01,
        gt=0,
        lt=1,
        description="Such a difference counts below this p (Kolmogorov-Smirnov, Holm's correction).",
    )

    @model_validator(mode="after")
    def _ordered(self) -> ValidateSettings:
        if self.review_bits < self.near_duplicate_bits:
            raise ValueError("review_bits may not be smaller than near_duplicate_bits")
        if self.max_brightness <= self.min_brightness:
            raise ValueError("max_brightness must be larger than min_brightness")
        return self
