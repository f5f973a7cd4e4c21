"""Compare and conclude: the best of a cycle, and its record and report."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefect.artifacts import create_link_artifact, create_markdown_artifact, create_table_artifact
from prefect.logging import get_run_logger

from tasks.stage import artifact_key, shown_if_possible, stage_task

if TYPE_CHECKING:
    from glaucoma.evaluation.settings import EvaluateSettings
    from glaucoma.planning.cycle import CyclePlan
    from glaucoma.planning.settings import PlanSettings
    from glaucoma.records.comparison import Comparison
    from glaucoma.training.settings import TrainSettings
    from glaucoma.workspace import Workspace


@stage_task(run_name="compare {plan.cycle_id}", timeout_s=3600)
def compare_experiments(plan: CyclePlan, workspace: Workspace, settings: EvaluateSettings) -> Any:
    """Ranks the cycle's completed experiments and the incumbents, a task at a time, on validation."""
    from glaucoma.records.ledger import Ledger
    from glaucoma.reporting.conclude import compare_tasks

    ledger = Ledger(workspace.ledger_url)
    comparisons = compare_tasks(ledger, plan, workspace, replicates=settings.replicates, seed=settings.seed)
    for comparison in comparisons:
        with shown_if_possible():
            create_table_artifact(
                table=[
                    {"rank": r.rank, "experiment": r.experiment_id, comparison.metric: str(r.score)}
                    for r in comparison.ranking
                ],
                key=artifact_key("ranking", plan.cycle_id, comparison.task),
                description=f"**{comparison.task}** of {plan.cycle_id}, ranked on validation",
            )
        for sentence in comparison.sentences:
            get_run_logger().info("%s", sentence)
    return comparisons


@stage_task(run_name="conclude {plan.cycle_id}", timeout_s=3600)
def conclude(
    plan: CyclePlan,
    comparisons: list[Comparison],
    workspace: Workspace,
    prepared: Path,
    config: Mapping[str, Any],
    preset: str,
    settings: PlanSettings,
    train: TrainSettings,
) -> Any:
    """Writes the cycle's record and report, and links them in the UI."""
    from glaucoma.records.ledger import Ledger
    from glaucoma.reporting.conclude import conclude as conclude_cycle

    done = conclude_cycle(
        Ledger(workspace.ledger_url), plan, comparisons, workspace,
        prepared=prepared, config=config, preset=preset, plan_settings=settings, train=train,
    )  # fmt: skip
    lines = [f"# {plan.cycle_id}", "## Learned", *(f"- {s}" for s in done.record.learned)]
    lines += ["## Next", *(f"- {s}" for s in done.record.next), f"Report: `{done.report_path}`"]
    with shown_if_possible():
        create_link_artifact(
            link=done.report_path.as_uri(), link_text=str(done.report_path), key=artifact_key("report", plan.cycle_id),
            description=f"Report of {plan.cycle_id}: a file on the machine that ran it",
        )  # fmt: skip
        create_markdown_artifact(
            "\n\n".join(lines), key=artifact_key("cycle", plan.cycle_id), description="What was learned"
        )
    get_run_logger().info("Report: %s", done.report_path)
    return done
