"""All flow runs of a server that stand in certain states, however many they are."""

from __future__ import annotations

from collections.abc import Iterable

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import (
    FlowFilter,
    FlowFilterName,
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.client.schemas.sorting import FlowRunSort

_PAGE = 200


def runs_in(client: SyncPrefectClient, states: Iterable[StateType], flows: Iterable[str]) -> list[tuple[str, FlowRun]]:
    """(name of its flow, flow run) of each run of these flows that stands in one of these states."""
    names = FlowFilter(name=FlowFilterName(any_=sorted(flows)))
    wanted = FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=list(states))))
    found: dict[str, FlowRun] = {}
    while True:
        page = client.read_flow_runs(
            flow_filter=names, flow_run_filter=wanted, sort=FlowRunSort.ID_DESC, limit=_PAGE, offset=len(found)
        )
        found |= {str(run.id): run for run in page}
        if len(page) < _PAGE:
            break
    known = {flow_id: client.read_flow(flow_id).name for flow_id in {run.flow_id for run in found.values()}}
    return [(known[run.flow_id], run) for run in found.values()]
