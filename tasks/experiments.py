"""Experiments as people ask for them: listed, described, made without being run."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.logging import get_run_logger

from glaucoma.errors import shown_bytes
from tasks.stage import artifact_key, found_again, shown_if_possible, stage_task

if TYPE_CHECKING:
    from glaucoma.planning.overview import ExperimentFilter, ExperimentInfo, ExperimentLine
    from glaucoma.training.settings import ExecutionSettings
    from glaucoma.training.spec import ExperimentSpec
    from glaucoma.workspace import Workspace

_READING_S = 600


@stage_task(run_name="list experiments", timeout_s=_READING_S, first_delay_s=5)
def list_experiments(workspace: Workspace, wanted: ExperimentFilter) -> Any:
    """The experiments that match, newest first."""
    from glaucoma.planning.overview import list_overview
    from glaucoma.records.ledger import Ledger

    lines: list[ExperimentLine] = list_overview(workspace, Ledger(workspace.ledger_url), wanted)
    with shown_if_possible():
        create_table_artifact(
            table=[row(line) for line in lines],
            key="experiments",
            description=f"{len(lines)} experiments in {workspace.root}",
        )
    return lines


def row(line: ExperimentLine) -> dict[str, Any]:
    """An experiment as a row of a table."""
    score = "" if line.primary_score is None else f"{line.primary_score:.4f}"
    return {
        "experiment": line.experiment_id,
        "dataset": line.dataset,
        "status": line.status.value,
        "files": line.place.value,
        "score": score,
        "made": f"{line.created_at:%Y-%m-%d %H:%M}",
        "reason": line.reason,
    }


@stage_task(run_name="describe {name}", timeout_s=_READING_S, first_delay_s=5)
def describe_experiment(name: str, workspace: Workspace) -> Any:
    """All that is known of one experiment."""
    from glaucoma.planning.overview import describe_experiment as describe
    from glaucoma.records.ledger import Ledger

    info: ExperimentInfo = describe(name, workspace, Ledger(workspace.ledger_url))
    with shown_if_possible():
        create_markdown_artifact(_page(info), key=artifact_key("experiment-info", name), description=name)
    return info


@stage_task(run_name="create {spec.model} on {spec.dataset}", timeout_s=_READING_S, first_delay_s=5)
def create(spec: ExperimentSpec, workspace: Workspace, execution: ExecutionSettings) -> Any:
    """Makes the experiment's folder and its row in the ledger; nothing is trained."""
    from glaucoma.records.creation import make_experiment
    from glaucoma.records.ledger import Ledger

    experiment, new = make_experiment(spec, workspace, Ledger(workspace.ledger_url), execution, at=datetime.now(UTC))
    if not new:
        return found_again(experiment, f"{experiment.experiment_id} was there already, and is {experiment.status}")
    get_run_logger().info("Made %s; resume it, or schedule it, to train it", experiment.experiment_id)
    return experiment


def _page(info: ExperimentInfo) -> str:
    """The experiment as a page."""
    line = info.line
    facts = {
        "status": f"{line.status}{', being trained now' if line.training_now else ''}",
        "why": line.reason,
        "task, model, data": f"{line.task}, {line.model}, {line.dataset}",
        "cycle": line.cycle_id or "",
        "files": f"{line.place}, {shown_bytes(info.bytes)}",
        "needed": info.needed_because,
        "progress": info.progress.line() if info.progress else "",
        "flow run": info.flow_run_id or "",
        "made": f"{line.created_at:%Y-%m-%d %H:%M} UTC",
    }
    shown = "\n".join(f"| {name} | {_cell(value)} |" for name, value in facts.items() if value)
    history = "\n".join(f"- {one.at:%Y-%m-%d %H:%M:%S} {one.status} {one.reason}".rstrip() for one in info.history)
    metrics = "\n".join(
        f"| {split} | {name} | {_cell(str(value.get('value') if isinstance(value, dict) else value))} |"
        for split, found in info.metrics.items()
        for name, value in found.items()
    )
    places = "\n".join(f"- {what}: `{path}`" for what, path in info.places.items())
    notes = "\n".join(f"- {note}" for note in info.notes)
    parts = [
        f"# {line.experiment_id}",
        f"| | |\n| --- | --- |\n{shown}",
        "## Metrics",
        f"| split | metric | value |\n| --- | --- | --- |\n{metrics}" if metrics else "None yet",
        "## History",
        history or "None here",
        "## Places",
        places or "None here",
        *(["## Notes", notes] if notes else []),
    ]
    return "\n\n".join(parts) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
