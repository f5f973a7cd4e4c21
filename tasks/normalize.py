"""Normalize: unpacked files become a dataset in the canonical form, split by patient."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from prefect.artifacts import create_table_artifact
from prefect.logging import get_run_logger

from glaucoma.datasets.normalize import normalize as normalize_dataset
from glaucoma.datasets.not_understood import sentences
from tasks.judge import show_suspects
from tasks.stage import ProgressArtifact, artifact_key, finished, shown_if_possible, stage_task

if TYPE_CHECKING:
    from glaucoma.datasets.settings import NormalizeSettings
    from glaucoma.provenance import StageOutput
    from glaucoma.workspace import Workspace


_LOGGED = 50
"""A dataset may hold every photograph three times over; the record names each."""


@stage_task(run_name="normalize {name}", timeout_s=4 * 3600)
def normalize(unpacked: StageOutput, name: str, workspace: Workspace, settings: NormalizeSettings) -> Any:
    """Recognises the layout, writes one manifest and canonical masks, and splits by patient."""
    progress = ProgressArtifact(artifact_key("normalize", name), f"Normalizing {name}")
    output = normalize_dataset(unpacked, name, workspace, settings, report=progress)
    details = output.record.details
    for image in details["set_aside"][:_LOGGED]:
        get_run_logger().warning("Set aside %s: %s", image["source"], image["reason"])
    if (more := len(details["set_aside"]) - _LOGGED) > 0:
        get_run_logger().warning("Set aside %d more: see set_aside in %s", more, output.folder / "dataset.json")
    said = f"**{name}** version `{output.key}`, layout {details['layout']}: images by split and label"
    lost = sentences(details["not_understood"])
    for sentence in lost:
        get_run_logger().warning("%s", sentence)
    with shown_if_possible():
        create_table_artifact(
            table=[{"split": split, **labels} for split, labels in details["counts_by_split"].items()],
            key=artifact_key("dataset", name),
            description="\n\n".join([said, *lost]),
        )
    show_suspects(name, output)
    images, patients = output.record.counts["images"], output.record.counts["patients"]
    return finished(output, f"Normalized {name}: {images} images of {patients} patients, layout {details['layout']}")
