"""Blocks on a server: where the workspace is, and the types of the blocks that people fill in themselves."""

from __future__ import annotations

from functools import partial

from prefect.blocks.core import Block
from prefect.client.orchestration import PrefectClient
from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound

from blocks.dvc_remote import DvcRemote
from blocks.tracking import WandbAccount
from blocks.workspace import BLOCK_NAME, ArcWorkspace
from deployments.applying import Applying, Outcome
from glaucoma.workspace import Workspace

_TYPE, _BLOCK = "block type", "block"
TYPES: tuple[type[Block], ...] = (ArcWorkspace, DvcRemote, WandbAccount)


async def apply_blocks(applying: Applying, workspace: Workspace | None) -> None:
    """Registers the types, and saves where the workspace is; what people filled in stays as it is.

    Args:
        workspace: None where nobody said which one: what the server has stays, and a server without one gets the usual.
    """
    for kind in TYPES:
        await applying.attempt(_TYPE, kind.get_block_type_slug(), partial(_apply_type, applying, kind))
    await applying.attempt(_BLOCK, f"arc-workspace/{BLOCK_NAME}", partial(_apply_workspace, applying, workspace))


async def _apply_type(applying: Applying, kind: type[Block]) -> None:
    client, slug = applying.client, kind.get_block_type_slug()
    register = partial(_register, kind, client)
    if not await _there(client, slug):
        await applying.make(_TYPE, slug, register)
        return
    try:
        await client.read_block_schema_by_checksum(kind._calculate_schema_checksum())
    except ObjectNotFound:
        await applying.do(_TYPE, slug, Outcome.CHANGED, register, "its fields")
    else:
        applying.say(_TYPE, slug, Outcome.SAME)


async def _register(kind: type[Block], client: PrefectClient) -> None:
    """Looks again where another application makes the same in this moment: type and schema are two requests."""
    try:
        await kind.aregister_type_and_schema(client=client)
    except ObjectAlreadyExists:
        await kind.aregister_type_and_schema(client=client)


async def _apply_workspace(applying: Applying, workspace: Workspace | None) -> None:
    client, name = applying.client, f"arc-workspace/{BLOCK_NAME}"
    root = (workspace or Workspace.at()).root
    save = partial(ArcWorkspace(path=root).asave, BLOCK_NAME, overwrite=True, client=client)
    try:
        there = await client.read_block_document_by_name(BLOCK_NAME, ArcWorkspace.get_block_type_slug())
    except ObjectNotFound:
        await applying.do(_BLOCK, name, Outcome.MADE, save, str(root))
        return
    path = there.data.get("path")
    if workspace is None or path == str(root):
        applying.say(_BLOCK, name, Outcome.SAME, str(path))
    else:
        await applying.do(_BLOCK, name, Outcome.CHANGED, save, f"{path} -> {root}")


async def _there(client: PrefectClient, slug: str) -> bool:
    try:
        await client.read_block_type_by_slug(slug)
    except ObjectNotFound:
        return False
    return True
