"""A running server and a worker: what a stage costs, a submission, and the way from a free worker to a first step."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import UUID

from benchmarks.harness import Candidate, Comparison
from benchmarks.place import Place

_POOL = "benchmark"
_SUBMISSIONS = 50
_LIMIT_STAGE_MS = 50.0
_START_TIMEOUT_S = 180.0
_PROJECT = Path(__file__).resolve().parents[1]


def benchmark(place: Place) -> Iterator[Comparison]:
    """One server on this machine with SQLite, as `make up` starts it; each part as a client of it meets it."""
    with _installation(place.empty("prefect-server")) as url:
        from prefect.settings import PREFECT_API_URL, temporary_settings

        with temporary_settings({PREFECT_API_URL: url}):
            yield from _comparisons(place, url)


def _comparisons(place: Place, url: str) -> Iterator[Comparison]:
    from benchmarks.prefect_flows import STAGES, stages

    limit = Candidate(f"limit: {_LIMIT_STAGE_MS:.0f} ms", lambda: [_LIMIT_STAGE_MS])
    yield Comparison(
        "Prefect: a stage against a running server",
        Candidate("stage that does nothing", lambda: [stages()]),
        (limit,),
        f"{STAGES} stages, one after the other",
        rounds=5,
        unit="ms",
    )
    deployment = asyncio.run(_deployed())
    answer = Candidate("the server's shortest answer", lambda: [1000 * _answer_s(url)])
    yield Comparison(
        "Prefect: a submission into the queue",
        Candidate("create_flow_run", lambda: [1000 * asyncio.run(_submit_s(deployment))]),
        (answer,),
        f"{_SUBMISSIONS} runs, one after the other",
        rounds=3,
        unit="ms",
    )
    marks = place.empty("first-steps") / "marks"
    own = Candidate("a new process that imports Prefect's engine", _importing)
    with _worker(url, place.empty("prefect-workspace")):
        asyncio.run(_cancel_scheduled())
        yield Comparison(
            "Prefect: from a worker that comes free to the next run's first step",
            Candidate("end of a run to the next", lambda: [_next_run_s(deployment, marks)]),
            (own,),
            "one worker, limit 1, the next run waits already",
            rounds=3,
        )


@contextlib.contextmanager
def _installation(home: Path) -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    os.environ |= {
        "PREFECT_HOME": str(home),
        "PREFECT_SERVER_API_PORT": port,
        "PREFECT_LOGGING_LEVEL": "CRITICAL",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    }
    url = f"http://127.0.0.1:{port}/api"
    with _process([sys.executable, "-m", "prefect", "server", "start"]) as server:
        _wait(lambda: _answers(url), server)
        yield url


@contextlib.contextmanager
def _worker(url: str, workspace: Path) -> Iterator[None]:
    """As an installation's keeper starts them: of our own class, asking as often as the policy says by default."""
    from deployments.gpus import GpuPolicy

    command = [sys.executable, "-m", "deployments.drainable", "--pool", _POOL, "--name", "benchmark"]
    command += ["--work-queue", "default", "--limit", "1", "--drain-timeout-s", "10", "--parent", str(os.getpid())]
    asking = f"{GpuPolicy().poll_s:g}"
    with _process(command, PREFECT_API_URL=url, ARC_WORKSPACE=str(workspace), PREFECT_WORKER_QUERY_SECONDS=asking):
        yield


@contextlib.contextmanager
def _process(command: list[str], **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        command, cwd=_PROJECT, env={**os.environ, **environment}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait(ready: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _START_TIMEOUT_S
    while not ready():
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError("Prefect's server did not start")
        time.sleep(0.2)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=5) as response:  # noqa: S310  always http to this machine
            return bool(response.status == 200)
    except (urllib.error.URLError, TimeoutError, ConnectionError):
        return False


def _answer_s(url: str) -> float:
    start = time.perf_counter()
    for _ in range(_SUBMISSIONS):
        _answers(url)
    return (time.perf_counter() - start) / _SUBMISSIONS


async def _deployed() -> str:
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.actions import WorkPoolCreate

    from benchmarks.prefect_flows import first_step

    async with get_client() as client:
        await client.create_work_pool(WorkPoolCreate(name=_POOL, type="process"))
        made = await client.create_deployment(
            flow_id=await client.create_flow(first_step),
            name="first-step",
            work_pool_name=_POOL,
            pull_steps=[],  # the code lies where the worker stands, as with ARC's own deployments
            entrypoint="benchmarks.prefect_flows.first_step",
        )
    return str(made)


async def _submit_s(deployment: str) -> float:
    from prefect.client.orchestration import get_client

    async with get_client() as client:
        start = time.perf_counter()
        for _ in range(_SUBMISSIONS):
            await client.create_flow_run_from_deployment(UUID(deployment), parameters={"file": os.devnull})
        return (time.perf_counter() - start) / _SUBMISSIONS


async def _cancel_scheduled() -> None:
    """The runs that were only submitted."""
    from prefect.client.orchestration import get_client

    async with get_client() as client:
        while runs := await client.read_flow_runs(limit=200):
            for run in runs:
                await client.delete_flow_run(run.id)


def _next_run_s(deployment: str, marks: Path) -> float:
    """Seconds from the last line of one run to the first of the next, which was submitted with it."""
    marks.unlink(missing_ok=True)
    asyncio.run(_two(deployment, marks))
    deadline = time.monotonic() + _START_TIMEOUT_S
    while not marks.is_file() or len(lines := marks.read_text().splitlines()) < 2:
        if time.monotonic() > deadline:
            raise RuntimeError("the worker ran nothing")
        time.sleep(0.2)
    return float(lines[1].split()[0]) - float(lines[0].split()[1])


async def _two(deployment: str, marks: Path) -> None:
    from prefect.client.orchestration import get_client

    async with get_client() as client:
        for _ in range(2):
            await client.create_flow_run_from_deployment(UUID(deployment), parameters={"file": str(marks)})


def _importing() -> None:
    subprocess.run([sys.executable, "-c", "import prefect.flow_engine"], check=True, capture_output=True)
