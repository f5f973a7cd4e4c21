"""Experiments and cycles packed away, brought back, or deleted."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from prefect.artifacts import create_table_artifact
from prefect.logging import get_run_logger

from glaucoma.errors import shown_bytes
from tasks.stage import found_again, shown_if_possible, stage_task

if TYPE_CHECKING:
    from glaucoma.planning.archive import Archived
    from glaucoma.planning.deleting import Deletion
    from glaucoma.workspace import Workspace

_PACKING_S = 12 * 3600


@stage_task(run_name="archive {name}", timeout_s=_PACKING_S, first_delay_s=5)
def archive_experiment(name: str, workspace: Workspace, force: bool, back: bool) -> Any:
    """Packs the experiment away, or brings it back."""
    from glaucoma.planning.archive import archive_experiment as archive
    from glaucoma.planning.archive import unarchive_experiment
    from glaucoma.records.ledger import Ledger

    ledger = Ledger(workspace.ledger_url)
    if back:
        return _said(unarchive_experiment(name, workspace, ledger))
    return _said(archive(name, workspace, ledger, force=force, at=datetime.now(UTC)))


@stage_task(run_name="archive {cycle_id}", timeout_s=_PACKING_S, first_delay_s=5)
def archive_cycle(cycle_id: str, workspace: Workspace, force: bool, back: bool) -> Any:
    """Packs the cycle's files away, or brings them back."""
    from glaucoma.planning.archive import archive_cycle as archive
    from glaucoma.planning.archive import unarchive_cycle
    from glaucoma.records.ledger import Ledger

    if back:
        return _said(unarchive_cycle(cycle_id, workspace))
    return _said(archive(cycle_id, workspace, Ledger(workspace.ledger_url), force=force))


@stage_task(run_name="archive experiments of {cycle_id}", timeout_s=_PACKING_S, first_delay_s=5)
def archive_experiments_of(cycle_id: str, workspace: Workspace, back: bool) -> Any:
    """Packs those of the cycle's experiments away that nothing needs, or brings all of them back."""
    from glaucoma.planning.archive import archive_experiments_of as archive
    from glaucoma.records.ledger import Ledger

    done = archive(cycle_id, workspace, Ledger(workspace.ledger_url), back=back, at=datetime.now(UTC))
    for name, why in done.left.items():
        get_run_logger().info("%s stays: %s", name, why)
    return done


@stage_task(run_name="plan the deletion", timeout_s=3600, first_delay_s=5)
def plan_deletion(names: Sequence[str], workspace: Workspace, reason: str) -> Any:
    """Says what would go, what may not, and how much it is; nothing is touched."""
    from glaucoma.planning.deleting import plan_deletion as plan
    from glaucoma.records.ledger import Ledger

    planned = plan(names, workspace, Ledger(workspace.ledger_url), reason)
    rows = [{"what": one.path, "size": shown_bytes(one.bytes), "becomes": "may go"} for one in planned.removals]
    rows += [{"what": name, "size": "", "becomes": f"stays: {why}"} for name, why in planned.refused.items()]
    with shown_if_possible():
        create_table_artifact(table=rows, key="deletion", description=f"**Deletion**: {reason}")
    for one in rows:
        get_run_logger().info("%s: %s", one["what"], one["becomes"])
    return planned


@stage_task(run_name="delete what was planned", timeout_s=4 * 3600, first_delay_s=5)
def delete_planned(plan: Deletion, workspace: Workspace) -> Any:
    """Removes what the plan says, each judged once more just before."""
    from glaucoma.planning.deleting import delete_planned as delete
    from glaucoma.records.ledger import Ledger

    done = delete(plan, workspace, Ledger(workspace.ledger_url), now=datetime.now(UTC))
    get_run_logger().info("Deleted %d of %d", len(done.removed), len(plan.removals))
    return done


def _said(done: Archived) -> Any:
    place = f"{done.pack} ({shown_bytes(done.pack_bytes or 0)})" if done.archived else str(done.folder)
    line = f"{done.kind} {done.name} is in {place}"
    if not done.changed:
        return found_again(done, f"{line} already")
    get_run_logger().info("%s now", line)
    return done
