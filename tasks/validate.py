"""Validate: Great Expectations judges the dataset; a critical failure stops the cycle."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefect.artifacts import create_markdown_artifact
from prefect.logging import get_run_logger

from tasks.stage import ProgressArtifact, artifact_key, finished, stage_task

if TYPE_CHECKING:
    from glaucoma.datasets.validation_settings import ValidateSettings
    from glaucoma.provenance import StageOutput
    from glaucoma.workspace import Workspace


@stage_task(run_name="validate {name}", timeout_s=4 * 3600)
def validate(dataset: Path, name: str, workspace: Workspace, settings: ValidateSettings) -> Any:
    """Decodes every image, checks it, and fails with the whole list where a critical check does not hold."""
    from glaucoma.datasets.validate import require_valid, sentence
    from glaucoma.datasets.validate import validate as validate_dataset

    progress = ProgressArtifact(artifact_key("validate", name), f"Validating {name}")
    output = validate_dataset(dataset, name, workspace, settings, report=progress)
    create_markdown_artifact(
        validation_markdown(output, name), key=artifact_key("validation", name), description=f"Validation of {name}"
    )
    for warning in output.record.details["warnings"]:
        get_run_logger().warning("%s", sentence(warning))
    require_valid(output)
    return finished(output, f"Validated {name}: {output.record.details['expectations']} expectations hold")


def validation_markdown(output: StageOutput, name: str) -> str:
    """The verdict, the failures and the warnings as a page for the UI."""
    from glaucoma.datasets.validate import sentence

    details = output.record.details
    lines = [
        f"# {name}: {'passed' if details['passed'] else 'failed'}",
        f"{details['expectations']} expectations. Data Docs: `{output.folder / details['data_docs']}`",
        *(f"- **critical**: {sentence(line)}" for line in details["critical"]),
        *(f"- warning: {sentence(line)}" for line in details["warnings"]),
    ]
    return "\n\n".join(lines)
