"""The settings of the flows that look after the machine: watch, gpus, drain, undrain, recover."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from pydantic import Field

from flows.configs import FlowConfig
from glaucoma.machine.settings import WatchSettings

GpuNumber = Annotated[int, Field(ge=0, le=63, description="Its number on its machine, as nvidia-smi counts.")]
HostName = Annotated[
    str | None,
    Field(
        max_length=200,
        description="The machine that is meant: the flow refuses to act on another one. Empty: the one it runs on.",
    ),
]
Recoveries = Annotated[
    int,
    Field(
        ge=0,
        le=100,
        description="So often an experiment is taken up by itself in all; a person can do it as often as they like.",
    ),
]


class WatchConfig(FlowConfig):
    """Read the GPUs and the machine a few times, keep the figures, tell what changed, drain GPUs that hang."""

    watch: WatchSettings = Field(default_factory=WatchSettings, description="How, and what counts as too much.")
    most_recoveries: Recoveries = 3


class GpusConfig(FlowConfig):
    """Show the GPUs of this machine: figures, what each is for, whether it takes work, and what works on it."""


class DrainConfig(FlowConfig):
    """Give a GPU of this machine no new work."""

    gpu: GpuNumber
    host: HostName = None
    reason: str = Field(
        default="a person drained it", min_length=1, max_length=500, description="Why, for whoever sees it drained."
    )
    end_run: bool = Field(
        default=False, description="Also end the run that is on it now; off: it ends by itself, and nothing follows it."
    )
    resume: bool = Field(
        default=True, description="With end_run: its experiment goes on in a new run, on whichever other GPU is free."
    )
    end_grace_s: float = Field(
        default=60.0, ge=0, le=600, description="With end_run: how long it may take to save its training."
    )

    @property
    def named(self) -> str:
        """What the run is called."""
        return f"gpu{self.gpu}"


class UndrainConfig(FlowConfig):
    """Give a GPU of this machine work again."""

    gpu: GpuNumber
    host: HostName = None

    @property
    def named(self) -> str:
        """What the run is called."""
        return f"gpu{self.gpu}"


class RecoverConfig(FlowConfig):
    """Take up what a crashed run was doing: a new run of resume for each experiment that it trained, once."""

    flow_run: UUID | None = Field(
        default=None,
        description="Id of the flow run that crashed. Empty: every crash of late that nobody has answered.",
        examples=["0192f7a1-1111-7222-8333-444455556666"],
    )
    look_back_h: float = Field(
        default=24.0, gt=0, le=720, description="Without a flow run: crashes of the last so many hours."
    )
    delay_s: float = Field(
        default=60.0, ge=0, le=86_400, description="The new runs start so much later at the earliest."
    )
    most_per_experiment: Recoveries = 3
    most_again: int = Field(
        default=1,
        ge=0,
        le=10,
        description="A crashed cycle or planned experiment is started again; so many crashes in a row of the same work "
        "are answered so.",
    )

    @property
    def named(self) -> str:
        """What the run is called."""
        return str(self.flow_run)[:8] if self.flow_run else "missed"
