"""The settings of approval: which plans wait for a person, and for how long."""

from __future__ import annotations

from pydantic import Field

from glaucoma.settings import Settings


class ApprovalSettings(Settings):
    """When a plan waits for a person in mode semi, and for how long in any mode."""

    wait_hours: float = Field(
        default=168.0, gt=0, le=8760, description="No answer for so long is no approval: the cycle ends as cancelled."
    )
    strained_share: float = Field(
        default=0.8,
        gt=0,
        le=1,
        description="Mode semi: a value above this share of the highest allowed strains its rule.",
    )
    wildcats_wait: bool = Field(default=True, description="Mode semi: a plan with a wild card waits.")
    experiment_hours: float = Field(
        default=12.0,
        gt=0,
        description="Mode semi: a plan waits where one experiment is expected to train longer, times its devices.",
    )
    plan_hours: float = Field(
        default=48.0, gt=0, description="Mode semi: a plan waits where all together are expected to train for longer."
    )
    unknown_cost_waits: bool = Field(
        default=True,
        description="Mode semi: a plan waits where nothing like one of its experiments was trained here yet.",
    )
