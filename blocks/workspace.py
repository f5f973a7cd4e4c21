"""The workspace as a block: so that every worker of a server finds the same place without being told."""

from __future__ import annotations

import os
from pathlib import Path

from prefect.blocks.core import Block
from prefect.exceptions import ObjectNotFound
from pydantic import Field

from glaucoma.roots import WORKSPACE

BLOCK_NAME = "default"


class ArcWorkspace(Block):
    """Where ARC keeps what it makes."""

    _block_type_name = "ARC workspace"
    _block_type_slug = "arc-workspace"
    _description = "The folder that holds archives, datasets, experiments, cycles and the ledger."

    path: Path = Field(description="An absolute path that exists on every machine that runs a worker.")


def default_workspace_path() -> Path | None:
    """The path in the block `arc-workspace/default` of the current server; None where no such block was saved."""
    try:
        block = ArcWorkspace.load(BLOCK_NAME)
    except (ValueError, ObjectNotFound):  # Prefect raises ValueError for a block document that is not there
        return None
    return block.path if isinstance(block, ArcWorkspace) else None


def settle_workspace() -> None:
    """Writes the block's path into this process's environment, where no `ARC_WORKSPACE` is in it.

    So a run's parameters are held to the same workspace by all that the run starts, which cannot ask a server.
    """
    if not os.environ.get(WORKSPACE) and (path := default_workspace_path()) is not None:
        os.environ[WORKSPACE] = str(path)
