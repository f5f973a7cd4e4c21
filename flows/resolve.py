"""From settings to places: the workspace, and the finished outputs that a flow starts from."""

from __future__ import annotations

import os
from pathlib import Path

from blocks.workspace import default_workspace_path
from flows.configs import FlowConfig
from glaucoma.provenance import StageOutput, read_record
from glaucoma.workspace import Workspace


def workspace_of(config: FlowConfig) -> Workspace:
    """The workspace of the settings, else of `ARC_WORKSPACE`, else of the block, else `./workspace`."""
    return Workspace.at(config.workspace or os.environ.get("ARC_WORKSPACE") or default_workspace_path())


def unpacked_output(workspace: Workspace, key: str | None) -> StageOutput:
    """The unpacked archive of that key; the newest without one."""
    folder = workspace.find(workspace.archives, key, "unpacked archive")
    return StageOutput(folder, read_record(folder / "archive.json"), reused=True)


def dataset_folder(workspace: Workspace, name: str, key: str | None) -> Path:
    """The dataset of that name and key; the newest without a key."""
    return workspace.find(workspace.datasets(name), key, f"dataset {name}")


def prepared_folder(workspace: Workspace, name: str, key: str | None) -> Path:
    """The prepared dataset of that name and key; the newest without a key."""
    return workspace.find(workspace.prepared(name), key, f"prepared dataset {name}")
