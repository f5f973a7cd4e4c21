"""From lines of progress to points of a curve, in the order of the training's steps, each once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from glaucoma.training.progress_log import TrainingProgress

STEP_VALUES = {
    "train/loss": "loss",
    "train/learning_rate": "lr",
    "train/epoch": "epoch",
    "speed/images_per_s": "images_per_s",
    "speed/wait_share": "wait_share",
    "gpu/memory_mb": "gpu_memory_mb",
    "gpu/utilization_percent": "gpu_utilization_percent",
}
"""What a curve is called, and the field of `TrainingProgress` that it shows; validation adds `val/<name>`."""


@dataclass(frozen=True)
class Point:
    """What is known after one step. Values that a line does not have, or that are undefined, are left out."""

    step: int
    time: datetime
    values: dict[str, float]
    validated: bool
    """Whether an epoch ended with it."""


@dataclass(frozen=True)
class Logged:
    """How far a run has been copied: the last step, and the last step with a validation; -1: none."""

    step: int = -1
    validated_step: int = -1

    def knows(self, point: Point) -> bool:
        """True where the point, or a later one, is there already.

        A resumed training takes the steps behind its checkpoint again; they are not copied twice.
        """
        return point.step <= (self.validated_step if point.validated else self.step)

    def and_then(self, point: Point) -> Logged:
        """This and the point."""
        step = max(self.step, point.step)
        return Logged(step, max(self.validated_step, point.step)) if point.validated else replace(self, step=step)


def point_of(progress: TrainingProgress) -> Point | None:
    """The line's point; None for a line that marks a turn, and for one before the first step."""
    if progress.event is not None or (progress.val is None and progress.loss is None):
        return None
    values = {name: getattr(progress, field) for name, field in STEP_VALUES.items()}
    values |= {f"val/{name}": value for name, value in (progress.val or {}).items()}
    known = {name: float(value) for name, value in values.items() if value is not None}
    return Point(progress.step, progress.time, known, progress.val is not None)


class ProgressFile:
    """`progress.jsonl` from its first line on, as far as it has grown; lines that a kill tore are passed over."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.rewind()

    def rewind(self) -> None:
        """Begins at the first line again."""
        self._offset = 0
        self._rest = b""

    def points(self) -> Iterator[Point]:
        """The points of the whole lines that are new since the last call."""
        if not self._path.is_file():
            return
        with self._path.open("rb") as handle:
            handle.seek(self._offset)
            for piece in handle:
                self._offset += len(piece)
                if not piece.endswith(b"\n"):
                    self._rest += piece
                    return
                line, self._rest = self._rest + piece, b""
                point = _parsed(line)
                if point is not None:
                    yield point


def _parsed(line: bytes) -> Point | None:
    try:
        return point_of(TrainingProgress.model_validate_json(line))
    except ValidationError:  # torn by a kill: the next attempt says where it goes on
        return None


def flat(value: Any, prefix: str = "") -> dict[str, Any]:
    """Nested settings as one level, names joined by dots; lists stay values."""
    if not isinstance(value, dict):
        return {prefix: value}
    found: dict[str, Any] = {}
    for name, inner in value.items():
        found |= flat(inner, f"{prefix}.{name}" if prefix else str(name))
    return found
