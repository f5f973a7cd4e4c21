"""What housekeeping proposes and what became of it, as plain data, apart from what does the work."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class Removal(BaseModel):
    """One thing that may go."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["experiment", "leftover"]
    path: str = Field(description="Relative to the workspace.")
    experiment_id: str
    why: str
    bytes: int
    changed_at: datetime = Field(description="When anything in it last changed; a later change keeps it.")


class Done(BaseModel):
    """What became of a plan."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    removed: list[str] = Field(description="Paths.")
    left: dict[str, str] = Field(description="Path -> why it was left.")
