"""`logs/progress.jsonl`: what the child says of its progress, and how the parent reads it while it grows."""

from __future__ import annotations

import errno
import json
import math
import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import IO, Any

from pydantic import BaseModel, ConfigDict, Field

INTERVAL_S = 0.5
LONGEST_LINE_BYTES = 64 * 1024
_PIECE_BYTES = 1024 * 1024


class Phase(StrEnum):
    """What a training does while its step does not move."""

    WAITING = "waiting"
    LOADING = "loading"
    COMPILING = "compiling"
    VALIDATION = "validation"


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
    phase: Phase | None = Field(default=None, description="What is done beside the steps; None: the steps.")
    phase_done: int = Field(default=0, description="How much of the phase is done, such as batches validated.")
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

    @property
    def waits(self) -> bool:
        """True while it waits for the GPU, which may take as long as another training does."""
        return self.phase is Phase.WAITING or self.event == Phase.WAITING

    @property
    def place(self) -> tuple[object, ...]:
        """Where the training stands. Two lines with the same place show that it lives, and no progress."""
        return (self.event, self.epoch, self.step, self.phase, self.phase_done, self.val is not None)

    def line(self) -> str:
        """For a person."""
        if self.message or self.event is not None:
            return self.message or str(self.event)
        scores = ", ".join(f"{k} {'undefined' if v is None else f'{v:.4f}'}" for k, v in (self.val or {}).items())
        loss = "" if self.loss is None else f", loss {self.loss:.4f}"
        return f"epoch {self.epoch}/{self.epochs}, step {self.step}/{self.steps}{loss}" + (
            f"; validation: {scores}" if scores else ""
        )


class ProgressWriter:
    """Appends lines, each whole; step lines at most every half second.

    Where the file was removed or replaced meanwhile, a new one is begun, so that whoever watches sees the progress.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._handle = self._open()
        self._last = -math.inf

    def step(self, **fields: Any) -> None:
        """Writes the line unless the last one is less than half a second old."""
        if time.monotonic() - self._last >= INTERVAL_S:
            self.write(**fields)

    def write(self, **fields: Any) -> None:
        """Writes the line at once; raises `OSError` where the disk takes only a part of it."""
        self._last = time.monotonic()
        record = {"time": datetime.now(UTC).isoformat(), **_finite(fields)}
        line = (json.dumps(record, allow_nan=False) + "\n").encode()
        if not self._is_current():
            gone, self._handle = self._handle, self._open()  # in this order: the new file gets another number
            gone.close()
        if self._handle.write(line) != len(line):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self._path))

    def close(self) -> None:
        self._handle.close()

    def _open(self) -> IO[bytes]:
        torn = _ends_torn(self._path)
        handle = self._path.open("ab", buffering=0)
        if torn:  # by a kill in the middle of a line
            handle.write(b"\n")
        return handle

    def _is_current(self) -> bool:
        try:
            return os.path.samestat(self._path.stat(), os.fstat(self._handle.fileno()))
        except FileNotFoundError:
            return False


class SilentProgress(ProgressWriter):
    """Writes nowhere: for the ranks after the first."""

    def __init__(self) -> None:  # no file is opened
        pass

    def write(self, **fields: Any) -> None:
        """Says nothing."""

    def step(self, **fields: Any) -> None:
        """Says nothing."""

    def close(self) -> None:
        """Nothing is open."""


class ProgressReader:
    """Reads what was appended since the last look, whole lines only. Nothing in the file can make it fail.

    What is no line of progress is left out and counted in `left_out`; a line longer than `LONGEST_LINE_BYTES` is never
    held. Where the file was cut short it goes on from its new end; where it was replaced, from the beginning.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lines = _Lines()
        self._file: tuple[int, int] | None = None
        self._offset = 0
        self.left_out = 0
        """Lines that could not be read."""
        self.problem = ""
        """Why the file could not be read at the last look; empty where it could."""
        if status := self._status():
            self._file, self._offset = (status.st_dev, status.st_ino), status.st_size

    def new(self) -> Iterator[TrainingProgress]:
        """The lines that are new."""
        try:
            yield from self._read()
        except OSError as error:
            self.problem = str(error)

    def _read(self) -> Iterator[TrainingProgress]:
        status = self._status()
        if status is None:
            if not self.problem:  # removed: what comes in its place is read from the beginning
                self._file, self._offset, self._lines = None, 0, _Lines()
            return
        file = (status.st_dev, status.st_ino)
        if file != self._file or status.st_size < self._offset:
            self._offset = 0 if file != self._file else status.st_size
            self._file, self._lines = file, _Lines()
        if status.st_size == self._offset:
            return
        with self._path.open("rb") as handle:
            handle.seek(self._offset)
            end = status.st_size
            while self._offset < end and (piece := handle.read(min(_PIECE_BYTES, end - self._offset))):
                self._offset += len(piece)
                for line in self._lines.of(piece):
                    progress = _parsed(line)
                    if progress is not None:
                        yield progress
                    elif line is None or line.strip():
                        self.left_out += 1

    def _status(self) -> os.stat_result | None:
        """None, with the reason in `problem`, where there is nothing to read."""
        self.problem = ""
        try:
            return self._path.stat()
        except FileNotFoundError:
            return None  # not begun yet, or removed: the writer begins a new one
        except OSError as error:
            self.problem = str(error)
            return None


def read_progress(path: Path) -> list[TrainingProgress]:
    """All lines of all attempts; what is no line of progress, such as one torn by a kill, is left out."""
    if not path.is_file():
        return []
    found, lines = [], _Lines()
    with path.open("rb") as handle:
        while piece := handle.read(_PIECE_BYTES):
            found += [progress for line in lines.of(piece) if (progress := _parsed(line)) is not None]
    last = _parsed(lines.rest)  # a whole line whose end was cut off says as much as one with its end
    return found if last is None else [*found, last]


def read_progress_end(path: Path, n_bytes: int) -> list[TrainingProgress]:
    """The lines of progress in the last `n_bytes` of the file; raises `OSError` where it cannot be read."""
    with path.open("rb") as handle:
        handle.seek(max(0, path.stat().st_size - n_bytes))
        pieces = handle.read(n_bytes).split(b"\n")
    return [progress for line in pieces if (progress := _parsed(line)) is not None]


class _Lines:
    """Cuts pieces into lines, and holds never more than the longest line that is allowed."""

    def __init__(self) -> None:
        self.rest: bytes | None = b""
        """What follows the last end of a line; None in the middle of a line that is too long."""

    def of(self, piece: bytes) -> Iterator[bytes | None]:
        """The lines that end in `piece`; None for each that is too long."""
        *ended, rest = piece.split(b"\n")
        for part in ended:
            yield self._joined(part)
            self.rest = b""
        self.rest = self._joined(rest)

    def _joined(self, part: bytes) -> bytes | None:
        if self.rest is None or len(self.rest) + len(part) > LONGEST_LINE_BYTES:
            return None
        return self.rest + part


def _parsed(line: bytes | None) -> TrainingProgress | None:
    if not line or not line.strip():
        return None
    try:
        return TrainingProgress.model_validate_json(line)
    except ValueError:  # torn by a kill, or damaged: the next line says where the training stands
        return None


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
