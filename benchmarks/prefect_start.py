"""What a process of Prefect computes before its first step: a worker's, a flow's, and that which writes a run's end."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from functools import partial

from benchmarks.harness import Candidate, Comparison
from benchmarks.place import Place

_FLOORS = {
    "Prefect's worker": "prefect.cli, prefect.workers.process",
    "Prefect's engine": "prefect.flow_engine",
}
_FLOWS = ("flows.datasets", "flows.train", "flows.intake", "flows.research_cycle", "flows.hooks")


def benchmark(place: Place) -> Iterator[Comparison]:
    """In seconds of the processor's time, of new processes that import and end; their code is compiled already."""
    worker, engine = (Candidate(name, partial(_importing, modules)) for name, modules in _FLOORS.items())
    bare = Candidate("a bare interpreter", lambda: _importing("sys"))
    yield Comparison("Prefect: a worker's start", worker, (bare,), "imports, processor's time", rounds=3)
    for name in _FLOWS:
        ours = Candidate(name, partial(_importing, f"prefect.flow_engine, {name}"))
        yield Comparison("Prefect: a flow's start", ours, (engine,), "imports, processor's time", rounds=3)


def _importing(modules: str) -> list[float]:
    process = subprocess.Popen([sys.executable, "-c", f"import {modules}"], stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"import {modules} ended with {process.returncode}")
    return [used.ru_utime + used.ru_stime]
