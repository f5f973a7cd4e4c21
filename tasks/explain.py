"""Explain: where a trained model looks, as maps, overlays, and the Disc Relevance Index."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefect.artifacts import create_markdown_artifact
from prefect.logging import get_run_logger

from glaucoma.schema import Split
from tasks.stage import ProgressArtifact, artifact_key, found_again, shown_if_possible, stage_task

if TYPE_CHECKING:
    from glaucoma.explanation.result import Explanation
    from glaucoma.explanation.settings import ExplainSettings
    from glaucoma.training.experiment import Experiment
    from glaucoma.workspace import Workspace

_SHOWN = 2
"""Overlays in an artifact: all artifacts lie in the server's database."""


@stage_task(run_name="explain {experiment.experiment_id} on {split}", timeout_s=8 * 3600)
def explain(experiment: Experiment, workspace: Workspace, settings: ExplainSettings, split: Split) -> Any:
    """Draws maps and overlays, and measures how much of the evidence lies on the disc."""
    from glaucoma.explanation.explain import explain as explain_experiment
    from glaucoma.records.remember import write_look

    name = experiment.experiment_id
    if split is Split.TEST:
        write_look(experiment, workspace, "explained by hand", at=datetime.now(UTC))
    progress = ProgressArtifact(artifact_key("explain", name), f"Explaining {name}")
    found = explain_experiment(experiment, workspace, settings, split=split, report=progress)
    page = explanation_markdown(found, experiment)
    with shown_if_possible():
        create_markdown_artifact(page, key=artifact_key("explanation", name), description=f"Where {name} looks")
    line = f"Explained {name}: {len(found.overlays)} overlays"
    if found.reused:
        return found_again(found, f"{line} (already there, key {found.key})")
    get_run_logger().info("%s", line)
    return found


def explanation_markdown(found: Explanation, experiment: Experiment) -> str:
    """The shares of relevance, what a reader must know of them, and the first overlays as pictures."""
    folder = experiment.visualizations / found.split
    lines = [f"# {found.experiment_id} on {found.split}"]
    lines += [f"- **{name}**: {metric}" for name, metric in found.metrics.items()]
    lines += [f"- {note}" for note in found.notes]
    lines += [f"![{overlay.title}]({_data_uri(folder / overlay.file)})" for overlay in found.overlays[:_SHOWN]]
    lines.append(f"All {len(found.overlays)} overlays: `{folder}`")
    return "\n\n".join(lines)


def _data_uri(picture: Path) -> str:
    """The picture itself: the UI shows no `file://` address."""
    return f"data:image/png;base64,{base64.b64encode(picture.read_bytes()).decode()}"
