"""What an explanation says; the content of `explanation.json`."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from glaucoma.evaluation.result import Metric
from glaucoma.explanation.settings import CamMethod, ExplainedClass
from glaucoma.schema import Split, Task


class OverlayEntry(BaseModel):
    """One picture beside `explanation.json`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    file: str = Field(description="Name of the PNG in the same folder.")
    image_id: str
    title: str
    detail: str


class Explanation(BaseModel):
    """Where one model looks on one split."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    experiment_id: str
    task: Task
    split: Split
    key: str
    dataset: str
    prepared_key: str
    checkpoint_sha256: str
    method: CamMethod
    explained_class: ExplainedClass
    layer: str | None = Field(description="Name of the explained layer; None for a segmenter, or without a map.")
    map_px: tuple[int, int] | None = Field(
        description="Height and width of the map at that layer; None for a segmenter, or without a map."
    )
    mask_source: str | None = Field(description="Whose discs the shares refer to: gt (the readers') or None.")
    metrics: dict[str, Metric]
    overlays: list[OverlayEntry]
    counts: dict[str, int]
    notes: list[str] = Field(default_factory=list)
    reused: bool = Field(default=False, exclude=True, description="Whether it was there already; not written down.")

    @property
    def dri(self) -> Metric:
        """The Disc Relevance Index; its value is None, with the reason, where it cannot be had."""
        return self.metrics["dri"]
