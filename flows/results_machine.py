"""What the flows that look after the machine give back, and how it is printed."""

from __future__ import annotations

import sys
from pathlib import Path
from uuid import UUID

from pydantic import Field

from flows.results import Result
from glaucoma.machine.readings import Reading
from glaucoma.machine.state import GpuState
from glaucoma.machine.table import machine_rows


class WatchResult(Result):
    """What one run of `watch` saw and did."""

    alone: bool = Field(description="False: another run watches this machine, and this one did nothing.")
    reading: Reading | None = Field(default=None, description="The last one.")
    changes: list[str] = Field(default_factory=list, description="What was told.")
    drained: list[int] = Field(default_factory=list, description="GPUs that it drained.")
    store: Path | None = None
    store_bytes: int = 0


class GpusResult(Result):
    """The GPUs of a machine as they stand."""

    host: str
    driver: str | None
    no_gpus: str = Field(description="Why there are none; empty where there are some.")
    gpus: list[GpuState]


class DrainResult(Result):
    """A GPU that takes no new work, and what was ended."""

    host: str
    gpu: int
    reason: str
    paused: list[str] = Field(description="Queues that are for this GPU alone.")
    ended: list[str] = Field(description="Flow runs that were on it.")
    started: list[UUID] = Field(description="New runs in their place.")


class UndrainResult(Result):
    """A GPU that takes work again."""

    host: str
    gpu: int
    was_drained: bool
    resumed: list[str]


class RecoverResult(Result):
    """What was done for a crashed run, or for each that nobody had answered."""

    flow_run: UUID | None
    taken_up: bool = Field(description="False: it was none that is taken up, or there was none.")
    experiments: list[str] = Field(default_factory=list)
    again: bool = False
    left: dict[str, str] = Field(default_factory=dict, description="What was left alone -> why.")
    started: list[UUID] = Field(default_factory=list)


def show_watch(result: WatchResult) -> None:
    """Prints the last reading, a line a GPU and one for the machine."""
    if result.reading is None:
        sys.stdout.write("Another run watches this machine; nothing was done\n")
        return
    if result.reading.no_gpus:
        sys.stdout.write(f"No GPU: {result.reading.no_gpus}\n")
    for row in machine_rows(result.reading):
        what = row.pop("what")
        sys.stdout.write(f"{what}: " + ", ".join(f"{name} {cell}" for name, cell in row.items() if cell) + "\n")
    for change in result.changes:
        sys.stdout.write(f"told: {change}\n")
    sys.stdout.write(f"store: {result.store} ({result.store_bytes / 1000:.0f} kB)\n")


def show_gpus(result: GpusResult) -> None:
    """Prints a block a GPU."""
    if not result.gpus:
        sys.stdout.write(f"{result.host} has no GPU: {result.no_gpus}\n")
    for state in result.gpus:
        sys.stdout.write(f"GPU {state.gpu}\n")
        for name, cell in state.cells({}).items():
            sys.stdout.write(f"  {name:<22} {cell}\n")
