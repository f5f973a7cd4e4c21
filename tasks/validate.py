"""Validate: Great Expectations judges the archive, the dataset, and what was prepared; a critical failure stops."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefect.artifacts import create_link_artifact, create_markdown_artifact
from prefect.logging import get_run_logger

from tasks.stage import ProgressArtifact, artifact_key, finished, shown_if_possible, stage_task

if TYPE_CHECKING:
    from glaucoma.datasets.validation_settings import ValidateSettings
    from glaucoma.provenance import StageOutput
    from glaucoma.workspace import Workspace

_MARKS = {"raw": "raw ", "normalized": "", "prepared": "prepared "}
"""What a validation is called in front of the dataset's name."""


@stage_task(run_name="validate {name}", timeout_s=4 * 3600)
def validate(dataset: Path, name: str, workspace: Workspace, settings: ValidateSettings) -> Any:
    """Decodes every image, checks it, and fails with the whole list where a critical check does not hold."""
    from glaucoma.datasets.validate import validate as validate_dataset

    progress = ProgressArtifact(artifact_key("validate", name), f"Validating {name}")
    return _judged(validate_dataset(dataset, name, workspace, settings, report=progress), name)


@stage_task(run_name="validate raw {name}", timeout_s=4 * 3600)
def validate_raw(unpacked: StageOutput, name: str, workspace: Workspace, settings: ValidateSettings) -> Any:
    """Looks at every file of an unpacked archive, before anyone knows what the files are."""
    from glaucoma.datasets.validate_raw import validate_raw as validate_files

    progress = ProgressArtifact(artifact_key("validate-raw", name), f"Validating the files for {name}")
    return _judged(validate_files(unpacked, name, workspace, settings, report=progress), name)


@stage_task(run_name="validate prepared {name}", timeout_s=4 * 3600)
def validate_prepared(prepared: Path, name: str, workspace: Workspace, settings: ValidateSettings) -> Any:
    """Holds prepared pictures, packed arrays, manifest and record against each other and against the dataset."""
    from glaucoma.preprocessing.validate_prepared import validate_prepared as validate_pictures

    progress = ProgressArtifact(artifact_key("validate-prepared", name), f"Validating prepared {name}")
    return _judged(validate_pictures(prepared, name, workspace, settings, report=progress), name)


def _judged(output: StageOutput, name: str) -> Any:
    """Shows the verdict, warns of what only warns, and fails where it must."""
    from glaucoma.datasets.findings import require_valid, sentence

    details = output.record.details
    called = f"{_MARKS[details['what']]}{name}"
    docs = output.folder / details["data_docs"]
    with shown_if_possible():
        create_markdown_artifact(
            validation_markdown(output, called),
            key=artifact_key("validation", called),
            description=f"Validation of {called}",
        )
        create_link_artifact(
            link=docs.as_uri(),
            link_text=str(docs),
            key=artifact_key("data-docs", called),
            description=f"Data Docs of {called}: a file on the machine that made it",
        )
    for warning in details["warnings"]:
        get_run_logger().warning("%s", sentence(warning))
    require_valid(output)
    return finished(output, f"Validated {called}: no critical failure in {details['expectations']} expectations")


def validation_markdown(output: StageOutput, called: str) -> str:
    """The verdict, the failures and the warnings as a page for the UI."""
    from glaucoma.datasets.findings import sentence

    details = output.record.details
    counts = ", ".join(f"{number} {what.replace('_', ' ')}" for what, number in output.record.counts.items())
    lines = [
        f"# {called}: {'passed' if details['passed'] else 'failed'}",
        f"{details['expectations']} expectations; {counts}. Data Docs: `{output.folder / details['data_docs']}`",
        *(f"- **critical**: {sentence(line)}" for line in details["critical"]),
        *(f"- warning: {sentence(line)}" for line in details["warnings"]),
    ]
    return "\n\n".join(lines)
