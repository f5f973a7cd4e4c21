"""Runs that a flow asks for and waits for: made once, found again, cancelled with it, and what came of each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterParentFlowRunId
from prefect.client.schemas.objects import FlowRun
from prefect.exceptions import Abort
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import Cancelled, Cancelling, Completed, Crashed, Failed, Running, State

from flows.hooks import cancel_awaited_runs, write_end
from flows.research_cycle import PLANNED, research_cycle
from glaucoma.errors import NotFoundError, SettingsError
from tasks import await_runs
from tasks.await_runs import Ended, cancelled_together, wait_for
from tasks.own_run import RunCancelledError
from tasks.submit import Submitted, Wanted, require_server, submit
from tests.flows.gpu_pool import make_pools, recovering


@pytest.fixture(autouse=True)
def _pools(monkeypatch: pytest.MonkeyPatch) -> None:
    make_pools()
    monkeypatch.setattr(await_runs, "LOOK_EVERY_S", 0.01)


@pytest.fixture
def wanted() -> list[Wanted]:
    cycle = f"eyes-0001-{uuid4().hex[:6]}"
    return [
        Wanted(name, f"arc-cycle:{cycle}/{name}", {"config": {"cycle": cycle, "experiment": name}}, "p02-any")
        for name in ("cls-a-00000001", "cls-b-00000002")
    ]


@flow(name="asks-and-ends")
def ask(wanted: list[Any], done: bool = False) -> tuple[list[Submitted], str]:
    from prefect import runtime

    return submit(PLANNED, wanted, lambda _: done, awaited=True), str(runtime.flow_run.id)


def read(run_id: UUID) -> FlowRun:
    with get_client(sync_client=True) as client:
        return client.read_flow_run(run_id)


def end(run: Submitted, state: State[Any]) -> None:
    with get_client(sync_client=True) as client:
        client.set_flow_run_state(run.run_id, state, force=True)


def test_what_waits_or_runs_is_found_again_and_what_ended_badly_is_made_anew(wanted: list[Wanted]) -> None:
    first, run_id = ask(wanted)
    assert [run.new for run in first] == [True, True]
    assert {run.queue for run in first} == {"p02-any"}
    with get_client(sync_client=True) as client:
        inside = FlowRunFilter(parent_flow_run_id=FlowRunFilterParentFlowRunId(any_=[UUID(run_id)]))
        assert {run.id for run in client.read_flow_runs(flow_run_filter=inside)} == {run.run_id for run in first}
    end(first[0], Running())
    again, _ = ask(wanted)
    assert [(run.run_id, run.new) for run in again] == [(run.run_id, False) for run in first]
    end(first[0], Crashed())
    end(first[1], Completed())
    third, _ = ask(wanted, done=True)
    assert [run.new for run in third] == [True, False]
    assert third[1].run_id == first[1].run_id
    with get_client(sync_client=True) as client:
        client.delete_flow_run(first[0].run_id)  # the next one's key must not be that of the third
    end(third[0], Crashed())
    anew, _ = ask(wanted, done=True)
    assert anew[0].new
    assert anew[0].run_id != third[0].run_id
    gone, _ = ask(wanted, done=False)  # what the completed run made was removed since
    assert [run.new for run in gone] == [False, True]


def test_a_queue_or_a_deployment_that_is_not_there_is_refused_before_anything_is_submitted(
    wanted: list[Wanted],
) -> None:
    @flow(name="asks-wrongly")
    def ask_for(deployment: str, queue: str) -> None:
        submit(deployment, [wanted[0], replace(wanted[1], queue=queue)], lambda _: False, awaited=True)

    with pytest.raises(NotFoundError, match=r"no queue p05-gpu7 in the work pool arc-gpu.*Nothing was submitted"):
        ask_for(PLANNED, "p05-gpu7")
    with pytest.raises(NotFoundError, match="no deployment nothing/nothing"):
        ask_for("nothing/nothing", "p05-any")
    with get_client(sync_client=True) as client:
        names = {queue.name for queue in client.read_work_queues(work_pool_name="arc-gpu")}
    assert "p05-gpu7" not in names


def test_it_is_told_how_each_run_ended(wanted: list[Wanted], monkeypatch: pytest.MonkeyPatch) -> None:
    wanted += [replace(wanted[0], tag=f"{wanted[0].tag}-{n}") for n in range(2)]
    runs, _ = ask(wanted)
    for run, state in zip(
        runs, [Completed(), Failed(message="it diverged"), Crashed(message="exit code -9"), Cancelled()], strict=True
    ):
        end(run, state)
    away = iter([httpx.ConnectError("refused"), httpx.ConnectError("refused")])
    real = await_runs.get_client

    def sometimes_away(**given: Any) -> Any:
        for error in away:
            raise error
        return real(**given)

    monkeypatch.setattr(await_runs, "get_client", sometimes_away)
    ends = flow(name="waits")(lambda: wait_for("all", [*runs, replace(runs[0], run_id=uuid4())], "waits"))()
    assert [one.completed for one in ends] == [True, False, False, False, False]
    told = [one.reason.replace(one.run.run_name, "X") for one in ends]
    assert told[1:3] == ["its run X failed: it diverged", "its run X crashed: exit code -9"]
    assert told[3].startswith("its run X was cancelled")
    assert told[4] == "its run X was deleted"
    assert [one.cancelled for one in ends] == [False, False, False, True, True]


def test_a_crash_is_not_the_end_where_a_run_takes_the_lost_ones_place(
    wanted: list[Wanted], monkeypatch: pytest.MonkeyPatch
) -> None:
    runs, _ = ask(wanted)
    end(runs[0], Crashed(message="exit code -9"))
    end(runs[1], Completed())
    taken: list[UUID] = []
    looks: list[int] = []
    outcomes: list[State[Any]] = []

    def at_each_look(_: Any) -> None:
        looks.append(len(looks))
        with get_client(sync_client=True) as client:
            if len(looks) == 3:
                crashed = client.read_flow_run(runs[0].run_id)
                assert crashed.deployment_id is not None
                new = client.create_flow_run_from_deployment(
                    crashed.deployment_id, parameters=crashed.parameters, tags=[*crashed.tags, "recovered"]
                )
                taken.append(new.id)
            if len(looks) == 6:
                client.set_flow_run_state(taken[-1], outcomes[-1], force=True)

    waits = flow(name="waits")(lambda recovery_s: wait_for("all", runs, "waits", recovery_s))
    with recovering():
        for outcome, told in ((Completed(), ""), (Failed(message="it diverged"), "failed: it diverged")):
            monkeypatch.setattr(await_runs.OwnRun, "require_wanted", at_each_look)
            outcomes.append(outcome)
            looks.clear()
            first, second = waits(600.0)
            assert (first.run, first.completed) == (runs[0], not told)
            assert first.reason.endswith(told)
            assert second.completed
            with get_client(sync_client=True) as client:
                client.delete_flow_run(taken[-1])
        monkeypatch.setattr(await_runs.OwnRun, "require_wanted", lambda _: None)
        assert waits(0.2)[0].reason.endswith("crashed: exit code -9"), "nothing took its place in time"
    assert waits(600.0)[0].reason.endswith("crashed: exit code -9"), "nothing will: the server has no recover"


@pytest.mark.parametrize("way", ["in the flow", "by its worker"])
def test_what_a_cancelled_run_waits_for_is_cancelled_too(way: str, wanted: list[Wanted]) -> None:
    runs: list[Submitted] = []

    @flow(name="asks-and-is-cancelled")
    def ask_and_wait() -> None:
        with cancelled_together():
            runs.extend(submit(PLANNED, wanted, lambda _: False, awaited=True))
            raise RunCancelledError("The flow run was cancelled in Prefect")

    if way == "in the flow":
        with pytest.raises(Abort):
            ask_and_wait()
    else:
        ask(wanted)
        found, run_id = ask(wanted)  # another run's, found again
        runs.extend(found)
        run = read(UUID(run_id))
        cancel_awaited_runs(flow=research_cycle, flow_run=run, state=Cancelling())
    assert {read(run.run_id).state_name for run in runs} == {"Cancelled"}


def test_what_a_lost_run_waits_for_goes_on(wanted: list[Wanted]) -> None:
    runs: list[Submitted] = []

    @flow(name="asks-and-is-lost")
    def ask_and_die() -> None:
        with cancelled_together():
            runs.extend(submit(PLANNED, wanted, lambda _: False, awaited=True))
            raise SystemExit(1)

    with pytest.raises(SystemExit):
        ask_and_die()
    assert {read(run.run_id).state_name for run in runs} <= {"Scheduled", "Late"}
    assert research_cycle.on_crashed_hooks == [write_end]


def test_a_temporary_server_is_refused_as_nobody_would_run_it() -> None:
    require_server()
    with (
        temporary_settings(restore_defaults={PREFECT_API_URL}),
        pytest.raises(SettingsError, match="nobody would ever run it"),
    ):
        require_server()


def test_ends_are_in_the_order_of_the_runs(wanted: list[Wanted]) -> None:
    runs, _ = ask(wanted)
    for run in reversed(runs):
        end(run, Completed())
    waits: Callable[[], list[Ended]] = flow(name="waits")(lambda: wait_for("all", runs, "waits"))
    assert [one.run for one in waits()] == runs
