"""Brings a Prefect server to the declared state, and says what became of each thing. Safe to run again, and at once.

python -m deployments.apply [--prune] [--dry-run] [--json]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
from collections.abc import Sequence

from prefect.client.orchestration import PrefectClient, get_client
from prefect.settings import get_current_settings

from deployments.applying import Applying, Change, Outcome, lines
from deployments.automations import apply_automations
from deployments.declaration import PROJECT, declared_deployments, declared_pools
from deployments.deploy import apply_deployments
from deployments.pools import apply_pools
from deployments.server_blocks import apply_blocks
from deployments.values import apply_limits, apply_variables
from glaucoma.errors import ArcError
from glaucoma.workspace import Workspace

__all__ = ["PROJECT", "apply", "bring", "declared_deployments", "declared_pools"]


class ApplyError(ArcError):
    """Some of what is declared could not be brought to the server."""


async def bring(
    client: PrefectClient, workspace: Workspace | None, *, prune: bool = False, dry_run: bool = False
) -> list[Change]:
    """All of it, in the order in which one thing needs another; whatever fails is among what is given back.

    Args:
        workspace: Where all data lies; None: where the server says that it does.
        prune: Whether to remove what is ours and no longer declared.
        dry_run: Whether to change nothing, and say what would be changed.
    """
    applying = Applying(client, dry_run=dry_run, prune=prune)
    await applying.attempt("work pools", "all", lambda: apply_pools(applying))
    await applying.attempt("variables", "all", lambda: apply_variables(applying))
    await applying.attempt("limits", "all", lambda: apply_limits(applying))
    await applying.attempt("blocks", "all", lambda: apply_blocks(applying, workspace))
    await applying.attempt("deployments", "all", lambda: apply_deployments(applying))
    await applying.attempt("automations", "all", lambda: apply_automations(applying))
    return applying.changes


async def apply(workspace: Workspace) -> list[str]:
    """The same for `make up`: a line for each thing.

    Raises:
        ApplyError: Lists all that could not be done.
    """
    async with get_client() as client:
        changes = await bring(client, workspace)
    if failed := [change.line() for change in changes if change.outcome is Outcome.FAILED]:
        raise ApplyError(
            f"{len(failed)} of {len(changes)} things could not be applied: " + "; ".join(failed),
            remedy="mend them, and start again: what is done is found",
        )
    return lines(changes)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command: 0 where all is as declared now, 1 where something could not be done, 2 where no server is named."""
    parser = argparse.ArgumentParser(prog="python -m deployments.apply", description=__doc__)
    parser.add_argument("--prune", action="store_true", help="remove what is ours and no longer declared")
    parser.add_argument("--dry-run", action="store_true", help="change nothing; say what would be changed")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    chosen = parser.parse_args(arguments)
    if not get_current_settings().api.url:
        sys.stderr.write(
            "No server is named, neither by Prefect's active profile nor by PREFECT_API_URL. "
            "Expected: the server's address. "
            "Remedy: run `make up`, or export PREFECT_API_URL=http://127.0.0.1:4200/api.\n"
        )
        return 2
    changes = asyncio.run(_bring(named_workspace(), prune=chosen.prune, dry_run=chosen.dry_run))
    failed = [change for change in changes if change.outcome is Outcome.FAILED]
    if chosen.json:
        sys.stdout.write(json.dumps({"changes": [change.model_dump(mode="json") for change in changes]}) + "\n")
    else:
        sys.stdout.write("".join(line + "\n" for line in lines(changes, dry_run=chosen.dry_run)))
    if failed:
        sys.stderr.write(f"{len(failed)} of {len(changes)} things could not be applied:\n")
        sys.stderr.write("".join(f"  {change.line()}\n" for change in failed))
    return 1 if failed else 0


def named_workspace() -> Workspace | None:
    """The workspace that `ARC_WORKSPACE` names; None where nobody said which one."""
    return Workspace.at() if os.environ.get("ARC_WORKSPACE") else None


async def _bring(workspace: Workspace | None, *, prune: bool, dry_run: bool) -> list[Change]:
    async with get_client() as client:
        return await bring(client, workspace, prune=prune, dry_run=dry_run)


if __name__ == "__main__":
    sys.exit(main())
