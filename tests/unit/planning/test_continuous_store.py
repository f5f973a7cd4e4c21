"""A continuous research on the disk: one cycle at a time, and no kill leaves it half-written."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from glaucoma.errors import IntegrityError, NotFoundError
from glaucoma.planning.continuous import Outcome, ResearchState, Start, Stop, switched_on
from glaucoma.planning.continuous_attempt import answered, asked
from glaucoma.planning.continuous_page import page
from glaucoma.planning.continuous_settings import ContinuousSettings
from glaucoma.planning.continuous_store import Research, names, waiting_longest, worked_on_by
from glaucoma.planning.continuous_turn import begin, book, settle, write_interrupted, write_lost
from glaucoma.planning.training_time import training_time
from glaucoma.records.ended import TrainingRun, note_run_held
from glaucoma.training.experiment import create_experiment
from glaucoma.training.settings import ExecutionSettings
from glaucoma.training.spec import ExperimentSpec
from glaucoma.workspace import Workspace

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace.at(tmp_path)


def made(workspace: Workspace, name: str = "night", **settings: object) -> Research:
    research = Research(name, workspace)
    wanted = ContinuousSettings.model_validate(settings)
    research.change(lambda before: switched_on(before, name, {"name": "eyes"}, wanted, NOON)[0])
    return research


def run(research: Research, at: datetime, cycle_id: str | None = "eyes-0001-aaaaaa") -> ResearchState:
    begin(research, at, "a-run", "here")
    return book(research, Outcome.COMPLETED, "", cycle_id, at + timedelta(hours=2))


def test_the_state_is_found_again_and_a_name_that_leads_elsewhere_is_refused(workspace: Workspace) -> None:
    research = made(workspace)
    assert Research("night", workspace).read() == research.require()
    assert names(workspace) == ["night"]
    with pytest.raises(NotFoundError, match="one of: night"):
        Research("day", workspace).require()
    with pytest.raises(Exception, match="cannot name"):
        Research("../night", workspace).read()


def test_a_damaged_state_is_an_error_and_comes_last_in_turn(workspace: Workspace) -> None:
    broken = made(workspace, "a")
    broken.state_path.write_text("{")
    run(made(workspace, "b"), NOON)
    made(workspace, "c")
    with pytest.raises(IntegrityError, match="no valid state"):
        broken.read()
    assert waiting_longest(workspace) == ["c", "b", "a"]


def test_a_cycle_that_is_cut_off_each_time_lets_the_others_go_before_it(workspace: Workspace) -> None:
    cut = made(workspace, "a")
    run(made(workspace, "b"), NOON)
    begin(cut, NOON + timedelta(hours=3), None, "here")
    assert waiting_longest(workspace) == ["b", "a"]


def test_a_lost_attempt_is_written_down_once_and_an_interrupted_one_is_none(workspace: Workspace) -> None:
    research = made(workspace)
    assert write_lost(research, NOON) == "", "nothing was begun"
    begin(research, NOON, "a-run", "box, process 7")
    assert "cycle 1 (box, process 7) ended without a word" in write_lost(research, NOON)
    assert (write_lost(research, NOON), research.require().failures) == ("", 1)
    begin(research, NOON, "a-run", "box, process 7")
    write_interrupted(research, NOON)
    assert (write_lost(research, NOON), research.require().failures) == ("", 1)


def test_the_research_of_a_run_is_found_though_the_state_of_another_cannot_be_read(workspace: Workspace) -> None:
    made(workspace, "a").state_path.write_text("{")
    begin(made(workspace, "b"), NOON, "a-run", "here")
    assert worked_on_by("a-run", workspace) == Research("b", workspace)
    assert worked_on_by("another", workspace) is None


def test_the_journal_has_a_line_a_cycle_even_where_a_kill_came_before_or_within_it(workspace: Workspace) -> None:
    research = made(workspace)
    first = run(research, NOON).last
    research.journal_path.write_bytes(b"")  # killed before the line was written
    research.change_there(lambda state: state)
    assert research.journal() == [first]
    research.journal_path.write_bytes(research.journal_path.read_bytes()[:-20])  # killed within it
    second = run(research, NOON + timedelta(days=1), "eyes-0002-aaaaaa").last
    assert research.journal() == [first, second]
    assert len(research.journal_path.read_text().splitlines()) == 3, "the torn line stays, and hides no other"


def test_a_second_holder_is_told_and_a_dead_one_holds_nothing(workspace: Workspace) -> None:
    research = made(workspace)
    held = "from pathlib import Path; from glaucoma.workspace import Workspace\n"
    held += "from glaucoma.planning.continuous_store import Research\nimport sys\n"
    held += f"with Research('night', Workspace(Path({str(workspace.root)!r}))).turn() as mine:\n"
    held += "    print(mine, flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", held], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "True\n"
        assert research.is_under_way()
        with research.turn() as mine:
            assert not mine
        holder.kill()
        holder.wait()
        with research.turn() as mine:
            assert mine
    assert not research.is_under_way()


def test_a_stop_is_kept_and_told_once(workspace: Workspace) -> None:
    research = made(workspace, budget={"cycles": 1})
    assert isinstance(settle(research, NOON).step, Start)
    run(research, NOON)
    first, second = settle(research, NOON), settle(research, NOON)
    assert (first.just_stopped, second.just_stopped) == (True, False)
    assert isinstance(second.step, Stop)
    assert "1 of 1 cycles" in research.require().stopped


def test_the_end_of_a_cycle_is_booked_once_and_without_the_time_that_it_waited_for_a_person(
    workspace: Workspace,
) -> None:
    research = made(workspace)
    begin(research, NOON, "a-run", "here")
    research.change_there(lambda state: asked(state, NOON))
    research.change_there(lambda state: answered(state, NOON + timedelta(minutes=90)))
    state = book(research, Outcome.COMPLETED, "", "eyes-0001-aaaaaa", NOON + timedelta(hours=2))
    again = book(research, Outcome.FAILED, "told again", "eyes-0001-aaaaaa", NOON + timedelta(hours=9))
    assert (again.spent, again.failures) == (state.spent, 0)
    assert state.spent.hours == pytest.approx(0.5)


def test_training_on_gpus_counts_times_their_number_and_on_the_cpu_apart(
    workspace: Workspace, base: ExperimentSpec
) -> None:
    gpu, cpu = (create_experiment(base.model_copy(update={"seed": seed}), workspace) for seed in (1, 2))
    killed = create_experiment(base.model_copy(update={"seed": 3}), workspace)
    for one, facts in ((gpu, {"device": "cuda:0", "devices": 2}), (cpu, {"device": "cpu"}), (killed, {})):
        one.update(lambda m, facts=facts: m.__dict__.update(training=facts, duration_s=1800.0))  # type: ignore[misc]
    note_run_held(killed, TrainingRun(run_id="r", execution=ExecutionSettings(devices=4, threads=1)))
    killed.progress_path.write_text('{"time": "2026-06-01T12:00:00Z", "gpu_memory_mb": 900.0}\n')
    names_ = [gpu.experiment_id, cpu.experiment_id, killed.experiment_id, "cls-never-made-00000000"]
    took = training_time(names_, workspace)
    assert (took.gpu_hours, took.cpu_hours) == (1.0 + 2.0, 0.5)


def test_the_page_says_where_it_stands_what_it_used_and_that_the_cpu_counts_no_gpu_hours(workspace: Workspace) -> None:
    research = made(workspace, budget={"cycles": 3, "gpu_hours": 5})
    state = run(research, NOON)
    assert state.last is not None
    state = state.model_copy(update={"spent": state.spent.model_copy(update={"cpu_hours": 1.5})})
    text = page(state, settle(research, NOON).step, research.journal(), running=False)
    assert "**Cycle 2 can start now.**" in text
    assert "Used: 1 of 3 cycles" in text
    assert "0.00 of 5.0 GPU hours; 1.50 hours of training were on the CPU, which count 0" in text
    assert "| 1 | eyes-0001-aaaaaa | 2026-06-01 14:00 | 2.00 | 0.00 | completed |" in text
