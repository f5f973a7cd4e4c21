"""Evaluate: every metric of a trained model with its interval; a look at the test split goes into the ledger."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from prefect.artifacts import create_table_artifact
from prefect.logging import get_run_logger

from glaucoma.schema import Split
from tasks.stage import ProgressArtifact, artifact_key, found_again, shown_if_possible, stage_task

if TYPE_CHECKING:
    from glaucoma.evaluation.result import Evaluation
    from glaucoma.evaluation.settings import EvaluateSettings
    from glaucoma.training.experiment import Experiment
    from glaucoma.workspace import Workspace


@stage_task(run_name="evaluate {experiment.experiment_id} on {split}", timeout_s=8 * 3600)
def evaluate(
    experiment: Experiment, workspace: Workspace, settings: EvaluateSettings, split: Split, look_reason: str = ""
) -> Any:
    """Measures `experiment` on `split`.

    Args:
        look_reason: Why the test split is looked at; written to the ledger before the look.
    """
    from glaucoma.evaluation.evaluate import evaluate as evaluate_experiment
    from glaucoma.records.remember import write_look

    name = experiment.experiment_id
    if split is Split.TEST:
        write_look(experiment, workspace, look_reason or "asked for by hand", at=datetime.now(UTC))
    progress = ProgressArtifact(artifact_key("evaluate", name), f"Evaluating {name} on {split}")
    found = evaluate_experiment(experiment, workspace, settings, split=split, report=progress)
    rows = metric_rows(found)
    with shown_if_possible():
        create_table_artifact(
            table=rows, key=artifact_key("metrics", name, split), description=f"**{name}** on {split}"
        )
    line = f"{name} on {split}: {found.primary} {found.primary_metric}"
    if found.reused:
        return found_again(found, f"{line} (already there, key {found.key})")
    get_run_logger().info("%s", line)
    return found


def metric_rows(found: Evaluation) -> list[dict[str, Any]]:
    """One row a metric: value, interval, how many images, and the reason where it is undefined."""
    rows = []
    for name, metric in found.metrics.items():
        interval = "" if metric.low is None or metric.high is None else f"{metric.low:.3f} to {metric.high:.3f}"
        value = "undefined" if metric.value is None else f"{metric.value:.3f}"
        images = f"{metric.n} of {metric.n_expected}"
        rows.append(
            {"metric": name, "value": value, "interval": interval, "images": images, "note": metric.reason or ""}
        )
    return rows
