"""The declared automations, against Prefect's own schema and by its own matching of events."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import pytest
import yaml
from prefect.server.events.actions import RunDeployment
from prefect.server.events.schemas.automations import AutomationCreate, Posture
from prefect.server.events.schemas.events import ReceivedEvent
from prefect.server.utilities.user_templates import render_user_template_sync

from flows.configs_machine import RecoverConfig
from tasks.recover import ALONE, WHOLE

PROJECT = Path(__file__).resolve().parents[3]
DECLARED: dict[str, Any] = yaml.safe_load((PROJECT / "deployments" / "declared" / "automations.yaml").read_text())
HEARTBEAT = "arc: a run whose heartbeat stopped has crashed"
RECOVER = "arc: what a crashed run was doing is taken up"
IDS = {"deployment": "deployment_id", "work_queue": "work_queue_id", "block": "block_document_id"}


def automation(name: str) -> AutomationCreate:
    """As the server takes it, with made-up ids in place of names."""
    declared = DECLARED[name]
    actions = []
    for action in declared["actions"]:
        named = [key for key in IDS if key in action]
        known = {key: value for key, value in action.items() if key not in IDS}
        for key in named:
            known[IDS[key]] = str(UUID(int=1))
            known |= {} if key == "block" else {"source": "selected"}
        actions.append(known)
    return AutomationCreate.model_validate({**declared, "actions": actions, "name": name, "tags": ["arc"]})


def event(kind: str, resource: str, *related: dict[str, str], **payload: Any) -> ReceivedEvent:
    return ReceivedEvent.model_validate(
        {
            "id": UUID(int=7),
            "occurred": datetime(2026, 1, 2, tzinfo=UTC),
            "received": datetime(2026, 1, 2, tzinfo=UTC),
            "event": kind,
            "resource": {"prefect.resource.id": resource, "prefect.resource.name": f"name of {resource}"},
            "related": list(related),
            "payload": payload,
        }
    )


def related(role: str, name: str) -> dict[str, str]:
    return {"prefect.resource.id": f"prefect.{role}.1", "prefect.resource.role": role, "prefect.resource.name": name}


def covering(what: ReceivedEvent) -> set[str]:
    found = set()
    for name in DECLARED:
        made = automation(name)  # held: a trigger knows it weakly alone
        if made.trigger.covers(what):
            found.add(name)
    return found


@pytest.mark.parametrize("name", DECLARED)
def test_every_automation_is_one_by_prefects_own_schema(name: str) -> None:
    made = automation(name)
    assert name.startswith("arc: ")
    assert made.description
    assert made.actions
    named = {key for action in DECLARED[name]["actions"] for key in action}
    assert named & set(IDS) or "state" in named, "it does something"


def test_what_actions_name_is_declared() -> None:
    actions = [action for one in DECLARED.values() for action in one["actions"]]
    deployments = yaml.safe_load((PROJECT / "prefect.yaml").read_text())["deployments"]
    there = {f"{one['entrypoint'].rpartition('.')[2].replace('_', '-')}/{one['name']}" for one in deployments}
    assert {action["deployment"] for action in actions if "deployment" in action} <= there
    assert {action["block"] for action in actions if "block" in action} == {"arc-notify"}
    assert {a["work_queue"] for a in actions if "work_queue" in a} == {"arc-cpu/default", "arc-cpu/cycles"}


def test_silence_after_a_beat_is_a_crash_and_an_end_or_a_pause_is_no_silence() -> None:
    made = automation(HEARTBEAT)
    trigger = made.trigger
    assert trigger.posture == Posture.Proactive
    assert trigger.starts_after("prefect.flow-run.heartbeat")
    for heard in ("heartbeat", "Completed", "Failed", "Crashed", "Cancelled", "Cancelling", "Suspended", "Paused"):
        assert trigger.expects(f"prefect.flow-run.{heard}"), heard
    assert not trigger.expects("prefect.flow-run.Running"), "it may come after the first beat, and is no sign of life"
    toml = (PROJECT / "prefect.toml").read_text()
    beat = int(toml.split("heartbeat_frequency = ")[1].split()[0])
    assert trigger.within >= timedelta(seconds=4 * beat), "a few beats may be lost"


def test_crashes_of_what_recover_takes_up_start_it_and_no_others() -> None:
    listed = DECLARED[RECOVER]["trigger"]["match_related"]["prefect.resource.name"]
    assert set(listed) == WHOLE | ALONE | {"resume"}
    for name in listed:
        crashed = event("prefect.flow-run.Crashed", "prefect.flow-run.1", related("deployment", name))
        assert RECOVER in covering(crashed)
    for name in ("recover", "watch", "intake"):
        crashed = event("prefect.flow-run.Crashed", "prefect.flow-run.1", related("deployment", name))
        assert RECOVER not in covering(crashed)
    assert RECOVER not in covering(event("prefect.flow-run.Crashed", "prefect.flow-run.1"))


def test_the_id_of_the_crashed_run_reaches_recover() -> None:
    (action,) = automation(RECOVER).actions
    run = SimpleNamespace(id=uuid4())
    parameters = json.loads(json.dumps(action.parameters))
    RunDeployment._upgrade_v1_templates(parameters)  # as the server does before it renders them
    placeholder = parameters["config"]["flow_run"]
    rendered = render_user_template_sync(placeholder["value"]["template"], {"flow_run": run})
    config = RecoverConfig.model_validate({**parameters["config"], "flow_run": json.loads(rendered)})
    assert config.flow_run == run.id


@pytest.mark.parametrize(
    ("kind", "resource", "names"),
    [
        ("arc.disk.low", "arc.host.h", {"arc: low disk pauses intake and cycles"}),
        ("arc.disk.enough", "arc.host.h", {"arc: enough disk resumes intake and cycles"}),
        ("arc.gpu.hung", "arc.gpu.h.1", {"arc: a GPU is in trouble"}),
        ("arc.gpu.drained", "arc.gpu.h.1", {"arc: a GPU is in trouble"}),
        ("arc.gpu.undrained", "arc.gpu.h.1", set()),
        ("arc.memory.low", "arc.host.h", {"arc: a machine is short of memory"}),
        ("arc.research.failed", "arc.research.night", {"arc: research stopped or failed"}),
        ("arc.plan.waits", "arc.research.night", {"arc: a plan waits for a person"}),
        ("prefect.flow-run.Completed", "prefect.flow-run.1", {HEARTBEAT, "arc: a run has waited for a day"}),
    ],
)
def test_each_event_reaches_its_automation(kind: str, resource: str, names: set[str]) -> None:
    assert covering(event(kind, resource)) == names


def test_a_queue_without_a_worker_and_short_runs_that_are_late_are_told() -> None:
    gone = event("prefect.work-pool.not-ready", "prefect.work-pool.1")
    gone.resource.root["prefect.resource.name"] = "arc-gpu"
    assert covering(gone) == {"arc: a work pool has no worker"}
    for pool in ("arc-gpu", "arc-cpu"):
        queue = event("prefect.work-queue.not-ready", "prefect.work-queue.1", related("work-pool", pool))
        assert covering(queue) == {"arc: a queue has no worker"}, "another worker of the pool may be there"
    late = event("prefect.flow-run.Late", "prefect.flow-run.1", related("work-pool", "arc-control"))
    assert covering(late) == {"arc: short runs are late", "arc: a run has waited for a day"}
    waits = event("prefect.flow-run.Late", "prefect.flow-run.1", related("work-pool", "arc-gpu"))
    assert covering(waits) == {"arc: a run has waited for a day"}


def test_what_people_are_told_says_what_happened() -> None:
    told = {
        "arc: a GPU is in trouble": event("arc.gpu.drained", "arc.gpu.h.1", reason="Xid 79"),
        "arc: low disk pauses intake and cycles": event(
            "arc.disk.low", "arc.host.h", host="h", message="3 GB are free"
        ),
        "arc: a plan waits for a person": event("arc.plan.waits", "arc.research.night", plan="p7"),
    }
    for name, what in told.items():
        action = next(action for action in DECLARED[name]["actions"] if action["type"] == "send-notification")
        body = render_user_template_sync(action["body"], {"event": what})
        assert any(str(value) in body for value in what.payload.values()), body
        assert "{{" not in body
        assert render_user_template_sync(action["subject"], {"event": what}).startswith("ARC: ")
