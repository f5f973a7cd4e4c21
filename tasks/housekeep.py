"""Housekeeping: what may go of the experiments, and its removal."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from prefect.artifacts import create_table_artifact
from prefect.logging import get_run_logger

from glaucoma.errors import shown_bytes
from tasks.stage import shown_if_possible, stage_task

if TYPE_CHECKING:
    from glaucoma.planning.removal import Removal
    from glaucoma.planning.retention import RetentionSettings
    from glaucoma.workspace import Workspace


@stage_task(run_name="plan removals", timeout_s=3600, first_delay_s=5)
def plan_removals(workspace: Workspace, settings: RetentionSettings) -> Any:
    """Says what may go, why, and how much it is; nothing is touched."""
    from glaucoma.planning.housekeeping import plan_removals as plan
    from glaucoma.records.ledger import Ledger

    removals = plan(workspace, Ledger(workspace.ledger_url), settings, now=datetime.now(UTC))
    total = shown_bytes(sum(one.bytes for one in removals))
    with shown_if_possible():
        create_table_artifact(
            table=[
                {"what": one.path, "why": one.why, "size": shown_bytes(one.bytes), "changed": f"{one.changed_at:%F %R}"}
                for one in removals
            ],
            key="housekeeping",
            description=f"**Housekeeping**: what may go, {len(removals)} in all, {total}",
        )
    for one in removals:
        get_run_logger().info("May go: %s (%s): %s", one.path, shown_bytes(one.bytes), one.why)
    get_run_logger().info("%d removals, %s", len(removals), total)
    return removals


@stage_task(run_name="remove what was planned", timeout_s=4 * 3600, first_delay_s=5)
def remove_planned(plan: list[Removal], workspace: Workspace) -> Any:
    """Removes what the plan says, each judged once more just before."""
    from glaucoma.planning.housekeeping import remove_planned as remove
    from glaucoma.records.ledger import Ledger

    done = remove(plan, workspace, Ledger(workspace.ledger_url), now=datetime.now(UTC))
    with shown_if_possible():
        create_table_artifact(
            table=[{"what": one.path, "why": one.why, "became": done.left.get(one.path, "removed")} for one in plan],
            key="housekeeping-done",
            description=f"**Housekeeping**: {len(done.removed)} of {len(plan)} were removed",
        )
    for path, why in done.left.items():
        get_run_logger().warning("Left: %s: %s", path, why)
    get_run_logger().info("Removed %d of %d", len(done.removed), len(plan))
    return done
