"""`logs/progress.jsonl`: what the child says of its progress, and how the parent reads it while it grows."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

INTERVAL_S = 0.5


class TrainingProgress(BaseModel):
    """One line of progress. Lines with an `event` mark a turn (start, resume, waiting, end); the others are steps."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    time: datetime
    event: str | None = None
    message: str = ""
    pid: int | None = None
    epoch: int = Field(default=0, description="The current epoch; the first is 1.")
    epochs: int = 0
    step: int = Field(default=0, description="Steps done in all epochs.")
    steps: int = 0
    loss: float | None = Field(default=None, description="Mean training loss of the epoch so far.")
    lr: float | None = None
    images_per_s: float | None = None
    eta_s: float | None = Field(default=None, description="Until the last epoch, should none be left out.")
    gpu_memory_mb: float | None = Field(default=None, description="Highest so far; None on a CPU.")
    gpu_utilization_percent: float | None = Field(default=None, description="By NVML, just now; None on a CPU.")
    wait_share: float | None = Field(
        default=None, description="Share of the time since the last line that the device waited for data."
    )
    val: dict[str, float | None] | None = Field(default=None, description="At an epoch's end: loss and scores.")

    @property
    def share(self) -> float:
        """Share of all steps done, 0 to 1."""
        return self.step / self.steps if self.steps else 0.0

    def line(self) -> str:
        """For a person."""
        if self.event is not None:
            return self.message or self.event
        scores = ", ".join(f"{k} {'undefined' if v is None else f'{v:.4f}'}" for k, v in (self.val or {}).items())
        loss = "" if self.loss is None else f", loss {self.loss:.4f}"
        return f"epoch {self.epoch}/{self.epochs}, step {self.step}/{self.steps}{loss}" + (
            f"; validation: {scores}" if scores else ""
        )


class ProgressWriter:
    """Appends lines, each whole; step lines at most every half second."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        torn = _ends_torn(path)
        self._handle = path.open("a", encoding="utf-8")
        if torn:  # by a kill in the middle of a line
            self._handle.write("\n")
        self._last = -math.inf

    def step(self, **fields: Any) -> None:
        """Writes the line unless the last one is less than half a second old."""
        if time.monotonic() - self._last >= INTERVAL_S:
            self.write(**fields)

    def write(self, **fields: Any) -> None:
        """Writes the line at once."""
        self._last = time.monotonic()
        record = {"time": datetime.now(UTC).isoformat(), **_finite(fields)}
        self._handle.write(json.dumps(record, allow_nan=False) + "\n")
        self._handle.flush()

    def close(self) -> None:
        self._handle.close()


class ProgressReader:
    """Reads what was appended since the last look, whole lines only."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = path.stat().st_size if path.is_file() else 0
        self._rest = b""

    def new(self) -> Iterator[TrainingProgress]:
        """The lines that are new."""
        if not self._path.is_file():
            return
        with self._path.open("rb") as handle:
            handle.seek(self._offset)
            grown = handle.read()
        self._offset += len(grown)
        *lines, self._rest = (self._rest + grown).split(b"\n")
        for line in lines:
            if line.strip():
                yield TrainingProgress.model_validate_json(line)


def read_progress(path: Path) -> list[TrainingProgress]:
    """All lines of all attempts; a line torn by a kill is left out."""
    if not path.is_file():
        return []
    found = []
    for line in path.read_bytes().split(b"\n"):
        try:
            found.append(TrainingProgress.model_validate_json(line))
        except ValueError:  # empty, or torn by a kill: the next attempt says where it goes on
            continue
    return found


def _ends_torn(path: Path) -> bool:
    """True where the file's last line has no end: its writer was killed."""
    if not path.is_file() or path.stat().st_size == 0:
        return False
    with path.open("rb") as handle:
        handle.seek(-1, 2)
        return handle.read() != b"\n"


def _finite(fields: dict[str, Any]) -> dict[str, Any]:
    clean: dict[str, Any] = {}
    for key, value in fields.items():
        if isinstance(value, dict):
            clean[key] = _finite(value)
        else:
            clean[key] = None if isinstance(value, float) and not math.isfinite(value) else value
    return clean
