"""The whole system at a glance: what Prefect's server says, this machine, and the ledger's last lines."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from prefect.artifacts import create_markdown_artifact
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import FlowRun, StateType, WorkerStatus, WorkQueue
from prefect.client.schemas.sorting import FlowRunSort
from pydantic import BaseModel, ConfigDict, Field

from glaucoma.machine.glance import MachineGlance
from glaucoma.records.words import CycleStatus
from tasks.stage import shown_if_possible, stage_task

if TYPE_CHECKING:
    from glaucoma.workspace import Workspace

MODE_VARIABLE, USUAL_MODE = "arc_mode", "auto"
_PAGE = 200
_MESSAGE = 300


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class PoolStatus(_Part):
    """A work pool."""

    name: str
    paused: bool
    workers_online: list[str]
    workers_offline: int
    queues_paused: list[str]
    running: int
    waiting: int = Field(description="Late ones included; those of a later hour too.")


class RunLine(_Part):
    """A flow run."""

    name: str
    flow_run_id: str
    flow: str
    state: str
    pool: str
    queue: str
    since: datetime | None
    message: str = ""


class CycleLine(_Part):
    """A research cycle."""

    cycle_id: str
    status: CycleStatus
    started_at: datetime
    ended_at: datetime | None
    reason: str


class SystemStatus(_Part):
    """How all of it stands."""

    server_version: str
    api: str
    mode: str = Field(description="manual, semi or auto: which plans wait for a person.")
    pools: list[PoolStatus]
    running: list[RunLine]
    waiting: list[RunLine] = Field(description="The next ones.")
    errors: list[RunLine] = Field(description="The last runs that failed or crashed.")
    machine: MachineGlance = Field(description="The one that this was asked on.")
    cycles: list[CycleLine] = Field(description="The last ones.")
    experiments: dict[str, int] = Field(description="Standing -> number, in the ledger.")


@stage_task(run_name="look at the system", timeout_s=300, first_delay_s=5)
def system_status(workspace: Workspace, last: int) -> Any:
    """Asks the server, the machine and the ledger."""
    from collections import Counter

    from glaucoma.machine.glance import glance
    from glaucoma.records.ledger import Ledger

    ledger = Ledger(workspace.ledger_url)
    cycles = [
        CycleLine(**cycle.model_dump(include=set(CycleLine.model_fields)))
        for cycle in ledger.cycles()[: -last - 1 : -1]
    ]
    with get_client(sync_client=True) as client:
        flows = _Flows(client)
        found = SystemStatus(
            server_version=client.api_version(),
            api=str(client.api_url),
            mode=_mode(client),
            pools=[_pool(client, pool.name, pool.is_paused) for pool in client.read_work_pools()],
            running=[flows.line(run) for run in _runs(client, last, StateType.RUNNING, StateType.CANCELLING)],
            waiting=[
                flows.line(run) for run in _runs(client, last, StateType.SCHEDULED, StateType.PENDING, first=True)
            ],
            errors=[flows.line(run) for run in _runs(client, last, StateType.FAILED, StateType.CRASHED)],
            machine=glance(workspace),
            cycles=cycles,
            experiments=dict(sorted(Counter(one.status.value for one in ledger.experiments()).items())),
        )
    with shown_if_possible():
        create_markdown_artifact(page_of(found), key="system-status", description="How the system stands")
    return found


def _mode(client: SyncPrefectClient) -> str:
    variable = client.read_variable_by_name(MODE_VARIABLE)
    return USUAL_MODE if variable is None else str(variable.value)


def _pool(client: SyncPrefectClient, name: str, paused: bool) -> PoolStatus:
    workers = client.read_workers_for_work_pool(name)
    online = [worker.name for worker in workers if worker.status is WorkerStatus.ONLINE]
    queues = _queues(client, name)

    return PoolStatus(
        name=name,
        paused=paused,
        workers_online=sorted(online),
        workers_offline=len(workers) - len(online),
        queues_paused=sorted(queue.name for queue in queues if queue.is_paused),
        running=_count(client, name, StateType.RUNNING, StateType.CANCELLING),
        waiting=_count(client, name, StateType.SCHEDULED, StateType.PENDING),
    )


def _queues(client: SyncPrefectClient, pool: str) -> list[WorkQueue]:
    """All of a pool, which for GPUs are more than a page holds."""
    found: list[WorkQueue] = []
    while page := client.read_work_queues(pool, limit=_PAGE, offset=len(found)):
        found += page
    return found


def _count(client: SyncPrefectClient, pool: str, *states: StateType) -> int:
    from prefect.client.schemas.filters import WorkPoolFilter, WorkPoolFilterName

    return client.count_flow_runs(
        flow_run_filter=_in(*states), work_pool_filter=WorkPoolFilter(name=WorkPoolFilterName(any_=[pool]))
    )


def _runs(client: SyncPrefectClient, limit: int, *states: StateType, first: bool = False) -> list[FlowRun]:
    sort = FlowRunSort.EXPECTED_START_TIME_ASC if first else FlowRunSort.EXPECTED_START_TIME_DESC
    return client.read_flow_runs(flow_run_filter=_in(*states), limit=limit, sort=sort)


def _in(*states: StateType) -> FlowRunFilter:
    return FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=list(states))))


class _Flows:
    """Names of flows, asked once each."""

    def __init__(self, client: SyncPrefectClient) -> None:
        self._client = client
        self._names: dict[Any, str] = {}

    def line(self, run: FlowRun) -> RunLine:
        if run.flow_id not in self._names:
            self._names[run.flow_id] = self._client.read_flow(run.flow_id).name
        state = run.state
        return RunLine(
            name=run.name,
            flow_run_id=str(run.id),
            flow=self._names[run.flow_id],
            state=(state.name if state else None) or "unknown",
            pool=run.work_pool_name or "",
            queue=run.work_queue_name or "",
            since=(state.timestamp if state else None) or run.expected_start_time,
            message=(state.message or "")[:_MESSAGE] if state and not state.is_scheduled() else "",
        )


def page_of(found: SystemStatus) -> str:
    """The status as a page."""
    machine = found.machine
    gpus = [
        f"- GPU {one.gpu}, {one.name}: {one.memory_used_mb:.0f} of {one.memory_total_mb:.0f} MB"
        + (f", takes no new work: {one.drained}" if one.drained else "")
        for one in machine.gpus
    ]
    parts = [
        f"# System status\n\nPrefect {found.server_version} at `{found.api}`, mode **{found.mode}**",
        _table("Work pools", [_pool_row(pool) for pool in found.pools]),
        _table("Running", [_run_row(run) for run in found.running]),
        _table("Waiting", [_run_row(run) for run in found.waiting]),
        _table("Last errors", [_run_row(run) for run in found.errors]),
        f"## Machine\n\n{machine.host}: {machine.cpus} processors, load {machine.load_1min:.1f}; memory "
        f"{machine.memory_available_mb:.0f} of {machine.memory_total_mb:.0f} MB available; `{machine.disk}` has "
        f"{machine.disk_free_gb:.1f} of {machine.disk_total_gb:.1f} GB free\n\n"
        + ("\n".join(gpus) or f"GPUs: none; {machine.no_gpus}"),
        _table("Last cycles", [_cycle_row(cycle) for cycle in found.cycles]),
        "## Experiments\n\n" + (", ".join(f"{n} {standing}" for standing, n in found.experiments.items()) or "none"),
    ]
    return "\n\n".join(parts) + "\n"


def _pool_row(pool: PoolStatus) -> dict[str, Any]:
    return {
        "pool": pool.name,
        "state": "paused" if pool.paused else "open",
        "workers": ", ".join(pool.workers_online) or "none online",
        "queues paused": ", ".join(pool.queues_paused) or "none",
        "running": pool.running,
        "waiting": pool.waiting,
    }


def _run_row(run: RunLine) -> dict[str, Any]:
    return {
        "run": run.name,
        "flow": run.flow,
        "state": run.state,
        "queue": f"{run.pool} {run.queue}".strip(),
        "since": f"{run.since:%Y-%m-%d %H:%M}" if run.since else "",
        "message": run.message,
    }


def _cycle_row(cycle: CycleLine) -> dict[str, Any]:
    ended = f"{cycle.ended_at:%Y-%m-%d %H:%M}" if cycle.ended_at else ""
    return {
        "cycle": cycle.cycle_id,
        "status": cycle.status.value,
        "started": f"{cycle.started_at:%Y-%m-%d %H:%M}",
        "ended": ended,
        "reason": cycle.reason,
    }


def _table(title: str, rows: list[dict[str, Any]]) -> str:
    if not rows:
        return f"## {title}\n\nNone"
    head = list(rows[0])
    lines = [f"| {' | '.join(head)} |", f"|{' --- |' * len(head)}"]
    for row in rows:
        lines.append("| " + " | ".join(" ".join(str(row[name]).replace("|", "\\|").split()) for name in head) + " |")
    return f"## {title}\n\n" + "\n".join(lines)
