"""What the user may choose about validation."""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field, model_validator

from glaucoma.datasets.permutation import permutations_needed
from glaucoma.settings import Settings

QUANTITIES_AT_MOST = 11
"""How many quantities of two groups are compared at once; each needs its part of the permutations."""


class Target(StrEnum):
    """What is judged."""

    RAW = "raw"
    """The files of an unpacked archive."""
    NORMALIZED = "normalized"
    """A dataset in the canonical form."""
    PREPARED = "prepared"


class QualitySettings(Settings):
    """Bounds of the quality grade. Within every good bound: good. Beyond a usable bound: reject. Else: usable."""

    good_sharpness: float = Field(
        default=6.0, ge=0, description="Good: variance of the Laplacian at 256 px, at least; lower is blurred."
    )
    usable_sharpness: float = Field(default=2.0, ge=0, description="Usable: the same, at least.")
    good_contrast: float = Field(
        default=10.0, ge=0, le=128, description="Good: standard deviation of the lit pixels' grey, at least."
    )
    usable_contrast: float = Field(default=5.0, ge=0, le=128, description="Usable: the same, at least.")
    good_min_brightness: float = Field(
        default=40.0, ge=0, le=255, description="Good: mean grey of the lit pixels, at least."
    )
    usable_min_brightness: float = Field(default=15.0, ge=0, le=255, description="Usable: the same, at least.")
    good_max_brightness: float = Field(
        default=200.0, ge=0, le=255, description="Good: mean grey of the lit pixels, at most."
    )
    usable_max_brightness: float = Field(default=235.0, ge=0, le=255, description="Usable: the same, at most.")
    good_clipped_share: float = Field(
        default=0.5, ge=0, le=1, description="Good: share of the lit pixels with a channel at its upper end, at most."
    )
    usable_clipped_share: float = Field(default=0.95, ge=0, le=1, description="Usable: the same, at most.")
    good_evenness: float = Field(
        default=0.6,
        ge=0,
        le=1,
        description="Good: grey of the darkest tenth of the lit cells over that of the middle one, at least.",
    )
    usable_evenness: float = Field(default=0.3, ge=0, le=1, description="Usable: the same, at least.")
    good_field_share: float = Field(
        default=0.35, ge=0, le=1, description="Good: share of the photograph that the field of view takes, at least."
    )
    usable_field_share: float = Field(default=0.2, ge=0, le=1, description="Usable: the same, at least.")

    @model_validator(mode="after")
    def _good_is_stricter(self) -> QualitySettings:
        for name in ("sharpness", "contrast", "min_brightness", "evenness", "field_share"):
            if getattr(self, f"good_{name}") < getattr(self, f"usable_{name}"):
                raise ValueError(f"good_{name} may not be smaller than usable_{name}")
        for name in ("max_brightness", "clipped_share"):
            if getattr(self, f"good_{name}") > getattr(self, f"usable_{name}"):
                raise ValueError(f"good_{name} may not be larger than usable_{name}")
        if self.good_max_brightness <= self.good_min_brightness:
            raise ValueError("good_max_brightness must be larger than good_min_brightness")
        return self


class RawSettings(Settings):
    """How the files of an unpacked archive are looked at, before anyone knows what they are."""

    decode: bool = Field(
        default=True,
        description="Read every file again, check its SHA-256, and decode every image. Off: headers only.",
    )


class PreparedSettings(Settings):
    """How a prepared dataset is looked at."""

    max_compared: int = Field(
        default=2000,
        ge=1,
        description="Decode and compare with the packed arrays at most so many pictures, evenly spread over the "
        "manifest; of the others the file's header alone is read.",
    )
    max_disc_lost: float = Field(
        default=0.02, ge=0, le=1, description="Warning: share of a marked disc that the crop removed, at most."
    )


class ValidateSettings(Settings):
    """Bounds that the checks judge by. Bounds on how a photograph looks only warn; most others are critical."""

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
    min_entropy: float = Field(
        default=3.0, ge=0, le=8, description="Warning: Shannon entropy of the lit pixels' grey in bits, at least."
    )
    max_cdr_difference: float = Field(
        default=0.1,
        ge=0,
        le=1,
        description="Warning: vertical cup-to-disc ratio of the mask against the one that the source states, at most.",
    )
    max_ungradable_share: float = Field(
        default=1.0,
        ge=0,
        le=1,
        description="Critical: share of the photographs whose quality is graded reject, at most. 1: only warn.",
    )
    quality: QualitySettings = Field(default_factory=QualitySettings, description="Bounds of the quality grade.")
    min_difference: float = Field(
        default=0.3,
        ge=0,
        description="Warning: two groups of photographs (classes, splits) differ by at least so many standard "
        "deviations (Wasserstein distance) in a measured quantity.",
    )
    telling_auc: float = Field(
        default=0.7,
        ge=0.5,
        le=1,
        description="Warning: a measured quantity alone tells glaucoma from normal with at least this AUC.",
    )
    min_association: float = Field(
        default=0.3,
        ge=0,
        le=1,
        description="Warning: site, origin, eye, file format or picture size go with the label by at least this "
        "(Cramer's V, 0 to 1).",
    )
    significance: float = Field(
        default=0.01,
        gt=0,
        lt=1,
        description="A difference counts where chance alone shows one like it with at most this probability "
        "(permutation of whole groups, Holm's correction).",
    )
    permutations: int = Field(
        default=1999, ge=99, le=100_000, description="Shuffles from which that probability is taken."
    )
    seed: int = Field(default=0, ge=0, lt=2**32, description="The same seed gives the same shuffles.")
    raw: RawSettings = Field(default_factory=RawSettings, description="The unpacked archive's files.")
    prepared: PreparedSettings = Field(default_factory=PreparedSettings, description="The prepared dataset.")

    @model_validator(mode="after")
    def _ordered(self) -> ValidateSettings:
        if self.review_bits < self.near_duplicate_bits:
            raise ValueError("review_bits may not be smaller than near_duplicate_bits")
        return self

    @model_validator(mode="after")
    def _enough_permutations(self) -> ValidateSettings:
        """With too few nothing is ever significant, and no warning of a shift or a confounder can come."""
        needed = permutations_needed(QUANTITIES_AT_MOST, self.significance)
        if self.permutations < needed:
            raise ValueError(
                f"{self.permutations} permutations can never show a significance of {self.significance} in "
                f"{QUANTITIES_AT_MOST} quantities; it takes {needed}"
            )
        return self
