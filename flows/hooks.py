"""What Prefect calls after a run that trains was cancelled or lost: the end is written down, wherever it is missing.

A flow that is cancelled writes its end itself, as a rule. One that is killed cannot: then its worker, another process,
calls this.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from prefect import Flow
from prefect.client.schemas.objects import FlowRun, State
from prefect.logging.loggers import flow_run_logger

from flows.configs import FlowConfig
from flows.resolve import workspace_of
from glaucoma.settings import CONFINED

_PATIENCE_S = 20.0
"""For a training process to end that was killed together with its flow."""


def write_end(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:
    """Writes into metadata and ledger how the experiments ended that this run was training.

    Prefect names the arguments.
    """
    from glaucoma.records.ended import end_run

    given = flow_run.parameters.get("config") or {}
    context = CONFINED if flow_run.deployment_id is not None else None
    workspace = workspace_of(FlowConfig.model_validate({"workspace": given.get("workspace")}, context=context))
    cancelled = state.is_cancelling() or state.is_cancelled()
    reason = "Cancelled in Prefect" if cancelled else f"The process of its run was lost ({state.message or state.name})"
    lines = end_run(
        str(flow_run.id), workspace, cancelled=cancelled, reason=reason, at=datetime.now(UTC), patience_s=_PATIENCE_S
    )
    for line in lines:
        flow_run_logger(flow_run).info("%s", line)


def cancel_awaited_runs(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:
    """Cancels the runs that a cancelled run was waiting for. One that is lost leaves them: its next start waits again.

    Prefect names the arguments.
    """
    from tasks.await_runs import cancel_awaited

    for line in cancel_awaited(str(flow_run.id)):
        flow_run_logger(flow_run).info("%s", line)


ENDED: dict[str, Any] = {"on_cancellation": [write_end], "on_crashed": [write_end]}
"""For each flow that trains."""

WAITED: dict[str, Any] = {"on_cancellation": [cancel_awaited_runs, write_end], "on_crashed": [write_end]}
"""For each flow that may wait for other runs, or train itself."""
