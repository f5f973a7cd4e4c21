"""Unpack: an archive becomes a folder of checked files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from glaucoma.archives.unpack import unpack as unpack_archive
from glaucoma.errors import shown_bytes
from tasks.stage import ProgressArtifact, artifact_key, finished, stage_task

if TYPE_CHECKING:
    from glaucoma.archives.settings import UnpackSettings
    from glaucoma.workspace import Workspace


@stage_task(run_name="unpack {archive}", timeout_s=4 * 3600)
def unpack(archive: Path, workspace: Workspace, settings: UnpackSettings) -> Any:
    """Unpacks `archive` into the workspace, checking every member on the way."""
    progress = ProgressArtifact(artifact_key("unpack", archive.stem), f"Unpacking {archive.name}")
    output = unpack_archive(archive, workspace, settings, report=progress)
    counts = output.record.counts
    return finished(output, f"Unpacked {archive.name}: {counts['files']} files, {shown_bytes(counts['bytes'])}")
