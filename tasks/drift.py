"""Drift: whether a dataset's photographs and labels differ from a reference's; the gate says what follows."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefect.artifacts import create_link_artifact, create_markdown_artifact
from prefect.logging import get_run_logger

from tasks.stage import ProgressArtifact, artifact_key, finished, shown_if_possible, stage_task

if TYPE_CHECKING:
    from glaucoma.datasets.drift_settings import DriftSettings
    from glaucoma.provenance import StageOutput
    from glaucoma.workspace import Workspace


@stage_task(run_name="drift {name}", timeout_s=3600)
def drift(validation: Path, reference: Path, name: str, workspace: Workspace, settings: DriftSettings) -> Any:
    """Compares two validations; a drift is a warning, or an error where the gate is `stop`."""
    from glaucoma.datasets.drift import measure_drift, require_no_drift

    progress = ProgressArtifact(artifact_key("drift", name), f"Comparing {name} with {settings.reference}")
    output = measure_drift(validation, reference, name, workspace, settings, report=progress)
    details = output.record.details
    page = output.folder / details["page"]
    with shown_if_possible():
        create_markdown_artifact(
            drift_markdown(output, name), key=artifact_key("drift-of", name), description=f"Drift of {name}"
        )
        create_link_artifact(
            link=page.as_uri(),
            link_text=str(page),
            key=artifact_key("drift-plots", name),
            description=f"Plots of the drift of {name}: a file on the machine that made it",
        )
    for sentence in details["sentences"]:
        get_run_logger().warning("Drift: %s", sentence)
    require_no_drift(output, settings.gate)
    seen = ", ".join(details["drifted"]) or "none"
    return finished(output, f"Compared {name} with {details['reference']}: drift seen: {seen}")


def drift_markdown(output: StageOutput, name: str) -> str:
    """The verdict and every quantity's distance as a page for the UI."""
    details = output.record.details
    lines = [f"# {name} against {details['reference']}: drift in {', '.join(details['drifted']) or 'nothing'}", ""]
    lines += ["| quantity | distance, SD | chance, SD | p | drifted |", "| --- | --- | --- | --- | --- |"]
    lines += [
        f"| {one['quantity']} | {one['distance_sd']:.2f} | {one['threshold_sd']:.2f} | {one['p_value']:.2g} | "
        f"{'**yes**' if one['differs'] else 'no'} |"
        for one in details["comparisons"]
    ]
    if labels := details["labels"]:
        drifted = "**yes**" if labels["drifted"] else "no"
        lines.append(
            f"| labels (share) | {labels['distance']:.2f} | {labels['threshold']:.2f} | {labels['p_value']:.2g} | "
            f"{drifted} |"
        )
    lines += ["", *(f"- {name}: not compared, {why}" for name, why in details["not_compared"].items())]
    return "\n".join([*lines, "", f"Plots: `{output.folder / details['page']}`"])
