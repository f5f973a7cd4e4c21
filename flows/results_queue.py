"""What the flows about the queues for the GPUs give back."""

from __future__ import annotations

import sys
from datetime import UTC, datetime

from pydantic import Field

from flows.results import Result
from tasks.queue_state import QueueRow

_SHOWN_ID = 8


class ScheduledRow(Result):
    """One experiment of a batch."""

    experiment_id: str
    queue: str = Field(description="Where it stands; a run that was there already keeps its queue.")
    state: str = Field(description="submitted, there already, or would be submitted.")
    run_id: str = Field(description="Empty in a dry run.")
    link: str = Field(description="The run's page; empty where the server has none.")


class ScheduleResult(Result):
    """A batch of experiments in the queues, in the order in which workers will take them."""

    dry_run: bool
    rows: list[ScheduledRow]
    submitted: int
    there_already: int


class QueueResult(Result):
    """What runs and waits in the work pools of the GPUs."""

    rows: list[QueueRow] = Field(description="Running first, then waiting in the order in which they will be taken.")
    left_out: int = Field(description="Rows further down that are not shown.")
    running: int
    waiting: int
    paused: list[str] = Field(description="Work pools and queues that are paused.")
    notes: list[str] = Field(description="What a person should know, such as a pool without a worker.")


def show_schedule(result: ScheduleResult) -> None:
    """Prints the batch, one experiment a line."""
    for number, row in enumerate(result.rows, 1):
        run = f"  run {row.run_id}" if row.run_id else ""
        sys.stdout.write(f"{number:>4}  {row.queue:<9}  {row.experiment_id}  {row.state}{run}\n")
    total = f"{result.submitted} submitted, {result.there_already} there already"
    sys.stdout.write(f"{'a dry run: nothing was submitted' if result.dry_run else total}\n")


def show_queue(result: QueueResult) -> None:
    """Prints the queues, one run a line."""
    for row in result.rows:
        when = row.since or row.scheduled
        place = f"{row.place:>4}" if row.place else "   -"
        what = row.worker if row.since else row.waits_for
        time = _ago(when) if when else ""
        stands = f"{place}  {row.state:<10} {row.pool:<14} {row.queue:<9}"
        sys.stdout.write(f"{stands} {row.run}  {time}  {what}  [{row.run_id[:_SHOWN_ID]}]\n")
    for line in [f"paused: {name}" for name in result.paused] + result.notes:
        sys.stdout.write(f"{line}\n")
    more = f"; {result.left_out} more are not shown" if result.left_out else ""
    sys.stdout.write(f"{result.running} running, {result.waiting} waiting{more}\n")


def _ago(when: datetime) -> str:
    seconds = (datetime.now(UTC) - when).total_seconds()
    unit, size = next(((u, s) for u, s in (("d", 86_400), ("h", 3600), ("min", 60)) if abs(seconds) >= s), ("s", 1))
    return f"for {seconds / size:.0f} {unit}" if seconds >= 0 else f"in {-seconds / size:.0f} {unit}"
