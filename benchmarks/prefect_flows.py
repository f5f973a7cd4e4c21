"""Flows and tasks that do next to nothing, for the benchmarks of Prefect itself."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from prefect import flow

from tasks.stage import stage_task

STAGES = 20


@stage_task(run_name="stage {number}", timeout_s=60, first_delay_s=1)
def stage(number: int) -> Any:
    """Does nothing, as one of the project's own stages."""
    return number


@flow(name="timed-stages")
def stages() -> float:
    """Milliseconds a stage, of stages that follow each other."""
    start = time.perf_counter()
    for number in range(STAGES):
        stage(number)
    return 1000 * (time.perf_counter() - start) / STAGES


@flow(name="first-step")
def first_step(file: str) -> None:
    """Writes down when it began and when it ended."""
    began = time.time()
    with Path(file).open("a", encoding="utf-8") as lines:
        lines.write(f"{began} {time.time()}\n")
