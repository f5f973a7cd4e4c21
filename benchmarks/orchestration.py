"""What Prefect adds: a task, and a flow around it, that find their output there, against the function they call."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

from benchmarks.harness import Candidate, Comparison, Skipped
from benchmarks.place import Place
from glaucoma.archives.settings import UnpackSettings
from glaucoma.archives.unpack import unpack

_CALLS = 5


def benchmark(place: Place) -> Iterator[Comparison | Skipped]:
    """One server on this machine, with its database in a temporary file; logs and artifacts go to it as always."""
    os.environ["PREFECT_HOME"] = str(place.empty("prefect"))
    os.environ["PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL"] = "CRITICAL"
    from prefect import flow
    from prefect.testing.utilities import prefect_test_harness

    from flows.configs import UnpackConfig
    from flows.unpack import unpack as unpack_flow
    from tasks.unpack import unpack as unpack_task

    archive, workspace, settings = place.archive, place.workspace, UnpackSettings()
    unpack(archive, workspace, settings)

    def direct() -> None:
        assert unpack(archive, workspace, settings).reused

    @flow(name="timed-task")
    def timed_task() -> list[float]:
        return [_seconds(archive, workspace, settings, unpack_task) for _ in range(_CALLS)]

    def whole_flow() -> None:
        unpack_flow(UnpackConfig(archive=archive, workspace=workspace.root))

    with prefect_test_harness(server_startup_timeout=90):
        alone = Candidate("the function itself", direct)
        n = "unpack, output there already"
        yield Comparison("Prefect: task", Candidate("task inside a flow", timed_task), (alone,), n, rounds=5)
        yield Comparison("Prefect: flow", Candidate("flow with that task", whole_flow), (alone,), n, rounds=5)


def _seconds(archive: object, workspace: object, settings: object, task: object) -> float:
    assert callable(task)
    start = time.perf_counter()
    assert task(archive, workspace, settings).reused
    return time.perf_counter() - start
