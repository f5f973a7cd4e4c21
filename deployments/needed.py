"""What may not be removed from a server, because runs still need it."""

from __future__ import annotations

from uuid import UUID

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterDeploymentId,
    FlowRunFilterState,
    FlowRunFilterStateType,
    WorkPoolFilter,
    WorkPoolFilterName,
    WorkQueueFilter,
    WorkQueueFilterName,
)
from prefect.client.schemas.objects import FlowRun, StateType

from glaucoma.errors import InputError

_ENDED = [StateType.COMPLETED, StateType.FAILED, StateType.CRASHED, StateType.CANCELLED]
_PAGE = 200


async def refuse_if_pool_is_needed(client: PrefectClient, pool: str, queue: str | None = None) -> None:
    """A run whose pool or queue is gone waits for ever, and nobody sees it.

    Raises:
        InputError: Runs of the pool, or of that queue of it, have not ended.
    """
    _refuse(
        await _not_ended(
            client,
            work_pool_filter=WorkPoolFilter(name=WorkPoolFilterName(any_=[pool])),
            work_queue_filter=WorkQueueFilter(name=WorkQueueFilterName(any_=[queue])) if queue else None,
        )
    )


async def refuse_if_deployment_is_needed(client: PrefectClient, deployment: UUID) -> None:
    """Prefect deletes with a deployment its runs that have not begun, and one that is paused cannot go on without it.

    Raises:
        InputError: Runs of it have not ended, other than those that a schedule made for later.
    """
    of_it = FlowRunFilterDeploymentId(any_=[deployment])
    runs = await _not_ended(client, of_it)
    _refuse([run for run in runs if not _is_for_later(run)])


def _is_for_later(run: FlowRun) -> bool:
    """Made by a schedule, and not begun: one that waits for another attempt has begun."""
    return run.auto_scheduled and run.state_type is StateType.SCHEDULED and run.run_count == 0


async def _not_ended(
    client: PrefectClient,
    deployment: FlowRunFilterDeploymentId | None = None,
    work_pool_filter: WorkPoolFilter | None = None,
    work_queue_filter: WorkQueueFilter | None = None,
) -> list[FlowRun]:
    among = FlowRunFilter(
        deployment_id=deployment, state=FlowRunFilterState(type=FlowRunFilterStateType(not_any_=_ENDED))
    )
    found: list[FlowRun] = []
    while page := await client.read_flow_runs(
        flow_run_filter=among,
        work_pool_filter=work_pool_filter,
        work_queue_filter=work_queue_filter,
        offset=len(found),
        limit=_PAGE,
    ):
        found += page
    return found


def _refuse(runs: list[FlowRun]) -> None:
    if runs:
        raise InputError(
            f"{len(runs)} runs wait or run there, such as {runs[0].name}",
            consequence="It was not removed",
            remedy="let them end, or cancel them, and apply again",
        )
