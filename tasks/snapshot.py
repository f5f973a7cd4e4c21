"""The books kept and put back."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from prefect.artifacts import create_table_artifact
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import StateType
from prefect.logging import get_run_logger

from tasks.flow_runs import runs_in
from tasks.stage import shown_if_possible, stage_task

if TYPE_CHECKING:
    from glaucoma.planning.snapshot import Snapshot
    from glaucoma.workspace import Workspace

_COPYING_S = 3600
WRITES_BOOKS = frozenset(
    {
        *("train", "experiment", "planned-experiment", "resume", "recover", "research-cycle", "research", "steer"),
        *("evaluate", "create", "cancel", "archive", "archive-cycle", "delete", "housekeeping"),
        *("intake", "judge", "merge", "normalize", "register", "restore"),
    }
)
"""Flows that write the ledger, the registry, judgements or states of research."""
_ALIVE = [StateType.RUNNING, StateType.PENDING, StateType.PAUSED, StateType.CANCELLING]
"""A run that is paused, as for a plan's approval, has a process that goes on writing."""


@stage_task(run_name="take a snapshot", timeout_s=_COPYING_S, first_delay_s=5)
def take_snapshot(workspace: Workspace, reason: str) -> Any:
    """Keeps the books as they are."""
    from glaucoma.planning.snapshot import take_snapshot as take

    made: Snapshot = take(workspace, reason=reason, at=datetime.now(UTC))
    get_run_logger().info("Snapshot %s: %d files, %d experiments", made.snapshot_id, len(made.files),
                          made.ledger_experiments)  # fmt: skip
    return made


@stage_task(run_name="list snapshots", timeout_s=600, first_delay_s=5)
def list_snapshots(workspace: Workspace, limit: int) -> Any:
    """The newest snapshots."""
    from glaucoma.planning.snapshot import list_snapshots as listed

    found: list[Snapshot] = listed(workspace)[:limit]
    with shown_if_possible():
        create_table_artifact(
            table=[
                {
                    "snapshot": one.snapshot_id,
                    "at": f"{one.at:%Y-%m-%d %H:%M:%S} UTC",
                    "reason": one.reason,
                    "experiments": one.ledger_experiments,
                    "cycles": one.ledger_cycles,
                }
                for one in found
            ],
            key="snapshots",
            description=f"{len(found)} snapshots in {workspace.snapshots}",
        )
    return found


@stage_task(run_name="roll back to {snapshot_id}", timeout_s=_COPYING_S, retries=0)
def roll_back(snapshot_id: str, workspace: Workspace) -> Any:
    """Puts the books back, after a snapshot of the present; refused while anything trains or writes them."""
    from glaucoma.planning.rollback import roll_back as roll

    done = roll(snapshot_id, workspace, at=datetime.now(UTC), running=runs_that_write)
    get_run_logger().info("The books are those of %s; as they were before: %s", done.to, done.before)
    for what, names in (
        ("Experiments made since", done.made_since),
        ("Experiments changed since", done.changed_since),
        ("Cycles begun since", done.cycles_since),
    ):
        if names:
            get_run_logger().info("%s, which stay: %s", what, ", ".join(names))
    return done


def runs_that_write() -> list[str]:
    """The flow runs of this server that are alive and write the books, a sentence each."""
    with get_client(sync_client=True) as client:
        return [f"the flow run {run.name} ({flow}) is alive" for flow, run in runs_in(client, _ALIVE, WRITES_BOOKS)]
