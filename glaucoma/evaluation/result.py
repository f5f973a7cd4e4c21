"""What an evaluation says: every number with its interval, how many images it rests on, and why if there is none."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from glaucoma.schema import Split, Task


class Metric(BaseModel):
    """One number of one model on one split. `value` None means undefined, and then `reason` says why."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    value: float | None
    low: float | None = Field(default=None, description="Lower end of the interval; None where it cannot be had.")
    high: float | None = Field(default=None, description="Upper end of the interval.")
    n: int = Field(ge=0, description="Images that the number rests on.")
    n_expected: int = Field(ge=0, description="Images that it should rest on.")
    method: str | None = Field(default=None, description="How the interval was made.")
    reason: str | None = Field(default=None, description="Why the value or the interval is missing, or what limits it.")

    @model_validator(mode="after")
    def _says_why(self) -> Metric:
        if self.value is None and not self.reason:
            raise ValueError("an undefined metric gives its reason")
        if self.n > self.n_expected:
            raise ValueError(f"n is {self.n}, more than the {self.n_expected} expected")
        return self

    def __str__(self) -> str:
        if self.value is None:
            return f"undefined ({self.reason})"
        interval = f" ({self.low:.3f} to {self.high:.3f})" if self.low is not None and self.high is not None else ""
        return f"{self.value:.3f}{interval}"


class ThresholdChoice(BaseModel):
    """The operating point, and what it was on the split where it was chosen."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    value: float | None = Field(description="Probability of glaucoma from which an image counts as glaucoma.")
    rule: str
    target: float | None = None
    chosen_on: Split = Split.VAL
    sensitivity: float | None = None
    specificity: float | None = None
    reached: bool = Field(default=True, description="False where no threshold reaches the target.")
    reason: str | None = None


class Evaluation(BaseModel):
    """All that was measured for one model on one split; the content of `metrics.json`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    experiment_id: str
    task: Task
    split: Split
    key: str = Field(description="Key of the folder that holds this evaluation.")
    dataset: str
    prepared_key: str
    checkpoint_sha256: str
    primary: str = Field(description="Name of the metric that ranks models of this task.")
    metrics: dict[str, Metric]
    threshold: ThresholdChoice | None = None
    subgroups: dict[str, dict[str, Metric]] = Field(
        default_factory=dict, description="Per site: name of the site -> name of the metric -> value."
    )
    counts: dict[str, int] = Field(default_factory=dict)
    notes: list[str] = Field(default_factory=list, description="What a reader must know to read the numbers rightly.")
    reused: bool = Field(default=False, exclude=True, description="Whether it was there already; not written down.")

    @property
    def primary_metric(self) -> Metric:
        return self.metrics[self.primary]

    def summary(self) -> dict[str, Any]:
        """What the experiment's metadata keeps: each metric as a plain dictionary, by name."""
        return {name: metric.model_dump(mode="json") for name, metric in self.metrics.items()}
