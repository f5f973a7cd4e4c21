"""What runs and waits on the GPUs, in the order in which workers will take it."""

from __future__ import annotations

import sys
from datetime import UTC, datetime

from prefect import flow

from flows.cli import main
from flows.configs_queue import QueueConfig
from flows.queues import GPU_POOL, INFERENCE_POOL
from flows.results_queue import QueueResult, show_queue
from tasks.queue_state import PoolState, notes_on, queue_rows, read_queues, row_for_pages, show_table


@flow(name="queue", flow_run_name="queue")
def queue(config: QueueConfig) -> QueueResult:
    """Show the work pools of the GPUs: what runs, on which worker and since when; what waits, and for what."""
    pools: list[PoolState] = read_queues([GPU_POOL, INFERENCE_POOL])
    now = datetime.now(UTC)
    rows = [row for pool in pools for row in queue_rows(pool, now)]
    waiting = sum(row.place is not None for row in rows)
    result = QueueResult(
        rows=rows[: config.most_rows],
        left_out=max(len(rows) - config.most_rows, 0),
        running=len(rows) - waiting,
        waiting=waiting,
        paused=[one for pool in pools for one in pool.paused],
        notes=[note for pool in pools for note in notes_on(pool)],
    )
    show_table("queue", [row_for_pages(row) for row in result.rows], described(result, now))
    return result


def described(result: QueueResult, now: datetime) -> str:
    """The words above the table in Prefect's pages."""
    lines = [f"**{result.running} running, {result.waiting} waiting** at {now:%Y-%m-%d %H:%M:%S} UTC"]
    lines += [f"{result.left_out} more are not shown"] if result.left_out else []
    lines += [f"**Paused:** {name}" for name in result.paused]
    return "\n\n".join([*lines, *result.notes])


if __name__ == "__main__":
    sys.exit(main(queue, QueueConfig, show=show_queue))
