"""Continuous research as flows: switched on, one turn after the other, steered, and dry; the cycle is played."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import StateType
from prefect.states import Cancelled, Running
from pydantic import ValidationError

from flows import research_cycle as cycle_module
from flows import terminal
from flows.configs_research import ContinuousConfig, SteerConfig
from flows.research import research
from flows.results_research import Next, show_research_result, show_steer_result
from flows.steer import steer
from flows.terminal import in_terminal
from flows.turn import identity_of
from glaucoma.errors import ArcError, IntegrityError, NotFoundError, TrainingError, TransientError
from glaucoma.planning.continuous_store import Research
from glaucoma.planning.continuous_turn import begin
from glaucoma.planning.cycle import open_cycle
from glaucoma.records.ledger import Ledger
from glaucoma.records.words import CycleStatus
from glaucoma.workspace import Workspace
from tasks import research as told
from tasks.approve import UNANSWERED
from tasks.research import wait_noted
from tasks.stopping import StoppedBetweenStagesError

CYCLE = {"name": "tiny", "preset": "smoke", "train": {"classifier": "small_cnn", "input_px": 32, "epochs": 1}}
Play = Callable[..., list[Any]]


def config(workspace: Path, **given: Any) -> ContinuousConfig:
    failures = {"first_delay_s": 3600, **given.pop("failures", {})}
    wanted = {"name": "night", "cycle": CYCLE, "failures": failures, "workspace": workspace, **given}
    return ContinuousConfig.model_validate(wanted)


@pytest.fixture
def play(monkeypatch: pytest.MonkeyPatch) -> Play:
    """Puts a cycle in place that ends as it is told, one way after the other; gives the settings that it was given."""

    def install(*ends: Any) -> list[Any]:
        given, left = list[Any](), list(ends)

        @flow(name="played-cycle")
        def played(config: Any) -> Any:
            given.append(config)
            end = left.pop(0)
            if isinstance(end, BaseException):
                raise end
            return end

        monkeypatch.setattr(cycle_module, "research_cycle", played)
        return given

    return install


@pytest.fixture
def events(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str, str]]:
    heard: list[tuple[str, str, str]] = []

    def hear(event: str, resource: dict[str, str], payload: dict[str, Any]) -> None:
        heard.append((event, resource["prefect.resource.id"], payload["reason"]))

    monkeypatch.setattr(told, "emit_event", hear)
    return heard


def done(cycle_id: str) -> Any:
    return SimpleNamespace(record=SimpleNamespace(cycle_id=cycle_id))


def files(folder: Path) -> dict[str, str]:
    there = (path for path in folder.rglob("*") if path.is_file())
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in there}


def test_a_dry_run_says_what_the_next_cycle_would_try_and_writes_nothing(
    tiny: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny.make_prepared(tmp_path)
    before = files(tmp_path)
    result = research(config(tmp_path, dry_run=True))
    assert files(tmp_path) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["prepared"]
    (would,) = result.would_try
    assert (would.takes_up, would.says) == (None, "cycle 1 can start now")
    assert len(would.experiments) == 4
    show_research_result(result)
    assert f"  {would.experiments[0].experiment_id} (" in capsys.readouterr().out
    nothing = research(config(tmp_path, dry_run=True, cycle={**CYCLE, "name": "other"})).would_try[0]
    assert "No prepared dataset other is there" in nothing.notes[0]


def test_cycles_run_turn_by_turn_until_the_budget_is_used_up_and_a_person_is_told_once(
    tmp_path: Path, play: Play, events: list[Any]
) -> None:
    given = play(done("tiny-0001-aaaaaa"), done("tiny-0002-aaaaaa"))
    first = research(config(tmp_path, budget={"cycles": 2})).turns[0]
    assert (first.ran, first.cycle_id, first.next) == ("completed", "tiny-0001-aaaaaa", Next.START)
    everything = ContinuousConfig(workspace=tmp_path)
    second = research(everything).turns[0]
    assert (second.ran, second.next, second.spent.cycles) == ("completed", Next.STOP, 2)
    assert [one.workspace for one in given] == [tmp_path, tmp_path]
    assert research(everything).turns == [], "what is off has no turn"
    assert events == [("arc.research.stopped", "arc.research.night", "The budget is used up: 2 of 2 cycles")]
    with get_client(sync_client=True) as client:
        wanted = {"artifacts": {"key": {"any_": ["research-night"]}}}
        pages = client._client.post("/artifacts/filter", json=wanted).json()
    assert "tiny-0002-aaaaaa" in pages[-1]["data"] or "tiny-0002-aaaaaa" in pages[0]["data"]


def test_after_a_failure_it_waits_and_after_as_many_as_the_settings_say_it_stops_and_a_person_is_told(
    tmp_path: Path, play: Play, events: list[Any]
) -> None:
    given = play(TrainingError("the loss became infinite"), TrainingError("the card fell off the bus"))
    first = research(config(tmp_path, failures={"stop_after": 2})).turns[0]
    assert (first.ran, first.next) == ("failed", Next.WAIT)
    assert first.reason == "the loss became infinite."
    assert research(ContinuousConfig(workspace=tmp_path)).turns[0].ran is None, "it waits"
    assert len(given) == 1
    quick = {"first_delay_s": 0, "stop_after": 2}
    last = research(config(tmp_path, failures=quick)).turns[0]
    assert (last.ran, last.next) == ("failed", Next.STOP)
    assert events[0][0] == "arc.research.failed"
    assert "the card fell off the bus" in events[0][2]


def test_a_cycle_that_was_cut_off_is_taken_up_with_the_settings_that_it_began_with(tmp_path: Path, play: Play) -> None:
    given = play(StoppedBetweenStagesError(), done("tiny-0001-aaaaaa"))
    with pytest.raises(StoppedBetweenStagesError):
        research(config(tmp_path))
    changed = research(config(tmp_path, cycle={**CYCLE, "name": "other"})).turns[0]
    assert (changed.ran, changed.spent.cycles) == ("completed", 1)
    assert [one.name for one in given] == ["tiny", "tiny"]
    state = Research("night", Workspace(tmp_path)).require()
    assert (state.last.attempts if state.last else 0, state.cycle["name"]) == (2, "other")


def killed(workspace: Path) -> None:
    """As after a kill -9 in the middle of a cycle: it was begun, no end was written, and nothing holds it."""
    research_ = Research("night", Workspace(workspace))
    begin(research_, datetime.now(UTC), "a-run", "box, process 7")


def test_a_cycle_that_is_killed_each_time_waits_and_stops_and_a_person_is_told_and_others_have_their_turn(
    tmp_path: Path, play: Play, events: list[Any]
) -> None:
    given = play(done("tiny-0001-aaaaaa"))
    switched = {"action": "start", "workspace": tmp_path}
    night = {"name": "night", "cycle": CYCLE, "failures": {"first_delay_s": 3600, "stop_after": 2}}
    steer(SteerConfig.model_validate({**switched, "research": night}))
    killed(tmp_path)
    (turn,) = research(ContinuousConfig(workspace=tmp_path)).turns
    assert (turn.ran, turn.next, given) == (None, Next.WAIT, [])
    assert "The last attempt failed: 3600 s must pass" in turn.says
    steer(SteerConfig.model_validate({**switched, "research": {"name": "day", "cycle": CYCLE}}))
    turns = {one.name: one for one in research(ContinuousConfig(workspace=tmp_path)).turns}
    assert (turns["day"].ran, turns["night"].next) == ("completed", Next.WAIT)
    killed(tmp_path)
    (turn,) = research(ContinuousConfig(workspace=tmp_path, name="night")).turns
    assert turn.next is Next.STOP
    ((event, resource, reason),) = events
    assert (event, resource) == ("arc.research.failed", "arc.research.night")
    assert "Attempt 2 of cycle 1 (box, process 7) ended without a word" in reason


@pytest.mark.parametrize("name", ["plan.json", "approval.json"])
def test_a_damaged_file_of_a_cycle_is_a_failure_and_does_not_keep_the_others_from_their_turn(
    name: str, tiny: Any, tmp_path: Path, play: Play
) -> None:
    workspace = Workspace(tmp_path)
    asked = config(tmp_path).cycle
    assert asked is not None
    prepared = tiny.make_prepared(tmp_path)
    cycle = open_cycle(
        Ledger(workspace.ledger_url), workspace, name="tiny", prepared=prepared, config=identity_of(asked) or {},
        plan=asked.plan, train=asked.train,
    )  # fmt: skip
    play(IntegrityError("a file of the cycle is damaged"), done("tiny-0002-aaaaaa"))
    (cycle.folder / name).write_text("{")
    first = research(config(tmp_path)).turns[0]
    assert (first.ran, first.next, first.reason) == ("failed", Next.WAIT, "a file of the cycle is damaged.")
    killed(tmp_path)
    Ledger(workspace.ledger_url).end_cycle(cycle.plan.cycle_id, CycleStatus.FAILED, at=datetime.now(UTC))
    steer(SteerConfig.model_validate({"action": "start", "workspace": tmp_path, "research": {"name": "other", "cycle": {**CYCLE, "name": "other"}}}))  # fmt: skip  # noqa: E501
    turns = {one.name: one for one in research(ContinuousConfig(workspace=tmp_path)).turns}
    assert (turns["night"].ran, turns["night"].next, turns["other"].ran) == ("failed", Next.WAIT, "completed")


def test_a_research_that_raises_does_not_keep_the_others_from_their_turn(tmp_path: Path, play: Play) -> None:
    given = play(*(done(f"tiny-000{number}-aaaaaa") for number in (1, 2, 3)))
    for name in ("a", "b", "c"):
        steer(SteerConfig.model_validate({"action": "start", "workspace": tmp_path, "research": {"name": name, "cycle": CYCLE}}))  # fmt: skip  # noqa: E501
    broken = [Research(name, Workspace(tmp_path)) for name in ("a", "b")]
    broken[0].state_path.write_text("{")
    with pytest.raises(IntegrityError, match="no valid state of a research"):
        research(ContinuousConfig(workspace=tmp_path))
    assert len(given) == 2
    broken[1].state_path.write_text("{")
    with pytest.raises(ArcError, match=r"2 of 3 researches ended in an error \(a: .* b: .*others had their turn"):
        research(ContinuousConfig(workspace=tmp_path))
    assert len(given) == 3


@flow(name="asks")
def asks(config: Any) -> Any:
    """A cycle that waits for a person, and is cut off meanwhile where it is told so."""
    with wait_noted(Workspace(config.workspace)):
        state = Research("night", Workspace(config.workspace)).require()
        assert state.under_way is not None
        assert state.under_way.asked_at is not None
        if state.under_way.attempts == 1:
            raise StoppedBetweenStagesError
    return done("tiny-0001-aaaaaa")


def test_a_cycle_that_waits_for_a_person_says_so_in_the_state_of_its_research(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cycle_module, "research_cycle", asks)
    with pytest.raises(StoppedBetweenStagesError):
        research(config(tmp_path))
    state = Research("night", Workspace(tmp_path)).require()
    assert state.under_way is not None
    assert (state.under_way.asked_at, state.under_way.attempt_ended) == (None, True)
    assert research(ContinuousConfig(workspace=tmp_path)).turns[0].ran == "completed"


def test_a_plan_that_nobody_answered_pauses_it_and_one_that_was_refused_does_not(tmp_path: Path, play: Play) -> None:
    play(Cancelled(message="Ada said no"), Cancelled(name=UNANSWERED, message="Nobody answered"))
    refused = research(config(tmp_path)).turns[0]
    assert (refused.ran, refused.next, refused.reason) == ("not approved", Next.START, "Ada said no")
    unanswered = research(ContinuousConfig(workspace=tmp_path)).turns[0]
    assert (unanswered.next, unanswered.until) == (Next.WAIT, None)
    assert unanswered.says == "waits until a person says go-on (Nobody answered)"


def test_a_second_start_ends_at_once_and_says_who_works_on_it(tmp_path: Path, play: Play) -> None:
    play()
    steer(SteerConfig.model_validate({"action": "start", "workspace": tmp_path, "research": {"name": "night", "cycle": CYCLE}}))  # fmt: skip  # noqa: E501
    held = Research("night", Workspace(tmp_path))
    with held.turn() as mine:
        assert mine
        begin(held, held.require().changed_at, None, "box, process 7")
        (turn,) = research(ContinuousConfig(workspace=tmp_path)).turns
        assert (turn.ran, turn.next) == (None, Next.BUSY)
        assert "another process (box, process 7): one cycle at a time" in turn.says
        with pytest.raises(TransientError, match="one cycle at a time"):
            in_terminal(research, ContinuousConfig(workspace=tmp_path, name="night"))


def test_in_a_terminal_turn_follows_turn_until_the_budget_is_used_up(
    tmp_path: Path, play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(terminal, "_LOOK_EVERY_S", 0.01)
    given = play(TrainingError("once"), done("tiny-0001-aaaaaa"), done("tiny-0002-aaaaaa"))
    result = in_terminal(research, config(tmp_path, budget={"cycles": 2}, failures={"first_delay_s": 0.2}))
    assert (len(given), result.turns[0].next, result.turns[0].spent.cycles) == (3, Next.STOP, 2)


def test_it_is_steered_by_name_and_stop_now_cancels_the_run_that_works_on_it(
    tmp_path: Path, play: Play, events: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    play(done("tiny-0001-aaaaaa"))
    research(config(tmp_path))

    def asked(**given: Any) -> Any:
        return steer(SteerConfig.model_validate({"name": "night", "workspace": tmp_path, "by": "Ada", **given}))

    assert asked(action="pause").turns[0].says == "waits until a person says go-on (Ada paused it)"
    assert asked(action="go-on").turns[0].next is Next.START
    held = Research("night", Workspace(tmp_path))

    @flow(name="works-on-it")
    def works() -> None:
        """Only its name is used."""

    with get_client(sync_client=True) as client:
        run = client.create_flow_run(works)
        client.set_flow_run_state(run.id, Running(), force=True)
        with held.turn():
            begin(held, held.require().changed_at, str(run.id), "here")
            result = asked(action="stop-now")
        state = client.read_flow_run(run.id).state
    assert state is not None
    assert state.type in (StateType.CANCELLING, StateType.CANCELLED)
    assert (result.turns[0].next, events) == (
        Next.STOP,
        [("arc.research.stopped", "arc.research.night", "Ada stopped it")],
    )
    show_steer_result(result)
    assert "is being cancelled" in capsys.readouterr().out
    assert steer(SteerConfig(workspace=tmp_path)).did == "Nothing was changed"
    with pytest.raises(NotFoundError, match="one of: night"):
        steer(SteerConfig.model_validate({"name": "day", "workspace": tmp_path, "action": "pause"}))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"cycle": CYCLE}, "needs a name"),
        ({"name": "../x"}, "should match pattern"),
        ({"name": "night", "budget": {"cycles": 3}}, "budget would have no effect"),
        ({"name": "night", "cycle": {**CYCLE, "workspace": "elsewhere"}}, "cycle.workspace would have no effect"),
        ({"name": "night", "cycle": {**CYCLE, "epohcs": 3}}, "Extra inputs"),
    ],
)
def test_settings_without_an_effect_are_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        ContinuousConfig.model_validate(settings)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"action": "pause"}, "needs the name"),
        ({"action": "start"}, "given together"),
        ({"action": "pause", "name": "a", "more": {"cycles": 1}}, "more would have no effect"),
        ({"action": "start", "research": {"name": "a"}}, "must name its cycle"),
        ({"action": "start", "name": "b", "research": {"name": "a", "cycle": CYCLE}}, "is not research.name"),
    ],
)
def test_a_steering_that_means_nothing_is_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        SteerConfig.model_validate(settings)


def test_a_cycle_without_a_preset_of_its_own_has_the_researchs() -> None:
    given = {"name": "night", "preset": "smoke", "cycle": {"name": "tiny"}}
    chosen = ContinuousConfig.model_validate(given).cycle
    assert chosen is not None
    assert (chosen.preset, chosen.train.classifier) == ("smoke", "resnet10t")
