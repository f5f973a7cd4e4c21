"""How images are shared out among train, val and test."""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field, model_validator

from glaucoma.settings import Settings

_TRAINING_AT_LEAST = 0.1


class SplitScheme(StrEnum):
    """Which images make the test."""

    HOLD_OUT = "hold_out"
    """The source's own test part, or a share of the patients."""
    K_FOLD = "k_fold"
    """One of k equal parts, each of which is the test of one dataset version."""
    LEAVE_ONE_SITE_OUT = "leave_one_site_out"
    """All images of one site."""


class SplitSettings(Settings):
    """How images are shared out among train, val and test, a whole patient at a time."""

    scheme: SplitScheme = Field(
        default=SplitScheme.HOLD_OUT,
        description="hold_out: the source's test part, or a share of the patients. k_fold: one of `folds` equal parts "
        "is the test. leave_one_site_out: the images of `held_out_site` are the test.",
    )
    keep_given: bool = Field(
        default=True,
        description="hold_out only: keep the splits that the source gives, and only carve out of its training part "
        "what is missing. Off, and with the other schemes: split anew.",
    )
    val_share: float = Field(
        default=0.2,
        ge=0.0,
        le=0.8,
        description="Share of the patients for validation; where the test is given, a fold or a site, of the others.",
    )
    test_share: float = Field(
        default=0.2, ge=0.0, le=0.8, description="hold_out only: share of the patients for the test."
    )
    by_site: bool = Field(
        default=True,
        description="Give each part its share of every site (camera, hospital; where the source names none: the "
        "collection), as far as the labels' shares allow. Off: by label alone.",
    )
    folds: int = Field(default=5, ge=2, le=50, description="k_fold only: number of parts.")
    fold: int = Field(
        default=0,
        ge=0,
        lt=50,
        description="k_fold only: the part that is the test, counted from 0; one dataset for each.",
    )
    held_out_site: str = Field(
        default="",
        max_length=200,
        description="leave_one_site_out only: the site that is the test, as the manifest names it. Empty: an error "
        "that lists the sites.",
    )
    seed: int = Field(default=0, ge=0, lt=2**32, description="The same seed gives the same splits.")

    @model_validator(mode="after")
    def _have_an_effect(self) -> SplitSettings:
        """What belongs to another scheme is left at its default, or somebody thinks that it counts."""
        own = {
            "test_share": SplitScheme.HOLD_OUT,
            "folds": SplitScheme.K_FOLD,
            "fold": SplitScheme.K_FOLD,
            "held_out_site": SplitScheme.LEAVE_ONE_SITE_OUT,
        }
        for name, scheme in own.items():
            value = getattr(self, name)
            if scheme is not self.scheme and value != type(self).model_fields[name].default:
                raise ValueError(f"{name} {value!r} has no effect with scheme {self.scheme}; it belongs to {scheme}")
        return self

    @model_validator(mode="after")
    def _leaves_some_for_training(self) -> SplitSettings:
        if self.scheme is SplitScheme.K_FOLD and self.fold >= self.folds:
            raise ValueError(f"fold {self.fold} is none of {self.folds} folds: they are 0 to {self.folds - 1}")
        if self.scheme is SplitScheme.HOLD_OUT and self.val_share + self.test_share > 1 - _TRAINING_AT_LEAST:
            raise ValueError(
                f"val_share {self.val_share} and test_share {self.test_share} leave too little for training: "
                f"together they may be {1 - _TRAINING_AT_LEAST} at most"
            )
        return self
