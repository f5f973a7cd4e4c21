"""How a machine is watched: how often, what is too hot or too full, when a GPU hangs, how long figures are kept."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from glaucoma.settings import Settings

FATAL_XIDS = (48, 62, 63, 64, 74, 79, 92, 94, 95, 109, 110, 119, 120, 136, 140, 143, 154)
"""Xids that tell of the GPU itself, its memory, its bus or its firmware, not of the program that ran on it."""


class SampleSettings(Settings):
    """How often a run of `watch` looks."""

    samples: int = Field(default=4, ge=1, le=120, description="Readings that one run takes.")
    interval_s: float = Field(default=30.0, ge=0.0, le=600.0, description="Seconds from one reading to the next.")


class ThresholdSettings(Settings):
    """What is told, and when it counts as over again: the second figure of each pair keeps it from flapping."""

    hot_c: float = Field(default=85.0, ge=30, le=120, description="A GPU at or above this is hot.")
    cool_c: float = Field(default=78.0, ge=20, le=120, description="And is so until it is at or below this.")
    memory_full_percent: float = Field(
        default=98.0, gt=0, le=100, description="A GPU whose memory is used to this share is full."
    )
    memory_free_percent: float = Field(
        default=90.0, ge=0, le=100, description="And is so until its memory is used to this share or less."
    )
    disk_low_gb: float = Field(
        default=20.0, ge=0, description="Less than this free for the workspace or for Prefect's home is low."
    )
    disk_enough_gb: float = Field(default=40.0, ge=0, description="And is so until this much is free for both.")
    host_memory_low_percent: float = Field(
        default=4.0, ge=0, le=100, description="Less than this share of the machine's memory left is low."
    )
    host_memory_enough_percent: float = Field(
        default=10.0, ge=0, le=100, description="And is so until this share is left."
    )
    fatal_xids: tuple[int, ...] = Field(
        default=FATAL_XIDS, max_length=200, description="Xids of the driver that tell of a broken GPU."
    )

    @model_validator(mode="after")
    def _pairs_in_order(self) -> Self:
        pairs = (
            ("cool_c", "hot_c"),
            ("memory_free_percent", "memory_full_percent"),
            ("disk_low_gb", "disk_enough_gb"),
            ("host_memory_low_percent", "host_memory_enough_percent"),
        )
        for low, high in pairs:
            if getattr(self, low) >= getattr(self, high):
                raise ValueError(f"{low} ({getattr(self, low):g}) is not below {high} ({getattr(self, high):g})")
        return self


class HangSettings(Settings):
    """When a GPU hangs, and what is done then."""

    hang_after_s: float = Field(
        default=900.0,
        ge=10,
        le=86_400,
        description="A training that wrote no line of progress for so long, on a GPU that does nothing (or claims to "
        "be busy and moves no memory) all the while, hangs. Longer than the training's own stall_timeout_s, which ends "
        "most of them before.",
    )
    drain: bool = Field(
        default=True,
        description="Give a GPU that hangs or is broken no new work, end its run, and let its experiment go on "
        "elsewhere. Off: only tell.",
    )
    end_grace_s: float = Field(
        default=60.0, ge=0, le=600, description="How long a run that is ended may take to save its training."
    )


class KeepSettings(Settings):
    """How long figures are kept in the store."""

    full_hours: float = Field(default=48.0, gt=0, le=24 * 365, description="Every reading is kept for so long.")
    mean_minutes: int = Field(default=10, ge=1, le=24 * 60, description="Then their means over so many minutes.")
    keep_days: float = Field(default=90.0, gt=0, le=3650, description="And these are removed after so long.")


class PlotSettings(Settings):
    """The picture of the last hours."""

    hours: float = Field(default=6.0, gt=0, le=24 * 90, description="How far back the picture goes.")
    every_s: float = Field(
        default=600.0, ge=0, le=86_400, description="A new picture after so long; the table is new at each run."
    )


class WatchSettings(Settings):
    """All of it."""

    take: SampleSettings = Field(default_factory=SampleSettings, description="How often it looks.")
    thresholds: ThresholdSettings = Field(default_factory=ThresholdSettings, description="What is told.")
    hangs: HangSettings = Field(default_factory=HangSettings, description="GPUs that hang.")
    keep: KeepSettings = Field(default_factory=KeepSettings, description="How long figures are kept.")
    plot: PlotSettings = Field(default_factory=PlotSettings, description="The picture of the last hours.")

    @model_validator(mode="after")
    def _hangs_can_be_seen(self) -> Self:
        kept_s = 3600 * self.keep.full_hours
        if kept_s < self.hangs.hang_after_s:
            raise ValueError(
                f"keep.full_hours ({self.keep.full_hours:g}) is less than hangs.hang_after_s "
                f"({self.hangs.hang_after_s:g} s): a hang is found by readings of all that time, and means are none"
            )
        return self
