"""The settings of housekeeping: what is kept of experiments."""

from __future__ import annotations

from pydantic import Field

from glaucoma.settings import Settings


class RetentionSettings(Settings):
    """What is kept. Whatever these say, some experiments stay.

    Those are: the best of its task on its data, the leader of a cycle, one that was measured on the test split, one
    that an unfinished cycle or a prepared dataset names, and one that is being trained.
    """

    grace_days: float = Field(
        default=2.0,
        ge=0,
        le=3650,
        description="An experiment in which anything changed within this time stays: its run may be about to retry.",
    )
    remove_broken: bool = Field(
        default=True,
        description="Remove an experiment that failed, its retries used up, and that has no checkpoint to go on from.",
    )
    max_age_days: float | None = Field(
        default=None, gt=0, le=36_500, description="Remove what has not changed for longer. Empty: of any age."
    )
    keep_newest: int | None = Field(
        default=None,
        ge=1,
        le=1_000_000,
        description="Of each task and dataset keep so many experiments, the last changed. Empty: any number.",
    )
    max_total_gb: float | None = Field(
        default=None,
        gt=0,
        description="Remove the longest unchanged until all experiments together are no larger. Empty: of any size.",
    )
    leftover_days: float | None = Field(
        default=7.0,
        ge=0,
        le=36_500,
        description="In what is kept, remove half-written files of killed processes and damaged checkpoints that were "
        "set aside, when they are older. Empty: leave them.",
    )
