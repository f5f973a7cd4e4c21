"""A whole installation: server, pools, deployments, workers; a cycle from the form; a schedule; no process left."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
import yaml

pytestmark = [pytest.mark.system, pytest.mark.timeout(900)]


def test_a_cycle_runs_from_the_form_a_schedule_makes_runs_and_down_leaves_nothing(
    installation: Any, archive: Path, wait_for: Callable[..., Any]
) -> None:
    again = installation.local("up")  # safe to run again
    assert again.returncode == 0, again.stdout + again.stderr
    assert "work pool arc-gpu: as declared" in again.stdout

    deployments = installation.call("POST", "/deployments/filter", {})
    declared = yaml.safe_load((installation.project / "prefect.yaml").read_text())["deployments"]
    assert {one["name"] for one in deployments} == {one["name"] for one in declared}
    for deployment in deployments:
        schema = deployment["parameter_openapi_schema"]
        assert schema["properties"]["config"], deployment["name"]
        assert deployment["enforce_parameter_schema"]
    cycle = next(d for d in deployments if d["name"] == "research-cycle")
    presets = cycle["parameter_openapi_schema"]["definitions"]["Preset"]["enum"]
    assert presets == ["smoke", "base", "large"]

    settings = {
        "archive": str(archive),
        "name": "eyes",
        "preset": "smoke",
        "train": {"classifier": "small_cnn", "input_px": 32, "epochs": 1, "execution": {"device": "cpu"}},
        "preprocess": {"image_size_px": 64},
        "evaluate": {"replicates": 100},
        "explain": {"max_images": 4, "overlays": 2},
    }
    run = installation.call("POST", f"/deployments/{cycle['id']}/create_flow_run", {"parameters": {"config": settings}})

    def ended() -> Any:
        state = installation.call("GET", f"/flow_runs/{run['id']}")["state"]
        return state if state["type"] in ("COMPLETED", "FAILED", "CRASHED", "CANCELLED") else None

    scheduled = next(d for d in deployments if d["name"] == "generate")
    (schedule,) = installation.call(
        "POST",
        f"/deployments/{scheduled['id']}/schedules",
        [{"schedule": {"interval": 3600, "anchor_date": "2026-01-01T00:00:00Z"}, "active": True}],
    )

    def made_by_schedule() -> Any:
        query = {
            "deployments": {"id": {"any_": [scheduled["id"]]}},
            "flow_runs": {"state": {"type": {"any_": ["SCHEDULED"]}}},
        }
        return [r for r in installation.call("POST", "/flow_runs/filter", query) if r["auto_scheduled"]]

    assert wait_for(made_by_schedule, 120, "a run that the schedule made")
    installation.call("DELETE", f"/deployments/{scheduled['id']}/schedules/{schedule['id']}")
    state = wait_for(ended, 600, "the end of the cycle")
    assert state["type"] == "COMPLETED", state
    record = next(installation.workspace.glob("cycles/eyes-*/record.json"))
    assert json.loads(record.read_text())["status"] == "completed"
    assert (record.parent / "report.html").is_file()

    artifacts = installation.call("POST", "/artifacts/filter", {"limit": 200})
    assert {"progress", "table", "markdown"} <= {a["type"] for a in artifacts}

    def report_named() -> bool:  # logs come in batches, the last ones after the state
        newest = {"logs": {"flow_run_id": {"any_": [run["id"]]}}, "sort": "TIMESTAMP_DESC", "limit": 200}
        return any("Report:" in entry["message"] for entry in installation.call("POST", "/logs/filter", newest))

    assert wait_for(report_named, 60, "the line in the log that names the report")


def test_wrong_settings_are_refused_before_a_run_is_made(installation: Any) -> None:
    cycle = installation.call("GET", "/deployments/name/research-cycle/research-cycle")
    body = {"parameters": {"config": {"name": "eyes", "preset": "huge"}}}
    with pytest.raises(httpx.HTTPStatusError) as refused:
        installation.call("POST", f"/deployments/{cycle['id']}/create_flow_run", body)
    assert refused.value.response.status_code in (409, 422)


def test_a_full_disk_pauses_the_queues_of_intake_and_cycles_until_there_is_space(
    installation: Any, wait_for: Callable[..., Any]
) -> None:
    queues = [installation.call("GET", f"/work_pools/arc-cpu/queues/{name}")["id"] for name in ("default", "cycles")]

    def are_paused(wanted: bool) -> bool:
        return all(installation.call("GET", f"/work_queues/{one}")["is_paused"] is wanted for one in queues)

    def tell(event: str) -> None:
        installation.call(
            "POST",
            "/events",
            [
                {
                    "event": event,
                    "id": str(uuid4()),
                    "occurred": datetime.now(UTC).isoformat(),
                    "resource": {"prefect.resource.id": "arc.host.a-host"},
                    "payload": {"host": "a-host", "message": "what the watch says"},
                }
            ],
        )

    assert are_paused(False)
    tell("arc.disk.low")
    try:
        wait_for(lambda: are_paused(True), 120, "the pause of both queues")
    finally:
        tell("arc.disk.enough")
    wait_for(lambda: are_paused(False), 120, "both queues taking runs again")
