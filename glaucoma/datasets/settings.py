"""Settings of the normalize stage."""

from __future__ import annotations

import difflib

from pydantic import Field, field_validator, model_validator

from glaucoma.datasets import layouts
from glaucoma.datasets.layouts.mapped import NAME as MAPPED
from glaucoma.datasets.split_settings import SplitSettings
from glaucoma.settings import Settings, UserPath

AUTO = "auto"


class NormalizeSettings(Settings):
    """How an unpacked archive becomes a dataset in the canonical form."""

    layout: str = Field(
        default=AUTO,
        description="Name of the dataset's layout; auto recognises it by content and refuses where that is ambiguous; "
        "unlabelled takes photographs without labels or masks.",
    )
    mapping: UserPath | None = Field(
        default=None,
        description="A YAML file that describes a layout nobody knows (docs/how-to/describe-your-own-layout.md).",
    )
    split: SplitSettings = Field(default_factory=SplitSettings, description="How images are split.")
    max_unreadable_share: float = Field(
        default=0.2,
        ge=0.0,
        le=1.0,
        description="Largest share of the photographs, and of the masks, that may be set aside as unreadable.",
    )
    allow_one_class: bool = Field(
        default=False,
        description="Take a dataset of normal or of glaucoma photographs only: nothing can be learned from it alone, "
        "but it can be merged with another.",
    )
    max_images: int | None = Field(
        default=None,
        ge=10,
        description="Take only so many photographs, of each label its share, chosen by the seed. Empty: all.",
    )

    @field_validator("layout")
    @classmethod
    def _is_known(cls, value: str) -> str:
        names = [AUTO, MAPPED, *(layout.name for layout in (*layouts.LAYOUTS, *layouts.ON_REQUEST))]
        if value not in names:
            near = difflib.get_close_matches(value, names, n=1, cutoff=0.5)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ValueError(f"no layout is called {value!r}{hint} Known: {', '.join(names)}")
        return value

    @model_validator(mode="after")
    def _mapping_and_layout_agree(self) -> NormalizeSettings:
        if self.mapping is None and self.layout == MAPPED:
            raise ValueError("layout mapped needs a mapping: the path of a YAML file")
        if self.mapping is not None and self.layout not in (AUTO, MAPPED):
            raise ValueError(f"layout {self.layout} and a mapping contradict each other: leave one of them out")
        return self
