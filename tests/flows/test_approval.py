"""A plan waits for a person: approved, refused, unanswered; asked once; and where there is nobody to ask."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter
from prefect.client.schemas.objects import FlowRun
from prefect.exceptions import CancelledRun
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.variables import Variable

from glaucoma.errors import InputError
from glaucoma.planning.approval_settings import ApprovalSettings
from glaucoma.planning.cycle import CyclePlan
from glaucoma.planning.propose import Proposal
from glaucoma.planning.settings import Rules
from glaucoma.records.decision import read_decision
from glaucoma.records.ledger import Ledger
from glaucoma.records.remember import first_entry
from glaucoma.records.words import CycleStatus, Novelty, Standing
from glaucoma.workspace import Workspace
from tasks import approve as module
from tasks.approve import approve
from tasks.stage import artifact_key
from tasks.terminal import TerminalAnswer, ask_in_terminal


@pytest.fixture(autouse=True)
def _looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOOK_EVERY_S", 0.2)


@pytest.fixture
def mode() -> Iterator[Callable[[str], None]]:
    yield lambda value: Variable.set("arc_mode", value, overwrite=True) and None
    Variable.unset("arc_mode")


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace.at(tmp_path)


@pytest.fixture
def plan(tiny: Any, workspace: Workspace) -> CyclePlan:
    """A plan of two experiments, in the ledger, of a cycle that runs."""
    now = datetime.now(UTC)
    specs = [tiny.tiny_spec(seed=seed) for seed in (1, 2)]
    proposals = [Proposal(spec=spec, novelty=Novelty.EXPLOIT, reason="Why not.") for spec in specs]
    made = CyclePlan(cycle_id="eyes-0001-aaaaaa", started_at=now, dataset="eyes", prepared_key="a" * 16,
                     incumbents={}, proposals=proposals)  # fmt: skip
    ledger = Ledger(workspace.ledger_url)
    ledger.start_cycle(made.cycle_id, {}, at=now)
    for spec in specs:
        ledger.put(first_entry(spec, now).model_copy(update={"cycle_id": made.cycle_id}))
    return made


@flow(name="waiting")
def waiting(plan: Any, settings: Any, workspace: Any) -> Any:
    """What a cycle does after its plan."""
    return approve(plan, settings, Rules(), workspace)


def asked(plan: CyclePlan, workspace: Workspace, answer: Callable[[FlowRun], None], **settings: Any) -> Any:
    """Runs the flow while `answer` is given the run as soon as it is paused; an error there is an error here."""
    problems: list[BaseException] = []
    name = f"waiting-{time.monotonic_ns()}"

    def person() -> None:
        try:
            with get_client(sync_client=True) as client:
                while True:
                    named = FlowRunFilter.model_validate({"name": {"any_": [name]}})
                    runs = client.read_flow_runs(flow_run_filter=named)
                    paused = bool(runs) and runs[0].state is not None and runs[0].state.is_paused()
                    if paused and len(inputs(runs[0])) == 2:  # its form and its description are there
                        break
                    time.sleep(0.1)  # between two looks at the run
            answer(runs[0])
        except BaseException as error:  # noqa: BLE001  the test says it
            problems.append(error)
            resume(runs[0], {"approve": False, "by": "the test, whose person failed"})

    thread = threading.Thread(target=person, daemon=True)
    thread.start()
    try:
        given = ApprovalSettings(**{"wait_hours": 200 / 3600, **settings})
        return waiting.with_options(flow_run_name=name)(plan, given, workspace)
    finally:
        if settings.get("wait_hours") is None:
            thread.join()
        assert problems == []


def resume(run: FlowRun, given: Any) -> dict[str, Any]:
    """The pages' Resume: one request with the form's content."""
    with get_client(sync_client=True) as client:
        body = {"run_input": given} if given is not None else None
        answer: dict[str, Any] = client._client.post(f"/flow_runs/{run.id}/resume", json=body).json()
    return answer


def inputs(run: FlowRun) -> dict[str, Any]:
    with get_client(sync_client=True) as client:
        wanted = {"prefix": "paused", "limit": 10, "exclude_keys": []}
        found = client._client.post(f"/flow_runs/{run.id}/input/filter", json=wanted).json()
    return {one["key"].rpartition("-")[2]: one["value"] for one in found}


def test_a_person_approves_without_one_experiment_and_is_not_asked_again(
    plan: CyclePlan, workspace: Workspace, mode: Callable[[str], None]
) -> None:
    mode("manual")
    first, second = (one.experiment_id for one in plan.proposals)
    refusals: list[str] = []

    def answer(run: FlowRun) -> None:
        shown = inputs(run)
        assert f"`{first}`" in shown["description"]
        for wrong in (None, {}, {"approve": True}, {"approve": True, "by": " "},
                      {"approve": True, "by": "Ada", "drop": ["cls-other"]}):  # fmt: skip
            refusals.append(resume(run, wrong)["status"])
        right = {"approve": True, "by": " Ada  L. ", "drop": [second], "comment": "too dear"}
        assert resume(run, right)["status"] == "ACCEPT"

    running = asked(plan, workspace, answer)
    assert refusals == ["REJECT"] * 5, "a form that is not filled in decides nothing"
    assert [one.experiment_id for one in running] == [first]
    entry = Ledger(workspace.ledger_url).experiment(second)
    assert (entry.status, entry.reason) == (Standing.REFUSED, "Dropped by Ada  L.: too dear")
    kept = read_decision(workspace.cycles / plan.cycle_id)
    assert kept is not None
    assert (kept.approved, kept.by, kept.comment, kept.mode) == (True, "Ada L.", "too dear", "manual")
    assert [one.experiment_id for one in waiting(plan, ApprovalSettings(), workspace)] == [first], "nobody is asked"
    with get_client(sync_client=True) as client:
        key = {"artifacts": {"key": {"any_": [artifact_key("approval", plan.cycle_id)]}}}
        (page,) = client._client.post("/artifacts/filter", json=key).json()
    assert "may these 2 experiments run?" in page["data"]


def test_a_plan_that_a_person_refuses_ends_its_run_and_its_cycle_as_cancelled(
    plan: CyclePlan, workspace: Workspace, mode: Callable[[str], None]
) -> None:
    mode("semi")  # nothing like these experiments was trained here yet
    with pytest.raises(CancelledRun, match="not approved by Ada"):
        asked(plan, workspace, lambda run: resume(run, {"approve": False, "by": "Ada"}) and None)
    ledger = Ledger(workspace.ledger_url)
    assert ledger.cycle(plan.cycle_id).status is CycleStatus.CANCELLED
    assert {one.status for one in ledger.experiments()} == {Standing.REFUSED}


def test_no_answer_in_time_is_no_approval_and_the_same_plan_is_asked_for_again(
    plan: CyclePlan, workspace: Workspace, mode: Callable[[str], None]
) -> None:
    mode("manual")
    with pytest.raises(CancelledRun, match="Nobody answered within"):
        asked(plan, workspace, lambda run: None, wait_hours=2 / 3600)
    ledger = Ledger(workspace.ledger_url)
    assert ledger.cycle(plan.cycle_id).status is CycleStatus.CANCELLED
    assert {one.status for one in ledger.experiments()} == {Standing.PROPOSED}
    assert read_decision(workspace.cycles / plan.cycle_id) is None
    running = asked(plan, workspace, lambda run: resume(run, {"approve": True, "by": "Ada"}) and None)
    assert running == plan.proposals


def test_in_auto_and_where_no_variable_is_set_nobody_is_asked(plan: CyclePlan, workspace: Workspace) -> None:
    assert waiting(plan, ApprovalSettings(), workspace) == plan.proposals
    assert read_decision(workspace.cycles / plan.cycle_id) is None


@pytest.fixture
def no_pages(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As in a command without a server of its own: no address is set."""
    monkeypatch.setattr(module, "PREFECT_API_URL", type("None_", (), {"value": staticmethod(lambda: None)}))
    with temporary_settings({PREFECT_API_URL: PREFECT_API_URL.value()}):
        yield


@pytest.mark.usefixtures("no_pages")
def test_without_pages_it_asks_at_the_terminal_and_without_one_it_refuses(
    plan: CyclePlan, workspace: Workspace, mode: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    mode("manual")
    monkeypatch.setattr(module, "has_person", lambda: False)
    with pytest.raises(InputError, match=r"there is nobody to ask.*make up"):
        waiting(plan, ApprovalSettings(), workspace)
    monkeypatch.setattr(module, "has_person", lambda: True)
    monkeypatch.setattr(module, "ask_in_terminal", lambda text, ids: TerminalAnswer(True, "Ada", [ids[0]], ""))
    running = waiting(plan, ApprovalSettings(), workspace)
    assert running == plan.proposals[1:]


@pytest.mark.usefixtures("no_pages")
@pytest.mark.parametrize("pages", [False, True])
def test_while_it_asks_the_research_that_the_cycle_is_of_is_noted_to_wait(
    pages: bool, plan: CyclePlan, workspace: Workspace, mode: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    mode("manual")
    heard = list[Any]()

    @contextlib.contextmanager
    def noted(of: Workspace) -> Iterator[None]:
        heard.append(of)
        yield
        heard.append("answered")

    def person(*_: Any) -> TerminalAnswer:
        heard.append("asked")
        return TerminalAnswer(True, "Ada", [], "")

    if pages:
        address = type("Address", (), {"value": staticmethod(lambda: "http://a-server")})
        monkeypatch.setattr(module, "PREFECT_API_URL", address)
    monkeypatch.setattr(module, "wait_noted", noted)
    monkeypatch.setattr(module, "has_person", lambda: True)
    monkeypatch.setattr(module, "_ask_in_pages", person)
    monkeypatch.setattr(module, "ask_in_terminal", person)
    assert waiting(plan, ApprovalSettings(), workspace) == plan.proposals
    assert heard == [workspace, "asked", "answered"]


def test_the_terminal_asks_until_it_understands(capsys: pytest.CaptureFixture[str]) -> None:
    said = iter(["", "Ada", "perhaps", "yes", "a c", "b", " fine "])
    answer = ask_in_terminal("The plan.", ["a", "b"], lambda question: next(said))
    assert answer == TerminalAnswer(True, "Ada", ["b"], "fine")
    assert capsys.readouterr().err.count("That was not understood.") == 3
    no = iter(["Ada", "n", ""])
    assert ask_in_terminal("The plan.", ["a"], lambda question: next(no)) == TerminalAnswer(False, "Ada", [], "")
