"""Whether a GPU hangs: work is on it, the work does not move, and neither does the GPU. Pure functions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from itertools import pairwise

from pydantic import BaseModel, ConfigDict, Field

from glaucoma.machine.conditions import HUNG, Change, States
from glaucoma.machine.store import Row
from glaucoma.machine.xid import Xid

LONGEST_HOLE = 0.2
"""Of the time of a hang: no two readings in it are further apart, as what a GPU does in a hole is not known."""
_BUSY_PERCENT = 99.0


class Work(BaseModel):
    """A run that holds a GPU."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    gpu: int
    run_id: str | None = Field(default=None, description="Of the Prefect flow run; None: a process of no run.")
    experiment: str | None = Field(default=None, description="What it trains; None where it trains nothing.")
    pids: tuple[int, ...] = ()
    moved_at: datetime | None = Field(
        default=None, description="When it last wrote a line of progress, or began; None where it writes none."
    )


def hangs(
    work: Work, rows: Sequence[Row], xids: Iterable[Xid], pci: str | None, now: datetime, hang_after_s: float
) -> str:
    """Why the GPU hangs with this work on it; empty where it does not, or where that cannot be known.

    Work that writes no progress (an evaluation) cannot be judged. Nor can a GPU whose load the driver does not tell,
    unless the driver or the kernel's log tells of an error.

    Args:
        rows: Readings of the GPU, in order of time.
        xids: Of the kernel's log.
        pci: Where the GPU sits; None where it is not known.
    """
    if work.moved_at is None or (now - work.moved_at).total_seconds() < hang_after_s:
        return ""
    began_s = now.timestamp() - hang_after_s
    quiet = _quiet(work.moved_at, now)
    codes = [xid.code for xid in xids if xid.pci == pci and xid.at.timestamp() >= began_s]
    if pci is not None and codes:
        return f"{quiet}, and Xid {', '.join(map(str, sorted(set(codes))))} in the kernel's log"
    recent = [row for row in rows if row.at_s >= began_s and row.span_s == 0]
    if _longest_hole_s(recent, began_s, now.timestamp()) > LONGEST_HOLE * hang_after_s:
        return ""
    if all(row.figures["errors"] for row in recent):
        return f"{quiet}, and the driver reports errors of the GPU all the while"
    loads = [(row.figures["load_percent"], row.figures["memory_load_percent"]) for row in recent]
    if all(load == 0 for load, _ in loads):
        return f"{quiet}, and the GPU does nothing all the while"
    if all(_stands_still(load, memory) for load, memory in loads):
        return f"{quiet}, and the GPU claims to be busy and moves no memory all the while"
    return ""


def stalls(work: Work, now: datetime, hang_after_s: float) -> str:
    """Why work on a GPU that the driver does not reach has stopped; empty where it moves, or cannot be judged."""
    if work.moved_at is None or (now - work.moved_at).total_seconds() < hang_after_s:
        return ""
    return f"{_quiet(work.moved_at, now)}, and the driver does not reach the GPU"


def _quiet(moved_at: datetime, now: datetime) -> str:
    return f"no progress for {(now - moved_at).total_seconds():.0f} s"


def _longest_hole_s(rows: Sequence[Row], began_s: float, now_s: float) -> float:
    """Between two readings, or one and an end of the time."""
    moments = [began_s, *(row.at_s for row in rows), now_s]
    return max(later - earlier for earlier, later in pairwise(moments))


def _stands_still(load: float | None, memory: float | None) -> bool:
    return load == 0 or (load is not None and load >= _BUSY_PERCENT and memory == 0)


def judge_hangs(found: dict[int, str], before: States) -> tuple[dict[str, float], list[Change]]:
    """What is told now, and what changed.

    Args:
        found: GPU with work on it -> why it hangs; empty text: it does not.
    """
    now = dict(before)
    changes = []
    for key in [key for key in now if key.endswith(".hung")]:
        if not found.get(int(key.removeprefix("gpu").removesuffix(".hung"))):
            now[key] = 0.0
    for gpu, why in found.items():
        if why and not now.get(f"gpu{gpu}.hung"):
            message = f"GPU {gpu} hangs: {why}"
            changes.append(Change(HUNG, message, gpu, drains=True, ends=True, figures={"why": why}))
        now[f"gpu{gpu}.hung"] = float(bool(why))
    return now, changes
