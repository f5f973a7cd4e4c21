"""Brings a Prefect server to the declared state: work pools, the workspace block, every deployment. Safe to run again.

python -m deployments.apply
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate, WorkPoolUpdate
from prefect.exceptions import ObjectNotFound
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from blocks.dvc_remote import DvcRemote
from blocks.tracking import WandbAccount
from blocks.workspace import BLOCK_NAME, ArcWorkspace
from glaucoma.workspace import Workspace

PROJECT = Path(__file__).resolve().parents[1]
_POOLS = Path(__file__).with_name("pools.yaml")


class Pool(BaseModel):
    """A work pool as it is declared."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    type: str
    description: str = ""
    concurrency_limit: int | None = Field(default=None, ge=1)
    worker_limit: int | None = Field(default=None, ge=1, exclude=True, description="Runs at once on one worker.")


def declared_pools() -> dict[str, Pool]:
    """The pools of `pools.yaml`, by name."""
    return TypeAdapter(dict[str, Pool]).validate_python(yaml.safe_load(_POOLS.read_text(encoding="utf-8")))


async def apply_pools(client: PrefectClient) -> list[str]:
    """Makes or changes each declared pool; gives a line for each."""
    lines = []
    for name, pool in declared_pools().items():
        try:
            found = await client.read_work_pool(name)
        except ObjectNotFound:
            await client.create_work_pool(WorkPoolCreate(name=name, **pool.model_dump()))
            lines.append(f"work pool {name}: made")
            continue
        wanted = pool.model_dump(exclude={"type"})
        if all(getattr(found, field) == value for field, value in wanted.items()):
            lines.append(f"work pool {name}: as declared")
        else:
            await client.update_work_pool(name, WorkPoolUpdate(**wanted))
            lines.append(f"work pool {name}: changed")
    return lines


async def apply_workspace_block(workspace: Workspace) -> str:
    """Registers the block's type and saves where the workspace is."""
    await _awaited(ArcWorkspace.register_type_and_schema())
    await _awaited(ArcWorkspace(path=workspace.root).save(BLOCK_NAME, overwrite=True))
    return f"block arc-workspace/{BLOCK_NAME}: {workspace.root}"


async def apply_block_types() -> str:
    """Registers the types of the blocks that people fill in themselves; what they filled in stays as it is."""
    types = (DvcRemote, WandbAccount)
    for kind in types:
        await _awaited(kind.register_type_and_schema())
    return f"block types {', '.join(kind.get_block_type_slug() for kind in types)}"


async def _awaited(outcome: Any) -> Any:
    return await outcome if asyncio.iscoroutine(outcome) else outcome


def apply_deployments() -> None:
    """Deploys everything in `prefect.yaml`; a deployment that cannot be made ends this with its error.

    Raises:
        subprocess.CalledProcessError: `prefect deploy` failed; its output stands above.
    """
    command = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all"]
    ended = subprocess.run(command, cwd=PROJECT, check=False, capture_output=True, text=True)
    if ended.returncode != 0:
        sys.stderr.write(ended.stdout + ended.stderr)
    ended.check_returncode()


def declared_deployments() -> list[str]:
    """`flow/deployment` of every deployment in `prefect.yaml`."""
    declared = yaml.safe_load((PROJECT / "prefect.yaml").read_text(encoding="utf-8"))["deployments"]
    return [f"{d['entrypoint'].rpartition('.')[2].replace('_', '-')}/{d['name']}" for d in declared]


async def apply(workspace: Workspace) -> list[str]:
    """All of it, in order; gives a line for each thing."""
    async with get_client() as client:
        lines = await apply_pools(client)
        lines.append(await apply_workspace_block(workspace))
        lines.append(await apply_block_types())
        await asyncio.to_thread(apply_deployments)
        for name in declared_deployments():
            await client.read_deployment_by_name(name)  # raises where `prefect deploy` left one out
            lines.append(f"deployment {name}")
    return lines


def main() -> int:
    """The command."""
    if not os.environ.get("PREFECT_API_URL"):
        sys.stderr.write(
            "PREFECT_API_URL is not set. Expected: the server's address. "
            "Remedy: export PREFECT_API_URL=http://127.0.0.1:4200/api, or run `make up`.\n"
        )
        return 2
    sys.stdout.write("\n".join(asyncio.run(apply(Workspace.at()))) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
