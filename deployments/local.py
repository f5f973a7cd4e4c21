"""A whole Prefect installation on this machine: server, work pools, deployments and the workers of its GPU policy.

python -m deployments.local up | drain | down | status
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Any

import httpx
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolUpdate
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterState, FlowRunFilterStateType
from prefect.exceptions import ObjectNotFound
from prefect.states import Cancelling

from deployments.apply import PROJECT, apply, declared_deployments, declared_pools
from deployments.applying import reason
from deployments.gpus import is_worker_of
from deployments.leftovers import (
    LIVE,
    close_lost_runs,
    has_own_process,
    runs_with_a_process,
    workers_in_the_books,
)
from deployments.local_workers import describe_workers, drain_workers, specs_here, start_workers, stop_workers
from deployments.profile import (
    USER,
    activate_profile,
    api_url,
    client_environment,
    deactivate_profile,
    pages_url,
    password_file,
    server_environment,
    speaking_to_server,
)
from deployments.services import Service, marked, stop_rest
from deployments.worker_lock import is_at_work, lock_of
from flows.quiet import QUIET
from glaucoma.errors import ArcError
from glaucoma.machine.drained import this_host
from glaucoma.provenance import write_bytes
from glaucoma.roots import ROOTS
from glaucoma.workspace import Workspace

_START_TIMEOUT_S = 300.0
_CANCEL_TIMEOUT_S = 60.0
_GRACE_S = 20.0
_PAUSED = "paused-pools"
"""The file, among the services' pids, that names the pools which a `down` has paused and nobody has resumed yet."""


def services_folder(workspace: Workspace) -> Path:
    """Where pids and logs of the services lie."""
    return workspace.root / ".services"


def environment(workspace: Workspace) -> dict[str, str]:
    """What every service is told."""
    return {
        **client_environment(workspace),
        **QUIET,
        "ARC_WORKSPACE": str(workspace.root),
        "PYTHONUNBUFFERED": "1",
    }


def up(workspace: Workspace) -> None:
    """Starts what does not run yet and brings the server to the declared state.

    Runs that a power cut or a kill left alive in the server's books are closed there before their worker starts.
    """
    folder, variables = services_folder(workspace), environment(workspace)
    specs = specs_here(_say)
    server = Service("server", folder)
    if server.process() is None and _answers():
        raise ArcError(
            f"Another server answers at {api_url()}",
            expected="a free port",
            consequence="Nothing was started",
            remedy="stop it, choose another port with PREFECT_SERVER_API_PORT, "
            "or use it: PREFECT_API_URL=... python -m deployments.apply",
        )
    server.start([sys.executable, "-m", "deployments.server"], {**variables, **server_environment(workspace)}, PROJECT)
    server.wait_until(_answers, _START_TIMEOUT_S, "ready")
    _say(f"server: {api_url()}")
    _say(activate_profile(workspace))
    for line in asyncio.run(apply(workspace)):
        _say(line)
    for line in asyncio.run(_close_lost_runs(workspace)):
        _say(line)
    for line in start_workers(specs, folder, variables):
        _say(line)
    asyncio.run(_resume_pools(folder))
    _say(f"\nPrefect's pages: {pages_url()}")
    _say(f"                 name and password, as one: {USER}:<the content of {password_file(workspace)}>")
    _say("In a shell:      prefect deployment run research-cycle/research-cycle --watch \\")
    incoming = workspace.root / "incoming" / "mine.zip"
    _say(f'                   --param config=\'{{"name": "mine", "preset": "smoke", "archive": "{incoming}"}}\'')
    roots = os.environ.get(ROOTS)
    _say(f"Workers read the workspace{f' and {roots}' if roots else f'; other folders: {ROOTS}=/data/photos make up'}")


def down(workspace: Workspace) -> None:
    """Cancels what runs, so that every run has an end in the server's books; then ends workers, server and the rest.

    The pools are paused from before the first cancel until the last worker has ended: nothing new starts meanwhile. A
    server that is sick, or does not take our password, keeps no process from being ended; the next `up` resumes then.
    """
    folder = services_folder(workspace)
    alive = _answers() and Service("server", folder).process() is not None
    heard = alive and _done("runs are not cancelled", _pause_pools(folder))
    heard = heard and _done("runs are not cancelled", _cancel_runs())
    stop_workers(folder)
    if heard:
        _done("pools stay paused until `up`", _resume_pools(folder))
    Service("server", folder).stop(_GRACE_S)
    stop_rest(folder, _GRACE_S)
    if line := deactivate_profile():
        _say(line)
    _say("Stopped. Nothing is left running.")


def drain(workspace: Workspace) -> None:
    """Ends the workers when their runs have ended; the server goes on, and `up` starts them again."""
    drain_workers(services_folder(workspace), _say)
    _say("Drained. What waits in a queue stays there until `up`.")


def status(workspace: Workspace) -> None:
    """Says what runs."""
    folder = services_folder(workspace)
    server = Service("server", folder).process()
    _say(f"server: {'not running' if server is None else f'pid {server.pid}, {api_url()}'}")
    for line in describe_workers(specs_here(_say), folder, workspace, server_answers=_answers()):
        _say(line)
    _say(f"{len(marked(folder))} processes in all; {len(declared_deployments())} deployments are declared")


def _done(otherwise: str, request: Coroutine[Any, Any, None]) -> bool:
    """Whether the server did what it was asked for; says why where it did not."""
    try:
        asyncio.run(request)
    except httpx.HTTPError as error:
        _say(f"{otherwise}: {reason(error)}")
        return False
    return True


async def _pause_pools(folder: Path) -> None:
    """Pauses the pools that a person has not paused already; their names lie in a file, should this be cut off."""
    async with get_client() as client:
        for pool in declared_pools():
            try:
                if (await client.read_work_pool(pool)).is_paused:
                    continue
            except ObjectNotFound:
                continue
            write_bytes(folder / _PAUSED, "\n".join([*_paused(folder), pool]).encode())
            await client.update_work_pool(pool, WorkPoolUpdate(is_paused=True))


async def _resume_pools(folder: Path) -> None:
    async with get_client() as client:
        for pool in _paused(folder):
            await client.update_work_pool(pool, WorkPoolUpdate(is_paused=False))
    (folder / _PAUSED).unlink(missing_ok=True)


def _paused(folder: Path) -> list[str]:
    path = folder / _PAUSED
    return [name for name in path.read_text().split() if name in declared_pools()] if path.is_file() else []


async def _close_lost_runs(workspace: Workspace) -> list[str]:
    """Those of workers that this machine does not start any more; each worker that it starts settles its own."""
    async with get_client() as client:
        ours = [name for name in await workers_in_the_books(client) if is_worker_of(name, this_host())]
        gone = [name for name in ours if not is_at_work(lock_of(workspace, name))]
        return await close_lost_runs(client, gone, runs_with_a_process())


async def _cancel_runs() -> None:
    live = FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=LIVE)))
    async with get_client() as client:
        for run in await client.read_flow_runs(flow_run_filter=live):
            if has_own_process(run):
                _say(f"cancelling {run.name}")
                await client.set_flow_run_state(run.id, Cancelling())
        deadline = time.monotonic() + _CANCEL_TIMEOUT_S
        while await client.read_flow_runs(flow_run_filter=live):
            if time.monotonic() > deadline:
                _say(f"some runs did not end within {_CANCEL_TIMEOUT_S:.0f} s and are killed")
                return
            await asyncio.sleep(0.5)


def _answers() -> bool:
    try:
        with urllib.request.urlopen(f"{api_url()}/health", timeout=5) as response:  # noqa: S310  always http to our own host
            return bool(response.status == 200)
    except (urllib.error.URLError, TimeoutError, ConnectionError):
        return False


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m deployments.local", description=__doc__)
    parser.add_argument("what", choices=["up", "drain", "down", "status"])
    chosen = parser.parse_args(arguments)
    workspace = Workspace.at()
    try:
        with speaking_to_server(workspace, make_password=chosen.what == "up"):
            {"up": up, "drain": drain, "down": down, "status": status}[chosen.what](workspace)
    except ArcError as error:
        sys.stderr.write(f"Failed: {error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
