"""Preprocess: photographs become squares of one size, as PNG for people and as packed arrays for training."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefect.logging import get_run_logger

from glaucoma.preprocessing.preprocess import preprocess as preprocess_dataset
from tasks.stage import ProgressArtifact, artifact_key, finished, stage_task

if TYPE_CHECKING:
    from glaucoma.preprocessing.settings import PreprocessSettings
    from glaucoma.workspace import Workspace


@stage_task(run_name="preprocess {name}", timeout_s=8 * 3600)
def preprocess(dataset: Path, name: str, workspace: Workspace, settings: PreprocessSettings) -> Any:
    """Runs the chain of steps over all photographs; one bad image is set aside with its reason."""
    from glaucoma.training.find_disc import disc_model

    progress = ProgressArtifact(artifact_key("preprocess", name), f"Preprocessing {name}")
    marks_disc = disc_model(settings, workspace)
    output = preprocess_dataset(dataset, name, workspace, settings, report=progress, disc_model=marks_disc)
    for image in output.record.details["set_aside"]:
        get_run_logger().warning("Set aside %s: %s", image["image_id"], image["reason"])
    for image in output.record.details["without_disc"]:
        get_run_logger().warning("Not cut around the disc: %s: %s", image["image_id"], image["reason"])
    size = output.record.details["image_size_px"]
    return finished(output, f"Preprocessed {name}: {output.record.counts['images']} images at {size} px")
