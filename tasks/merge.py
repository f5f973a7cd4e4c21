"""Merge: several datasets become one, each image's origin kept."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefect.artifacts import create_table_artifact
from prefect.logging import get_run_logger

from glaucoma.datasets.merge import merge as merge_datasets
from tasks.judge import show_suspects
from tasks.stage import ProgressArtifact, artifact_key, finished, shown_if_possible, stage_task

if TYPE_CHECKING:
    from glaucoma.datasets.merge_settings import MergeSettings
    from glaucoma.workspace import Workspace


@stage_task(run_name="merge {name}", timeout_s=4 * 3600)
def merge(datasets: Sequence[Path], name: str, workspace: Workspace, settings: MergeSettings) -> Any:
    """Links the images of all datasets into one, finds what they share, and splits by patient."""
    progress = ProgressArtifact(artifact_key("merge", name), f"Merging {name}")
    output = merge_datasets(datasets, name, workspace, settings, report=progress)
    details = output.record.details
    shared = details["shared_photographs"]
    if shared["same_pixels"] or shared["by_rung"]:
        found = [f"{shared['same_pixels']} images with the same pixels"]
        found += [f"{count} groups joined by {rung}" for rung, count in shared["by_rung"].items()]
        get_run_logger().warning(
            "The datasets share photographs (%s); each stays on one side of the splits", ", ".join(found)
        )
    with shown_if_possible():
        create_table_artifact(
            table=[{"split": split, **labels} for split, labels in details["counts_by_split"].items()],
            key=artifact_key("dataset", name),
            description=f"**{name}** version `{output.key}`, merged of {details['layout_evidence']}: "
            "images by split and label",
        )
    show_suspects(name, output)
    images, parts = output.record.counts["images"], len(details["merged"])
    return finished(output, f"Merged {name}: {images} images of {parts} datasets")
