"""The main job from end to end: archive in, report out; again; and on real photographs."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from flows.configs import EvaluateConfig, ExplainConfig, ResearchCycleConfig, TrainConfig
from flows.evaluate import evaluate
from flows.explain import explain
from flows.research_cycle import research_cycle
from flows.results import CycleResult, show_cycle
from glaucoma.errors import ArcError, TrainingError, TransientError
from glaucoma.records.ledger import Ledger
from glaucoma.records.record import read_record
from glaucoma.records.words import CycleStatus, Standing
from glaucoma.schema import Split, Task
from glaucoma.workspace import Workspace

TINY_TRAINING: dict[str, Any] = {
    "epochs": 1,
    "segmentation_epochs": 1,
    "input_px": 32,
    "segmentation_input_px": 32,
    "batch_size": 8,
    "execution": {"device": "cpu"},
}


def config(archive: Path, workspace: Path, **more: Any) -> ResearchCycleConfig:
    train = {**TINY_TRAINING, "classifier": "small_cnn", "encoder": "small_unet", **more.pop("train", {})}
    settings = {
        "archive": archive,
        "workspace": workspace,
        "name": "eyes",
        "preset": "smoke",
        "train": train,
        "preprocess": {"image_size_px": 64},
        "evaluate": {"replicates": 100},
        "explain": {"max_images": 4, "overlays": 2},
    }
    return ResearchCycleConfig.model_validate({**settings, **more})


@pytest.fixture(scope="module")
def two_cycles(
    archives: Path, task_states: Any, watched: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[list[CycleResult], list[Any], Path]:
    workspace = tmp_path_factory.mktemp("workspace")
    results, states = [], []
    for _ in range(2):
        results.append(research_cycle(config(archives / "masks.zip", workspace)))
        states.append((task_states("intake-eyes"), task_states("research-cycle-eyes")))
    return results, states, workspace


def test_a_cycle_trains_measures_and_explains_at_least_two_experiments_of_each_task(two_cycles: Any) -> None:
    record = two_cycles[0][0].record
    assert record.status is CycleStatus.COMPLETED
    assert {e.status for e in record.experiments} == {Standing.COMPLETED}
    for task in Task:
        assert sum(e.task is task for e in record.experiments) >= 2
        assert record.best[task] in {e.experiment_id for e in record.experiments if e.task is task}
    for experiment in record.experiments:
        assert experiment.metrics[Split.VAL]
        assert experiment.checkpoint is not None
        assert experiment.duration_s
        assert experiment.reason


def test_only_the_best_of_a_task_is_measured_on_the_test_split_and_the_ledger_keeps_the_look(two_cycles: Any) -> None:
    results, _, workspace = two_cycles
    record = results[0].record
    looked = {e.experiment_id for e in record.experiments if Split.TEST in e.metrics}
    assert looked == set(record.best.values())
    looks = Ledger(Workspace(workspace).ledger_url).looks()
    assert looked <= {look.experiment_id for look in looks}
    assert all("leads the" in look.reason for look in looks)


def test_record_and_report_are_written_and_the_record_can_be_read_again(two_cycles: Any) -> None:
    results, _, workspace = two_cycles
    for result in results:
        assert read_record(result.record.cycle_id, Workspace(workspace)) == result.record
        content = json.loads(result.record_path.read_text())
        assert {"cycle_id", "status", "dataset", "experiments", "best", "versions"} <= set(content)
        page = result.report_path.read_text()
        assert result.record.cycle_id in page
        assert "generated" in page
        assert 'src="http' not in page
        assert 'href="http' not in page


def test_what_was_measured_and_explained_already_is_shown_as_cached(two_cycles: Any, task_states: Any) -> None:
    results, _, workspace = two_cycles
    name = results[0].record.best[Task.CLASSIFICATION]
    settings = {"experiment": name, "workspace": workspace, "preset": "smoke"}
    evaluate(EvaluateConfig.model_validate({**settings, "evaluate": {"replicates": 100}}))
    explain(ExplainConfig.model_validate({**settings, "explain": {"max_images": 4, "overlays": 2}}))
    assert dict(task_states(f"evaluate-{name}-val"))[f"evaluate {name} on val"] == "Cached"
    assert dict(task_states(f"explain-{name}-val")) == {f"explain {name} on val": "Cached"}


def test_a_second_cycle_does_no_intake_again_and_the_ui_shows_it_as_cached(two_cycles: Any) -> None:
    first, second = (dict(intake) for intake, _ in two_cycles[1])
    assert set(first.values()) == {"Completed"}
    assert set(second.values()) == {"Cached"}
    assert len(second) == 7


def test_a_second_cycle_learns_from_the_first_and_tries_something_new(two_cycles: Any) -> None:
    results, _, workspace = two_cycles
    first, second = (result.record for result in results)
    assert first.cycle_id != second.cycle_id
    assert not {e.experiment_id for e in first.experiments} & {e.experiment_id for e in second.experiments}
    assert {c.incumbent for c in second.comparisons} == set(first.best.values())
    assert len(Ledger(Workspace(workspace).ledger_url).cycles(CycleStatus.COMPLETED)) == 2


def test_what_is_next_is_what_the_next_cycle_tries(two_cycles: Any) -> None:
    first, second = (result.record for result in two_cycles[0])
    assert len(first.next) == len(second.experiments)
    for sentence, experiment in zip(first.next, second.experiments, strict=True):
        assert experiment.reason in sentence


def test_the_command_for_the_next_round_repeats_what_was_given(
    two_cycles: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    result, workspace = two_cycles[0][0], two_cycles[2]
    given = ["--name", "eyes", "--preset", "smoke", "--train.epochs", "1", "--config", "my settings.yaml"]
    show_cycle(result, given)
    last = capsys.readouterr().out.splitlines()[-1]
    command = "Next round: python -m flows.research_cycle --name eyes --preset smoke --train.epochs 1 --config"
    assert last == f"{command} 'my settings.yaml' --workspace {workspace}"
    show_cycle(result, ["--name", "eyes", "--workspace=elsewhere"])
    assert capsys.readouterr().out.splitlines()[-1].endswith("--name eyes --workspace=elsewhere")


def test_with_the_network_cut_off_a_cycle_and_its_server_never_try_to_leave_the_machine(
    two_cycles: Any, watched: Path
) -> None:
    assert [line for path in watched.glob("outward-*") for line in path.read_text().splitlines()] == []
    processes = {path.stem for path in watched.glob("commands-*")}
    assert len(processes) >= 2, "the watch was on: here, and in a process that was started from here"


def test_nothing_half_written_is_left(two_cycles: Any) -> None:
    assert [str(p) for p in two_cycles[2].rglob("*partial*")] == []


def test_a_failed_experiment_is_written_down_and_the_others_go_on(
    archives: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flows import research_cycle as module

    real, failed = module.run_experiment, []

    def fail_once(spec: Any, *args: Any) -> Any:
        if not failed:
            failed.append(spec)
            raise RuntimeError("the card fell off the bus")
        return real(spec, *args)

    monkeypatch.setattr(module, "run_experiment", fail_once)
    record = research_cycle(config(archives / "folders.zip", tmp_path)).record
    assert record.status is CycleStatus.COMPLETED
    states = [e.status for e in record.experiments]
    assert states == [Standing.FAILED, Standing.COMPLETED]
    assert "the card fell off the bus" in record.experiments[0].failure
    assert any("the card fell off the bus" in sentence for sentence in record.learned)


def test_a_second_start_of_a_cycle_that_is_being_worked_on_ends_with_a_word_on_who_does(
    archives: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flows import research_cycle as module
    from glaucoma.records import cycle_turn

    monkeypatch.setattr(cycle_turn, "_PATIENCE_S", 0.0)
    chosen = config(archives / "folders.zip", tmp_path)
    second: list[BaseException] = []

    def start_again(*_: Any) -> None:
        monkeypatch.setattr(module, "run_proposals", None)
        with pytest.raises(cycle_turn.CycleBusyError) as raised:
            research_cycle(chosen)
        second.append(raised.value)

    monkeypatch.setattr(module, "run_proposals", start_again)
    with pytest.raises(TrainingError, match="No experiment was completed"):
        research_cycle(chosen)
    (cycle,) = Ledger(Workspace.at(tmp_path).ledger_url).cycles()
    assert f"Cycle {cycle.cycle_id} is being worked on by another process (flow run" in str(second[0])


def test_a_cycle_whose_experiments_all_failed_tries_others_next_unless_something_outside_was_the_cause(
    archives: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flows import research_cycle as module

    causes: list[ArcError] = []

    def fails(*_: Any) -> None:
        raise causes[-1]

    monkeypatch.setattr(module, "run_experiment", fails)
    ledger = Ledger(Workspace.at(tmp_path).ledger_url)
    told = []
    diverged = TrainingError("the loss became infinite")
    for cause in (TransientError("the card fell off the bus"), diverged, diverged):
        causes.append(cause)
        with pytest.raises(TrainingError, match="No experiment was completed") as raised:
            research_cycle(config(archives / "folders.zip", tmp_path))
        told.append((str(raised.value).rpartition("; the same command ")[2], len(ledger.cycles())))
    (first, second) = (cycle.cycle_id for cycle in ledger.cycles())
    assert told == [(f"takes {first} up again.", 1), ("tries other experiments.", 1), ("tries other experiments.", 2)]
    assert len(ledger.experiments(cycle_id=first)) == len(ledger.experiments(cycle_id=second)) == 2


@pytest.mark.parametrize(
    ("error", "standing"),
    [
        (TrainingError("the loss became infinite"), Standing.FAILED),
        (TransientError("the card fell off the bus"), Standing.INTERRUPTED),
    ],
)
def test_a_training_by_hand_that_fails_is_in_the_ledger(
    error: ArcError, standing: Standing, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flows import train as module

    def fails(*_: Any) -> None:
        raise error

    monkeypatch.setattr(module, "train_stage", fails)
    (Workspace.at(tmp_path).prepared("eyes") / "0123456789abcdef").mkdir(parents=True)
    train = {**TINY_TRAINING, "classifier": "small_cnn", "encoder": "small_unet"}
    settings = {"name": "eyes", "workspace": tmp_path, "preset": "smoke", "train": train}
    with pytest.raises(type(error), match=str(error)):
        module.train(TrainConfig.model_validate(settings))
    (entry,) = Ledger(Workspace(tmp_path).ledger_url).experiments()
    assert (entry.status, entry.reason) == (standing, f"{type(error).__name__}: {error}")


@pytest.mark.real
@pytest.mark.timeout(900)
def test_the_cycle_on_real_photographs_ends_with_an_honest_auc_and_says_why_there_is_no_dri(
    real_data: Path, tmp_path: Path
) -> None:
    source = real_data / "acrima-sample"
    archive = tmp_path / "acrima.zip"
    with zipfile.ZipFile(archive, "w") as made:
        for path in sorted(source.rglob("*.*")):
            made.write(path, path.relative_to(source))
    smoke = ResearchCycleConfig.model_validate(
        {
            "archive": archive,
            "name": "acrima",
            "preset": "smoke",
            "workspace": tmp_path / "workspace",
            "train": {"epochs": 4},
        }
    )
    record = research_cycle(smoke).record
    assert record.dataset.layout == "acrima"
    assert (record.dataset.images, record.dataset.synthetic) == (181, False)
    for experiment in record.experiments:
        auc = experiment.metric("auc")
        assert auc is not None
        assert auc.value is not None
        assert auc.low is not None
        assert auc.high is not None
        assert 0 <= auc.low <= auc.value <= auc.high <= 1
        dri = experiment.dri[Split.VAL]["dri"]
        assert dri.value is None
        assert dri.reason
