"""The GPUs as they are now: figures, what each is for, whether it takes work, and what works on it."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

from prefect.artifacts import create_table_artifact
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.logging import get_run_logger

from tasks.stage import artifact_key, shown_if_possible, stage_task
from tasks.watch import watched_folders

if TYPE_CHECKING:
    from glaucoma.workspace import Workspace

_POLICY = Path(__file__).resolve().parents[1] / "deployments" / "gpus.yaml"


@stage_task(run_name="look at the GPUs", timeout_s=600, first_delay_s=5)
def look_at_gpus(workspace: Workspace) -> Any:
    """Reads the GPUs; gives the reading, the state of each, and shows them."""
    from glaucoma.machine.host import read_machine
    from glaucoma.machine.roles import roles
    from glaucoma.machine.state import gpu_states
    from glaucoma.training.gpu_work import work_on

    reading = read_machine(watched_folders(workspace), datetime.now(UTC))
    states = gpu_states(reading, roles(_POLICY), workspace, work_on(reading.gpus, workspace))
    names = _run_names([work.run_id for state in states for work in state.work if work.run_id])
    rows = [{"GPU": state.gpu, **state.cells(names)} for state in states]
    said = f"no GPU: {reading.no_gpus}" if reading.no_gpus else f"{len(reading.gpus)} GPUs, driver {reading.driver}"
    get_run_logger().info("%s: %s", reading.host, said)
    with shown_if_possible():
        create_table_artifact(
            table=rows or [{"GPU": "none", "why": reading.no_gpus}],
            key=artifact_key("gpus", reading.host),
            description=f"**GPUs of {reading.host}** at {reading.at:%Y-%m-%d %H:%M:%S} UTC: {said}",
        )
    return reading, states


def _run_names(run_ids: list[str]) -> dict[str, str]:
    """Flow run -> its name, as far as the server knows them."""
    names: dict[str, str] = {}
    if run_ids:
        with shown_if_possible(), get_client(sync_client=True) as client:
            wanted = FlowRunFilter(id=FlowRunFilterId(any_=[UUID(run_id) for run_id in run_ids]))
            names = {str(run.id): run.name for run in client.read_flow_runs(flow_run_filter=wanted)}
    return names
