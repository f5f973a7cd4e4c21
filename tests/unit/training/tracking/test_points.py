"""Lines of progress become points, each once, whatever happened to the file."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from glaucoma.training.progress_log import TrainingProgress, read_progress
from glaucoma.training.tracking.points import Logged, Point, ProgressFile, flat, point_of

NOW = datetime(2026, 1, 2, tzinfo=UTC)


def line(**fields):
    return TrainingProgress(time=NOW, **fields)


def point(step, validated=False):
    return Point(step, NOW, {}, validated)


def test_a_step_has_what_its_line_has():
    found = point_of(line(step=7, epoch=2, loss=0.5, lr=1e-3, images_per_s=9.0, gpu_memory_mb=100.0, wait_share=0.1))
    assert found == Point(
        7,
        NOW,
        {
            "train/loss": 0.5,
            "train/learning_rate": 1e-3,
            "train/epoch": 2,
            "speed/images_per_s": 9.0,
            "gpu/memory_mb": 100.0,
            "speed/wait_share": 0.1,
        },
        validated=False,
    )


def test_an_undefined_score_is_left_out_and_no_zero():
    found = point_of(line(step=4, epoch=1, loss=0.5, val={"loss": 0.25, "auc": None}))
    assert found is not None
    assert found.validated
    assert found.values == {"train/loss": 0.5, "train/epoch": 1, "val/loss": 0.25}


@pytest.mark.parametrize("fields", [{"event": "resume", "loss": 0.5, "step": 3}, {"step": 0}])
def test_a_turn_and_a_line_before_the_first_step_are_no_points(fields):
    assert point_of(line(**fields)) is None


def test_steps_taken_again_are_known():
    logged = Logged().and_then(point(4)).and_then(point(4, True)).and_then(point(5))
    assert [logged.knows(p) for p in (point(4), point(5), point(4, True), point(6), point(8, True))] == [
        True, True, True, False, False,
    ]  # fmt: skip


def test_an_epochs_line_is_not_known_by_its_step_alone():
    assert not Logged().and_then(point(4)).knows(point(4, True))


def test_the_file_is_read_as_it_grows_and_torn_lines_are_passed_over(tmp_path):
    path = tmp_path / "progress.jsonl"
    source = ProgressFile(path)
    assert list(source.points()) == []
    lines = [line(step=n, loss=1.0).model_dump_json() + "\n" for n in (1, 2, 3)]
    path.write_text(lines[0] + lines[1][:20])
    assert [p.step for p in source.points()] == [1]
    with path.open("a") as handle:
        handle.write(lines[1][20:])
    assert [p.step for p in source.points()] == [2]
    with path.open("a") as handle:
        handle.write('{"time": "2026-01-0\n' + lines[2])
    assert [p.step for p in source.points()] == [3]
    source.rewind()
    assert [p.step for p in source.points()] == [1, 2, 3]


def test_what_is_left_for_later_comes_later(tmp_path, experiment, write_progress):
    write_progress(experiment)
    source = ProgressFile(experiment.progress_path)
    first = next(source.points())
    rest = list(source.points())
    steps = [p.step for p in read_progress(experiment.progress_path) if p.event is None]
    assert [first.step, *(p.step for p in rest)] == steps


def test_nested_settings_become_one_level(spec):
    values = flat(spec.model_dump(mode="json"))
    assert values["loss_options.focal_gamma"] == spec.loss_options.focal_gamma
    assert values["model"] == "small_cnn"
    json.dumps(values)
