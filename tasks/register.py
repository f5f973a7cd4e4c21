"""Register: a dataset's version goes into DVC and into the registry, with the SHA-256 of every file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefect.artifacts import create_table_artifact
from prefect.logging import get_run_logger
from prefect.states import Completed

from tasks.stage import ProgressArtifact, artifact_key, stage_task

if TYPE_CHECKING:
    from glaucoma.datasets.registry import RegisterSettings
    from glaucoma.workspace import Workspace


@stage_task(run_name="register {name}", timeout_s=4 * 3600)
def register(dataset: Path, prepared: Path, name: str, workspace: Workspace, settings: RegisterSettings) -> Any:
    """Adds the dataset and what was prepared from it to DVC, pushes, and writes `data_registry.yaml`."""
    from glaucoma.datasets.registry import register as register_dataset

    progress = ProgressArtifact(artifact_key("register", name), f"Registering {name}")
    entry = register_dataset(dataset, prepared, name, workspace, settings, report=progress)
    create_table_artifact(
        table=[entry.model_dump(mode="json")],
        key=artifact_key("registered", name),
        description=f"**{name}** version `{entry.version}` in the registry",
    )
    get_run_logger().info("Registered %s version %s: %d files", name, entry.version, entry.files)
    if entry.reused:
        return Completed(name="Cached", message=f"{entry.version} was registered already", data=entry)
    return entry
