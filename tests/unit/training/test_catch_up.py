import json
import math
import statistics
from datetime import UTC, datetime
from pathlib import Path

import pytest

from glaucoma.errors import IntegrityError
from glaucoma.schema import Task
from glaucoma.training.catch_up import FILE, Bar, bar_for, curve, medians
from glaucoma.training.experiment import Experiment, Status, create_experiment


def lines(scores, epochs=None, name="auc"):
    epochs = epochs or len(scores)
    return [
        {"time": datetime.now(UTC).isoformat(), "epoch": epoch, "epochs": epochs, "val": {"loss": 1.0, name: score}}
        for epoch, score in enumerate(scores, start=1)
    ]


def write_lines(experiment: Experiment, entries) -> None:
    experiment.progress_path.write_text("".join(json.dumps(entry) + "\n" for entry in entries))


@pytest.fixture
def finished(workspace, make_spec):
    """Makes a completed experiment with these validation scores, one an epoch."""
    seeds: list[int] = []

    def make(scores, status=Status.COMPLETED, task=Task.CLASSIFICATION, epochs=None, key=None) -> Experiment:
        seeds.append(len(seeds))
        spec = make_spec(task, seed=100 + len(seeds))
        spec = spec.model_copy(update={"prepared_key": key or spec.prepared_key})
        experiment = create_experiment(spec, workspace)
        write_lines(experiment, lines(scores, epochs, "auc" if task is Task.CLASSIFICATION else "dice_mean"))
        experiment.set_status(status)
        return experiment

    return make


@pytest.fixture
def judged(workspace, make_spec):
    return create_experiment(make_spec(epochs=6, catch_up_margin=0.1), workspace)


def test_the_bar_is_the_median_of_the_best_scores_so_far(finished, judged, workspace):
    courses = [[0.5, 0.9, 0.7, 0.7, 0.7, 0.7], [0.6, 0.6, 0.6, 0.8, 0.8, 0.8], [0.4, 0.5, 0.6, 0.7, 0.8, 0.95]]
    for scores in courses:
        finished(scores)
    bar = bar_for(judged, workspace)
    expected = [(e / 6, statistics.median(max(scores[:e]) for scores in courses)) for e in range(2, 7)]
    assert bar.points == [pytest.approx(point) for point in expected]
    assert len(bar.records) == 3


def test_records_of_other_lengths_count_by_their_share_of_the_epochs():
    short, long = [(1 / 2, 0.6), (1.0, 0.8)], [(e / 12, e / 12) for e in range(1, 13)]
    ended_early = [(1 / 12, 0.3), (2 / 12, 0.5)]
    assert medians([short, long, ended_early], 4) == [
        (0.5, pytest.approx(0.5)),
        (0.75, pytest.approx(0.6)),
        (1.0, pytest.approx(0.8)),
    ]


def test_only_finished_experiments_of_the_same_task_and_data_count(finished, judged, workspace):
    for _ in range(2):
        finished([0.9] * 6)
    finished([0.9] * 6, status=Status.FAILED)
    finished([0.9] * 6, task=Task.SEGMENTATION)
    finished([0.9] * 6, key="fedcba9876543210")
    bar = bar_for(judged, workspace)
    assert len(bar.records) == 2
    assert bar.points == []
    assert bar.hopeless(1.0, 0.0) == ""


def test_a_training_is_judged_by_margin_and_only_after_a_third_of_its_epochs():
    bar = Bar(experiment_id="x", margin=0.1, points=[(0.25, 0.9), (0.5, 0.9), (1.0, 0.95)], records=["a", "b", "c"])
    assert bar.hopeless(0.3, 0.1) == ""
    assert bar.hopeless(0.5, 0.81) == ""
    assert bar.hopeless(0.99, 0.81) == "", "between two points the earlier one counts"
    reason = bar.hopeless(0.5, 0.79)
    assert "0.7900" in reason
    assert "0.9000" in reason
    assert "3 finished experiments" in reason
    assert bar.hopeless(1.0, 0.84)


@pytest.mark.parametrize("undefined", [math.nan, -math.inf])
def test_an_undefined_score_ends_nothing(undefined):
    bar = Bar(experiment_id="x", margin=0.0, points=[(0.5, 0.9)], records=["a", "b", "c"])
    assert bar.hopeless(0.5, undefined) == ""


def test_without_a_margin_nothing_is_written_and_nothing_ends(finished, workspace, make_spec):
    for _ in range(3):
        finished([0.9] * 6)
    experiment = create_experiment(make_spec(), workspace)
    assert bar_for(experiment, workspace).hopeless(1.0, 0.0) == ""
    assert not (experiment.folder / "config" / FILE).exists()


def test_once_written_the_bar_stays_whatever_is_finished_later(finished, judged, workspace):
    for _ in range(3):
        finished([0.6] * 6)
    first = bar_for(judged, workspace)
    others = [finished([0.99] * 6) for _ in range(4)]
    assert bar_for(judged, workspace) == first
    others[0].progress_path.write_bytes(b"")
    assert bar_for(judged, workspace) == first


def test_an_experiment_is_no_record_for_itself(finished, judged, workspace):
    for _ in range(2):
        finished([0.9] * 6)
    write_lines(judged, lines([0.9] * 6))
    judged.set_status(Status.COMPLETED)
    assert len(bar_for(judged, workspace).records) == 2


def test_segmentation_is_judged_by_the_mean_dice(finished, workspace, make_spec):
    for score in (0.5, 0.7, 0.8):
        finished([score] * 3, task=Task.SEGMENTATION)
    experiment = create_experiment(make_spec(Task.SEGMENTATION, catch_up_margin=0.05), workspace)
    assert bar_for(experiment, workspace).points[-1] == (1.0, 0.7)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xfe\x00 not text at all\n",
        b'{"val": 5}\n[["val"]]\n"val"\nnull\n',
        b'{"time": "2026-01-01T00:00:00Z", "epoch": 1, "epochs": 3, "val": {"auc": 1e308}}\n',
        b'{"time": "2026-01-01T00:00:00Z", "epoch": 1, "epochs": 3, "val": {"auc": NaN}}\n',
        b'{"time": "2026-01-01T00:00:00Z", "epoch": 9, "epochs": 3, "val": {"auc": 0.9}}\n',
        b'{"time": "2026-01-01T00:00:00Z", "epoch": -1, "epochs": 0, "val": {"auc": 0.9}}\n',
        b'{"time": "2026-01-01T00:00:00Z", "epoch": 1, "epochs": 3, "val": {"auc": 0.9}}\n'
        b'{"time": "2026-01-01T00:00:00Z", "epoch": 2, "epochs": 4, "val": {"auc": 0.9}}\n',
        b'{"val": ' + b"[" * 150_000 + b"\n",
    ],
)
def test_a_hostile_progress_file_is_left_out_with_its_reason(content, finished, judged, workspace):
    for _ in range(3):
        finished([0.6] * 6)
    hostile = finished([0.9] * 6)
    hostile.progress_path.write_bytes(content)
    bar = bar_for(judged, workspace)
    assert hostile.experiment_id in bar.left_out
    assert bar.points[-1] == (1.0, 0.6)


def test_a_progress_file_that_is_a_link_a_folder_or_gone_is_left_out(finished, judged, workspace, tmp_path):
    linked, folder, gone = (finished([0.9] * 6) for _ in range(3))
    (tmp_path / "outside").write_bytes(linked.progress_path.read_bytes())
    for experiment in (linked, folder, gone):
        experiment.progress_path.unlink()
    linked.progress_path.symlink_to(tmp_path / "outside")
    folder.progress_path.mkdir()
    bar = bar_for(judged, workspace)
    assert set(bar.left_out) == {one.experiment_id for one in (linked, folder, gone)}
    assert bar.points == []


def test_a_neighbour_with_damaged_metadata_is_left_out(finished, judged, workspace):
    for _ in range(3):
        finished([0.6] * 6)
    other = finished([0.9] * 6)
    other.metadata_path.write_text("{")
    assert other.experiment_id in bar_for(judged, workspace).left_out


def test_a_torn_line_and_epochs_done_twice_change_nothing(finished):
    experiment = finished([0.5, 0.7, 0.6])
    before = curve(experiment.progress_path, "auc")
    entries = lines([0.5, 0.7, 0.6])
    whole = [json.dumps(entry) for entry in [*entries[:2], *entries[1:]]]
    experiment.progress_path.write_text("\n".join([whole[0], whole[1], whole[1][:40], *whole[2:]]) + "\n")
    assert curve(experiment.progress_path, "auc") == before == [(1 / 3, 0.5), (2 / 3, 0.7), (1.0, 0.7)]


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        '{"experiment_id": "another", "margin": 0.1}',
        '{"experiment_id": "ID", "margin": 0.9}',
        '{"experiment_id": "ID", "margin": 0.1, "points": [[0.5, 7]]}',
        '{"experiment_id": "ID", "margin": 0.1, "points": [[0.5, 0.5], [0.4, 0.5]]}',
        '{"experiment_id": "ID", "margin": 0.1, "points": [["x", null]]}',
        '{"experiment_id": "ID", "margin": 0.1, "unknown": 1}',
    ],
)
def test_a_damaged_bar_stops_the_training_with_the_remedy(content, judged, workspace):
    path = judged.folder / "config" / FILE
    path.write_text(content.replace("ID", judged.experiment_id))
    with pytest.raises(IntegrityError, match="Remedy: remove that file") as caught:
        bar_for(judged, workspace)
    assert str(path) in str(caught.value)


def test_a_bar_that_is_a_link_is_refused(judged, workspace, tmp_path: Path):
    (judged.folder / "config" / FILE).symlink_to(tmp_path / "nowhere")
    with pytest.raises(IntegrityError, match="no plain file"):
        bar_for(judged, workspace)


def test_many_epochs_and_records_give_a_bar_of_bounded_size():
    curves = [[(e / 10_000, 0.5) for e in range(1, 10_001, 100)]] * 3
    assert len(medians(curves, 10_000)) <= 200
