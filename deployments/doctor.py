"""Looks at all that an installation needs, and says of each thing what was found and what to do about it.

python -m deployments.doctor [--json] [--min-free-gb 10]; exit code 1 where something is at fault.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path

from prefect.client.orchestration import PrefectClient, get_client
from prefect.settings import Settings, get_current_settings

from blocks.dvc_remote import DvcRemote, remote_in_block
from blocks.tracking import WandbAccount, account_in_block
from deployments.apply import bring, named_workspace
from deployments.applying import reason
from deployments.checks import machine, server
from deployments.checks.finding import Finding, Level, fault
from deployments.declaration import PROJECT
from deployments.gpus import ask_driver, load_policy, worker_specs
from glaucoma.machine.drained import this_host
from glaucoma.workspace import Workspace

_GB = 1e9
_MIN_FREE_GB = 10.0


def examine(workspace: Workspace, min_free_gb: float = _MIN_FREE_GB) -> list[Finding]:
    """Everything, the machine first; what needs a server is left out where none answers."""
    found = [looked("machine", check) for check in _of_machine(workspace, min_free_gb)]
    return found + asyncio.run(_of_server(workspace))


def looked(name: str, check: Callable[[], Finding]) -> Finding:
    """What a check found; a check that cannot look is a fault of its own."""
    try:
        return check()
    except Exception as error:  # noqa: BLE001  whatever it was, the other checks go on, and this one is named
        return fault(name, f"could not be looked at: {reason(error)}", "mend that first")


def _of_machine(workspace: Workspace, min_free_gb: float) -> list[Callable[[], Finding]]:
    home = get_current_settings().home
    return [
        machine.check_python,
        machine.check_known_bad,
        lambda: machine.check_lock(PROJECT / "requirements" / "lock.txt"),
        lambda: machine.check_gpus([*load_policy().experiment, *load_policy().inference]),
        lambda: machine.check_disk("workspace", workspace.root, min_free_gb * _GB),
        lambda: machine.check_disk("prefect home", Path(home), min_free_gb * _GB, "set PREFECT_HOME to a larger disk"),
        lambda: machine.check_weights(workspace),
    ]


async def _of_server(workspace: Workspace) -> list[Finding]:
    """Each question that the answers before it leave worth asking: without its database a server answers hardly any."""
    settings = get_current_settings()
    reachable = await server.check_reachable(settings.api.url)
    if reachable.level is Level.FAULT or settings.api.url is None:
        return [reachable]
    asked = settings.api.url, _auth(settings)
    access = await _looked("access", partial(server.check_access, *asked))
    clock = await _looked("clock", partial(server.check_clock, settings.api.url))
    found = [reachable, access, clock]
    if access.level is Level.FAULT and "password" in access.found:
        return found
    found.append(await _looked("database", partial(server.check_database, *asked)))
    if found[-1].level is Level.FAULT:
        return found
    async with get_client() as client:
        for name, check in _of_books(client, workspace).items():
            found.append(await _looked(name, check))
    return found


def _of_books(client: PrefectClient, workspace: Workspace) -> dict[str, Callable[[], Awaitable[Finding]]]:
    async def declared() -> Finding:
        return server.check_declared(await bring(client, named_workspace(), dry_run=True))

    async def settings() -> Finding:
        return server.check_settings((await client.request("GET", "/admin/settings")).json())

    async def workers() -> Finding:
        here = worker_specs(load_policy(), ask_driver().gpus, this_host())
        return await server.check_workers(client, here)

    async def tracking() -> Finding:
        blocks = await server.blocks_of(client, WandbAccount)
        return await asyncio.to_thread(machine.check_accounts, account_in_block, blocks)

    async def datasets() -> Finding:
        blocks = await server.blocks_of(client, DvcRemote)
        return await asyncio.to_thread(machine.check_remotes, workspace, remote_in_block, blocks)

    return {
        "version": partial(server.check_version, client),
        "settings": settings,
        "declared": declared,
        "workers": workers,
        "tracking": tracking,
        "notification": partial(server.check_notification, client),
        "datasets": datasets,
    }


async def _looked(name: str, check: Callable[[], Awaitable[Finding]]) -> Finding:
    try:
        return await check()
    except Exception as error:  # noqa: BLE001  as in `looked`
        return fault(name, f"could not be looked at: {reason(error)}", "mend that first")


def _auth(settings: Settings) -> str | None:
    return settings.api.auth_string.get_secret_value() if settings.api.auth_string else None


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m deployments.doctor", description=__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    parser.add_argument(
        "--min-free-gb", type=float, default=_MIN_FREE_GB, help="free disk space that is needed (default: 10)"
    )
    chosen = parser.parse_args(arguments)
    findings = examine(Workspace.at(), chosen.min_free_gb)
    if chosen.json:
        sys.stdout.write(json.dumps({"findings": [one.model_dump(mode="json") for one in findings]}) + "\n")
    else:
        sys.stdout.write("".join(one.line() + "\n" for one in findings))
    return 1 if any(one.level is Level.FAULT for one in findings) else 0


if __name__ == "__main__":
    sys.exit(main())
