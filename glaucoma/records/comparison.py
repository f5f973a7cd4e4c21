"""What a comparison of experiments says; `planning.compare` makes it, the cycle's record keeps it."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from glaucoma.evaluation.result import Metric
from glaucoma.schema import Split, Task


class Ranked(BaseModel):
    """An experiment in its place."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    experiment_id: str
    rank: int = Field(ge=1, description="1 for the leader and for whoever cannot be told from it.")
    score: Metric = Field(description="The primary metric on the split.")
    behind: Metric | None = Field(default=None, description="Leader's score less its own, paired; none for the leader.")


class Comparison(BaseModel):
    """The experiments of one task in order, and what can be said of the first."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    task: Task
    metric: str
    split: Split
    ranking: list[Ranked] = Field(description="Best first; those without a score last.")
    incumbent: str | None = Field(default=None, description="The best one before, where there was one.")
    gain: Metric | None = Field(default=None, description="Leader's score less the incumbent's, paired.")
    sentences: list[str] = Field(description="What follows, for people.")

    @property
    def leader(self) -> str | None:
        """The first in the ranking, where it has a score."""
        return self.ranking[0].experiment_id if self.ranking and self.ranking[0].score.value is not None else None

    @property
    def gain_is_told(self) -> bool:
        """True where the leader is not the incumbent and the gain's interval lies above 0."""
        return self.gain is not None and self.gain.low is not None and self.gain.low > 0
