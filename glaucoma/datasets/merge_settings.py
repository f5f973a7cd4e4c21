"""Settings of the merge stage."""

from __future__ import annotations

from pydantic import Field

from glaucoma.datasets.split_settings import SplitSettings
from glaucoma.settings import Settings


class MergeSplitSettings(SplitSettings):
    """How the merged images are shared out among train, val and test, a whole patient at a time."""

    keep_given: bool = Field(
        default=False,
        description="Keep the splits that the datasets have; one photograph on two sides is then an error. "
        "Off: split anew.",
    )


class MergeSettings(Settings):
    """How several datasets become one."""

    split: MergeSplitSettings = Field(default_factory=MergeSplitSettings, description="How images are split.")
