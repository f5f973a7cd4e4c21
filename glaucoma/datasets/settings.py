"""Settings of the normalize stage."""

from __future__ import annotations

import difflib

from pydantic import Field, field_validator, model_validator

from glaucoma.datasets import layouts
from glaucoma.settings import Settings

AUTO = "auto"


class SplitSettings(Settings):
    """How images are shared out among train, val and test, a whole patient at a time."""

    keep_given: bool = Field(
        default=True,
        description="Keep the splits that the source gives, and only carve out of its training part what is missing. "
        "Off: split anew.",
    )
    val_share: float = Field(default=0.2, ge=0.0, le=0.8, description="Share of the patients for validation.")
    test_share: float = Field(default=0.2, ge=0.0, le=0.8, description="Share of the patients for the test.")
    seed: int = Field(default=0, ge=0, lt=2**32, description="The same seed gives the same splits.")

    @model_validator(mode="after")
    def _leaves_some_for_training(self) -> SplitSettings:
        if self.val_share + self.test_share > 0.9:
            raise ValueError(
                f"val_share {self.val_share} and test_share {self.test_share} leave too little for training: "
                "together they may be 0.9 at most"
            )
        return self


class NormalizeSettings(Settings):
    """How an unpacked archive becomes a dataset in the canonical form."""

    layout: str = Field(
        default=AUTO,
        description="Name of the dataset's layout; auto recognises it by content and refuses where that is ambiguous.",
    )
    split: SplitSettings = Field(default_factory=SplitSettings, description="How images are split.")
    max_unreadable_share: float = Field(
        default=0.2,
        ge=0.0,
        le=1.0,
        description="Largest share of the photographs, and of the masks, that may be set aside as unreadable.",
    )
    max_images: int | None = Field(
        default=None,
        ge=10,
        description="Take only so many photographs, of each label its share, chosen by the seed. Empty: all.",
    )

    @field_validator("layout")
    @classmethod
    def _is_known(cls, value: str) -> str:
        names = [AUTO, *(layout.name for layout in layouts.LAYOUTS)]
        if value not in names:
            near = difflib.get_close_matches(value, names, n=1, cutoff=0.5)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ValueError(f"no layout is called {value!r}{hint} Known: {', '.join(names)}")
        return value
