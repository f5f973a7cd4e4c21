import pytest
import yaml
from pydantic import ValidationError

from deployments import declaration
from deployments.declaration import (
    Deployment,
    Schedule,
    declared_automations,
    declared_limits,
    declared_pools,
    declared_variables,
    deployments_of_project,
    job_template,
)
from flows.queues import parse_queue
from glaucoma.errors import SettingsError


def test_every_deployment_goes_to_a_queue_that_is_declared():
    queues = {name: pool.queue_names() for name, pool in declared_pools().items()}
    for deployment in deployments_of_project():
        assert deployment.work_pool.work_queue_name in queues[deployment.work_pool.name], deployment.name


def test_every_deployment_bears_our_mark_and_is_named_after_its_flow():
    for deployment in deployments_of_project():
        assert declaration.MARK in deployment.tags, deployment.name
        assert deployment.full_name == f"{deployment.name}/{deployment.name}"


def test_no_pool_has_a_limit_that_runs_left_behind_could_use_up():
    assert set(declared_pools()) == {"arc-control", "arc-cpu", "arc-gpu", "arc-inference"}
    assert all(pool.concurrency_limit is None for pool in declared_pools().values())


def test_the_queues_of_the_gpus_stand_by_priority_and_the_default_one_is_the_last(tmp_path, monkeypatch):
    policy = tmp_path / "policy.yaml"
    policy.write_text("experiment: [0, 3]")
    monkeypatch.setenv("ARC_GPU_POLICY", str(policy))
    *queues, last = declared_pools()["arc-gpu"].queue_names()
    assert queues[:5] == ["p00-any", "p00-gpu0", "p00-gpu3", "p00-all", "p01-any"]
    assert [parse_queue(name)[0] for name in queues] == sorted(parse_queue(name)[0] for name in queues)
    assert last == "default"


def test_a_caller_may_set_nothing_but_the_output_of_a_process():
    template = job_template()
    assert template["variables"]["additionalProperties"] is False
    assert set(template["variables"]["properties"]) == {"stream_output"}
    assert template["job_configuration"] == {"stream_output": "{{ stream_output }}"}, "Prefect merges env into an env"


def test_what_else_is_declared_can_be_read():
    assert declared_variables() == {"arc_mode": "auto"}
    assert all(name.startswith("arc-") for name in declared_limits())
    assert all(automation["trigger"] for automation in declared_automations().values())


@pytest.mark.parametrize(
    "more", [{"triggers": []}, {"paused": True}, {"version": "1"}, {"parameters": {"folder": "{{ $HOME }}"}}]
)
def test_a_part_of_prefects_form_that_apply_does_not_carry_out_is_an_error(tmp_path, monkeypatch, more):
    one = {"name": "a", "entrypoint": "flows.a.a", "description": "A", "work_pool": {"name": "arc-cpu"}, **more}
    (tmp_path / "prefect.yaml").write_text(yaml.safe_dump({"deployments": [one]}))
    monkeypatch.setattr(declaration, "PROJECT", tmp_path)
    with pytest.raises(SettingsError, match=r"prefect\.yaml"):
        deployments_of_project()


@pytest.mark.parametrize(
    "wrong",
    [{"interval": 60}, {}, {"cron": "* * * * *", "interval": 60, "anchor_date": "2026-01-01T00:00:00Z"}, {"cron": "x"}],
)
def test_a_schedule_that_does_not_say_when_is_refused(wrong):
    with pytest.raises(ValidationError):
        Schedule(slug="a", **wrong)


@pytest.mark.parametrize("entrypoint", ["os.system", "flows/a.py:a", "flows.a", "flows.a.a.a", "blocks.a.a"])
def test_an_entry_point_is_a_flow_of_this_project(entrypoint):
    with pytest.raises(ValidationError):
        Deployment(name="a", entrypoint=entrypoint, description="A", work_pool={"name": "arc-cpu"})


@pytest.mark.parametrize(
    "when",
    [
        {"interval": 120, "anchor_date": "2026-01-01T00:00:00+00:00"},
        {"interval": 1800, "anchor_date": "2026-01-01T00:00:00Z", "timezone": "Europe/Berlin"},
        {"cron": "30 4 * * *"},
        {"rrule": "FREQ=HOURLY;INTERVAL=6", "timezone": "UTC"},
    ],
)
def test_a_schedule_is_the_same_when_the_server_gives_it_back(when):
    timing = Schedule(slug="a", **when).timing()
    assert type(timing).model_validate_json(timing.model_dump_json()) == timing
