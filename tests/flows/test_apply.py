"""What apply does to a server: made once, changed in place, pruned when asked, failures listed."""

from __future__ import annotations

import asyncio
import os
import textwrap
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.actions import DeploymentUpdate, VariableUpdate
from prefect.client.schemas.objects import WorkQueueStatus
from prefect.client.schemas.schedules import CronSchedule
from prefect.exceptions import ObjectNotFound
from prefect.states import Cancelled, Paused, Pending, Running, Scheduled, State

from deployments import apply as apply_module
from deployments import automations, declaration, deploy, pools, values
from deployments.apply import ApplyError, bring
from deployments.applying import Change, Outcome
from deployments.declaration import NOTIFICATION, Deployment
from deployments.pools import queues_of
from glaucoma.workspace import Workspace

PLACE = {"name": "arc-try"}
NIGHTLY = {"slug": "nightly", "cron": "30 4 * * *", "timezone": "UTC"}
DATASETS = Deployment(
    name="try", entrypoint="flows.datasets.datasets", description="A try.", tags=("arc-try",), work_pool=PLACE
)
UNPACK = Deployment(
    name="try", entrypoint="flows.unpack.unpack", description="Another.", tags=("arc-try",), work_pool=PLACE,
    schedules=(NIGHTLY,), concurrency_limit={"limit": 1, "collision_strategy": "CANCEL_NEW"},
)  # fmt: skip
AUTOMATION = """
    arc-try-hot:
      trigger:
        {type: event, posture: Reactive, expect: [arc.gpu.hot], match: {"prefect.resource.id": "arc.gpu.*"},
         for_each: ["prefect.resource.id"], threshold: THRESHOLD, within: 60}
      actions:
        - {type: run-deployment, deployment: datasets/try, parameters: {config: {}}}
        - {type: send-notification, block: arc-notify, subject: Hot, body: "{{ event.resource.id }}"}
    arc-try-tell:
      trigger: {type: event, posture: Reactive, expect: [arc.disk.low], threshold: 1, within: 0}
      actions: [{type: send-notification, block: arc-notify, subject: Low, body: The disk is nearly full.}]
"""


class Server:
    """The embedded server, and a small declaration of this test's own in place of the project's."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.workspace = folder, Workspace.at(folder / "workspace")
        self.deployments = [DATASETS, UNPACK]
        monkeypatch.setenv("ARC_GPU_POLICY", str(folder / "gpus.yaml"))
        monkeypatch.setattr(deploy, "deployments_of_project", lambda: self.deployments)
        for module in (automations, deploy, values):
            monkeypatch.setattr(module, "MARK", "arc-try")
        for module in (pools, values):
            monkeypatch.setattr(module, "OUR_POOLS", "arc-try")  # what other tests made on this server is theirs
        self.head = (declaration.FOLDER / "pools.yaml").read_text().partition("\npools:")[0]
        monkeypatch.setattr(declaration, "FOLDER", folder)
        self.declare_pools()
        self.write("variables.yaml", "arc_try: auto")
        self.write("limits.yaml", "arc-try: {limit: 2}")
        self.write("automations.yaml", AUTOMATION.replace("THRESHOLD", "1"))
        self.write("gpus.yaml", "experiment: [0]")

    def write(self, name: str, content: str) -> None:
        (self.folder / name).write_text(textwrap.dedent(content))

    def declare_pools(self, more: str = "") -> None:
        self.write("pools.yaml", f"{self.head}\npools:\n  arc-try: {{type: process, queues: [urgent]}}\n{more}")

    def bring(self, **options: bool) -> dict[str, Change]:
        """Applies; gives what became of each thing of this test, by kind and name."""
        changes = self.ask(lambda client: bring(client, self.workspace, **options))
        return {f"{one.kind} {one.name}": one for one in changes if "try" in one.name or one.outcome is Outcome.FAILED}

    def ask(self, question: Callable[[PrefectClient], Awaitable[Any]]) -> Any:
        async def asked() -> Any:
            async with get_client() as client:
                return await question(client)

        return asyncio.run(asked())

    def queues(self, pool: str) -> list[str]:
        return [queue.name for queue in self.ask(lambda client: queues_of(client, pool))]

    def automation(self, name: str = "arc-try-hot") -> Any:
        (only,) = self.ask(automations.automations_of)[name]
        return only


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    made = Server(tmp_path, monkeypatch)
    yield made
    made.ask(forget)


async def forget(client: PrefectClient) -> None:
    """Leaves the shared server as it was: another test's runs must not find this test's workspace."""
    for there in (await automations.automations_of(client)).values():
        for one in there:
            await client.delete_automation(one.id)
    for deployment in await client.read_deployments(limit=200):
        if deployment.name == "try":
            await client.delete_deployment(deployment.id)
    if await client.read_variable_by_name("arc_try"):
        await client.delete_variable_by_name("arc_try")
    block = await client.read_block_document_by_name("default", "arc-workspace")
    await client.delete_block_document(block.id)


def outcomes(changes: dict[str, Change]) -> set[Outcome]:
    return {change.outcome for change in changes.values()}


def test_everything_is_made_once_and_is_as_declared_then(server: Server) -> None:
    assert server.bring(dry_run=True)["deployment datasets/try"].outcome is Outcome.MADE
    with pytest.raises(ObjectNotFound):
        server.ask(lambda client: client.read_deployment_by_name("datasets/try"))
    assert Outcome.FAILED not in outcomes(server.bring())
    again = server.bring()
    assert outcomes(again) == {Outcome.SAME}
    assert {"deployment datasets/try", "automation arc-try-hot", "limit arc-try", "variable arc_try"} <= again.keys()
    assert server.queues("arc-try") == ["urgent", "default"]


def test_two_applications_at_once_make_nothing_twice(server: Server) -> None:
    async def both(client: PrefectClient) -> list[list[Change]]:
        return await asyncio.gather(*(bring(client, server.workspace) for _ in range(2)))

    for changes in server.ask(both):
        assert [change.line() for change in changes if change.outcome is Outcome.FAILED] == []
    assert server.automation().name == "arc-try-hot", "there is one"
    assert outcomes(server.bring()) == {Outcome.SAME}


def test_what_differs_is_changed_in_place_and_what_a_person_paused_stays_paused(server: Server) -> None:
    server.bring()
    automation = server.automation()

    async def disturb(client: PrefectClient) -> None:
        await client.pause_automation(automation.id)
        await client.update_variable(VariableUpdate(name="arc_try", value="manual"))
        datasets = await client.read_deployment_by_name("datasets/try")
        await client.update_deployment(datasets.id, DeploymentUpdate(description="Somebody's"))
        unpack = await client.read_deployment_by_name("unpack/try")
        mine = CronSchedule(cron="0 1 * * *", timezone="UTC")
        await client.update_deployment_schedule(unpack.id, unpack.schedules[0].id, active=False, schedule=mine)
        await client.create_deployment_schedules(unpack.id, [(mine, True)])

    server.ask(disturb)
    server.write("automations.yaml", AUTOMATION.replace("THRESHOLD", "3"))
    changed = {name for name, one in server.bring().items() if one.outcome is Outcome.CHANGED}
    assert changed == {"automation arc-try-hot", "deployment datasets/try", "schedule unpack/try nightly"}
    after = server.automation()
    assert (after.id, after.enabled, after.trigger.threshold) == (automation.id, False, 3)
    unpack = server.ask(lambda client: client.read_deployment_by_name("unpack/try"))
    by_slug = {schedule.slug: schedule for schedule in unpack.schedules}
    assert (by_slug["nightly"].schedule.cron, by_slug["nightly"].active) == ("30 4 * * *", False)
    assert by_slug[None].active, "a schedule that a person made stays"
    assert server.ask(lambda client: client.read_variable_by_name("arc_try")).value == "manual"
    assert outcomes(server.bring()) == {Outcome.SAME}


def test_queues_come_in_where_they_belong_and_are_put_in_order_again(server: Server) -> None:
    server.deployments = []
    server.write("automations.yaml", "{}")
    server.write("gpus.yaml", "experiment: []")
    server.declare_pools("  order-try: {type: process, gpu_queues: true}")
    server.bring()
    server.write("gpus.yaml", "experiment: [0]")
    server.bring()
    wanted = declaration.declared_pools()["order-try"].queue_names()
    assert wanted[:4] == ["p00-any", "p00-gpu0", "p00-all", "p01-any"]
    assert wanted[-2:] == ["p10-all", "default"]
    assert server.queues("order-try") == wanted

    async def disturb(client: PrefectClient) -> None:
        there = {queue.name: queue for queue in await queues_of(client, "order-try")}
        await client.update_work_queue(there["p09-any"].id, priority=1)
        await client.update_work_queue(there["default"].id, priority=2)
        await client.create_work_queue("a-persons-own", priority=99, work_pool_name="order-try")

    server.ask(disturb)
    assert server.queues("order-try") != [*wanted[:-1], "a-persons-own", wanted[-1]]
    server.bring()
    assert server.queues("order-try") == [*wanted[:-1], "a-persons-own", wanted[-1]]


def test_what_is_no_longer_declared_goes_when_asked_and_never_under_a_waiting_run(server: Server) -> None:
    server.bring()

    async def wait(client: PrefectClient) -> Any:
        await client.create_work_queue("p05-gpu9", work_pool_name="arc-try")
        await client.create_work_queue("p04-gpu9", work_pool_name="arc-try")
        deployment = await client.read_deployment_by_name("datasets/try")
        return await client.create_flow_run_from_deployment(
            deployment.id, state=Scheduled(), work_queue_name="p05-gpu9", parameters={"config": {}}
        )

    run = server.ask(wait)
    server.write("automations.yaml", "{}")
    server.deployments.pop()
    left = {name for name, one in server.bring().items() if one.outcome is Outcome.LEFT}
    queues = {"work queue arc-try/p05-gpu9", "work queue arc-try/p04-gpu9"}
    assert left >= {"deployment unpack/try", "automation arc-try-hot", *queues}
    pruned = server.bring(prune=True)
    refused = pruned["work queue arc-try/p05-gpu9"]
    assert refused.outcome is Outcome.FAILED
    assert "1 runs wait or run there" in refused.detail
    assert {name for name, one in pruned.items() if one.outcome is Outcome.REMOVED} >= left - {
        "work queue arc-try/p05-gpu9"
    }
    server.ask(lambda client: client.delete_flow_run(run.id))
    assert Outcome.FAILED not in outcomes(server.bring(prune=True))
    assert server.queues("arc-try") == ["urgent", "default"]


def test_machines_with_other_gpus_leave_each_others_queues_alone(server: Server) -> None:
    server.deployments = []
    server.write("automations.yaml", "{}")
    server.declare_pools("  shared-try: {type: process, gpu_queues: true}")
    server.write("gpus.yaml", "experiment: [2, 3]")
    server.bring()
    theirs = set(server.queues("shared-try"))
    asked_for = sorted(name for name in theirs if name.endswith("gpu2"))

    async def work(client: PrefectClient) -> None:
        await client.get_scheduled_flow_runs_for_work_pool("shared-try", work_queue_names=asked_for)
        there = {queue.name: queue for queue in await queues_of(client, "shared-try")}
        await client.update_work_queue(there["p05-gpu3"].id, is_paused=True)
        for _ in range(600):
            there = {queue.name: queue for queue in await queues_of(client, "shared-try")}
            if all(there[name].status is WorkQueueStatus.READY for name in asked_for):
                return
            await asyncio.sleep(0.1)  # between two looks at what the server writes down
        raise AssertionError([there[name].status for name in asked_for])

    server.ask(work)
    server.write("gpus.yaml", "experiment: [0]")
    assert {name for name, one in server.bring().items() if one.outcome is Outcome.LEFT} == {
        f"work queue shared-try/{name}" for name in theirs if name.endswith("gpu3") and name != "p05-gpu3"
    }
    server.bring(prune=True)
    left = server.queues("shared-try")
    assert {name for name in left if name[4:] in ("gpu2", "gpu3")} == {*asked_for, "p05-gpu3"}
    again = server.bring()["work queue shared-try"]
    assert (again.outcome, again.detail) == (Outcome.SAME, "34 queues, and 12 by another machine's GPU policy")


def test_a_deployment_names_no_folder_so_that_every_worker_takes_its_own(server: Server) -> None:
    from prefect.deployments.steps.core import run_step

    server.bring()
    (step,) = server.ask(lambda client: client.read_deployment_by_name("unpack/try")).pull_steps
    assert str(declaration.PROJECT) not in str(step)
    before = Path.cwd()
    try:
        assert asyncio.run(run_step(step)) == {"directory": str(declaration.PROJECT)}
        assert Path.cwd() == declaration.PROJECT
    finally:
        os.chdir(before)


@pytest.mark.parametrize("state", [Scheduled(), Paused(timeout_seconds=3600), Pending(), Running()])
def test_a_deployment_whose_runs_wait_or_are_paused_is_not_removed(server: Server, state: State) -> None:
    server.write("automations.yaml", "{}")
    server.bring()

    async def wait(client: PrefectClient) -> Any:
        deployment = await client.read_deployment_by_name("datasets/try")
        run = await client.create_flow_run_from_deployment(deployment.id, parameters={"config": {}})
        await client.set_flow_run_state(run.id, state, force=True)
        return run.id

    run = server.ask(wait)
    server.deployments = [UNPACK]
    refused = server.bring(prune=True)["deployment datasets/try"]
    assert refused.outcome is Outcome.FAILED
    assert "1 runs wait or run there" in refused.detail
    assert server.ask(lambda client: client.read_flow_run(run)).id == run, "it was not deleted either"
    server.ask(lambda client: client.set_flow_run_state(run, Cancelled(), force=True))
    assert server.bring(prune=True)["deployment datasets/try"].outcome is Outcome.REMOVED


def test_all_failures_are_listed_and_the_rest_is_done(server: Server) -> None:
    nowhere = declaration.Place(name="nowhere")
    server.deployments[0] = DATASETS.model_copy(update={"work_pool": nowhere})
    server.write("limits.yaml", "arc-try: {limit: few}")
    changes = server.bring()
    failed = {name: one.detail for name, one in changes.items() if one.outcome is Outcome.FAILED}
    assert failed.keys() == {"deployment datasets/try", "limits all", "automation arc-try-hot"}
    assert "nowhere" in failed["deployment datasets/try"]
    assert "datasets/try" in failed["automation arc-try-hot"]
    assert changes["deployment unpack/try"].outcome is Outcome.MADE
    with pytest.raises(ApplyError, match="3 of") as told:
        asyncio.run(apply_module.apply(server.workspace))
    assert all(name in str(told.value) for name in failed)
    assert apply_module.main([]) == 1


def test_people_are_told_where_there_is_a_block_and_apply_says_where_there_is_none(server: Server) -> None:
    from prefect.blocks.notifications import CustomWebhookNotificationBlock

    told = server.bring()
    assert "nobody is told" in told["automation arc-try-tell"].detail
    assert [action.type for action in server.automation("arc-try-tell").actions] == ["do-nothing"]
    assert [action.type for action in server.automation().actions] == ["run-deployment"]
    block = CustomWebhookNotificationBlock(name="try", url="http://127.0.0.1:9/tell")
    identity = server.ask(lambda client: block.asave(NOTIFICATION, client=client))
    try:
        told = server.bring()
        assert told["automation arc-try-hot"].outcome is Outcome.CHANGED
        (action,) = server.automation("arc-try-tell").actions
        assert action.block_document_id == identity
        assert outcomes(server.bring()) == {Outcome.SAME}
    finally:
        server.ask(lambda client: client.delete_block_document(identity))


def test_nobody_who_starts_a_run_can_name_its_program_folder_or_environment(server: Server) -> None:
    server.write("automations.yaml", "{}")
    server.bring()

    async def start(client: PrefectClient, given: dict[str, Any]) -> Any:
        deployment = await client.read_deployment_by_name("datasets/try")
        return await client.create_flow_run_from_deployment(
            deployment.id, parameters={"config": {}}, job_variables=given
        )

    for hostile in ({"command": "id"}, {"env": {"X": "1"}}, {"env.X": "1"}, {"working_dir": "/"}):
        with pytest.raises(httpx.HTTPStatusError) as refused:
            server.ask(lambda client, given=hostile: start(client, given))
        assert refused.value.response.status_code == 422
    run = server.ask(lambda client: start(client, {"stream_output": True}))
    server.ask(lambda client: client.delete_flow_run(run.id))
