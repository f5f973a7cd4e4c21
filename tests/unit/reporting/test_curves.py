"""A training while it runs: which epochs it has, as rows and as one picture."""

from __future__ import annotations

import base64
import io
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from PIL import Image

from glaucoma.reporting.curves import MAX_PICTURE_BYTES, curves_png, epoch_row, epochs_of, png_uri
from glaucoma.training.progress_log import TrainingProgress

NOW = datetime(2026, 1, 5, tzinfo=UTC)
STEPS = 4


def line(epoch: int, **more: Any) -> TrainingProgress:
    """The line at the end of an epoch of four steps."""
    values = {"epoch": epoch, "epochs": 10, "step": STEPS * epoch, "loss": 1 / epoch, "val": {"loss": 0.5, "auc": 0.8}}
    return TrainingProgress.model_validate({"time": NOW, **values, **more})


def event(name: str, step: int = 0) -> TrainingProgress:
    return TrainingProgress(time=NOW, event=name, step=step)


def test_an_epoch_that_was_run_twice_stands_once_as_it_was_the_last_time() -> None:
    lines = [event("start"), line(1), line(2), event("resume", STEPS), line(2, loss=0.25)]
    assert [(one.epoch, one.loss) for one in epochs_of(lines)] == [(1, 1.0), (2, 0.25)]


def test_a_training_that_resumes_before_its_last_epochs_has_lost_them_until_they_are_done_again() -> None:
    lines = [event("start"), line(1), line(2), line(3), event("resume", STEPS + 2)]
    assert [one.epoch for one in epochs_of(lines)] == [1]
    assert [one.epoch for one in epochs_of([*lines, line(2)])] == [1, 2]


def test_a_training_that_resumes_after_its_last_step_keeps_all_epochs() -> None:
    assert [one.epoch for one in epochs_of([line(9), line(10), event("resume", 10 * STEPS)])] == [9, 10]


def test_a_training_that_begins_anew_has_no_epochs_yet() -> None:
    assert epochs_of([event("start"), line(1), line(2), event("begin"), event("start")]) == []


def test_steps_and_other_events_are_no_epochs() -> None:
    assert [one.epoch for one in epochs_of([event("waiting"), line(1, val=None), line(1)])] == [1]


def test_a_row_has_a_dash_where_there_is_no_number() -> None:
    row = epoch_row(line(3, lr=1e-3, wait_share=0.25, val={"loss": 0.5, "auc": None}))
    assert row == {
        "epoch": 3,
        "loss": "0.3333",
        "validation loss": "0.5",
        "validation auc": "-",
        "learning rate": "0.001",
        "images/s": "-",
        "GPU memory MB": "-",
        "GPU busy %": "-",
        "waited for data %": "25",
    }


def picture(content: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))


@pytest.mark.parametrize("number", [0, 1, 2, 1000])
def test_the_picture_is_a_png_of_one_size_small_enough_for_a_page(number: int) -> None:
    epochs = [line(n, epochs=1000, images_per_s=100.0 + n % 7, lr=1e-3) for n in range(1, number + 1)]
    content = curves_png("cls-small_cnn-0123abcd", epochs)
    assert picture(content).shape == (448, 768, 3)
    assert len(content) < MAX_PICTURE_BYTES / 2


def test_a_score_that_is_better_stands_higher_in_the_picture() -> None:
    def height(score: float) -> float:
        anchors = [line(1, val={"": 0.0}), line(2, val={"": 1.0})]  # no name: no legend
        image = picture(curves_png("x", [*anchors, line(9, val={"": score})])).astype(int)
        panel = image[:224, 384:]
        right = panel[:, 250:]
        blue = (abs(right - np.array([0x1F, 0x5F, 0xA8])).sum(axis=2) < 60).nonzero()
        return float(blue[0][blue[1] == blue[1].max()].mean())

    assert height(0.9) < height(0.5) < height(0.1)


def test_undefined_numbers_leave_a_gap_and_no_error() -> None:
    epochs = [line(1), line(2, loss=None, val={"loss": None, "auc": None}), line(3)]
    assert curves_png("x", epochs)


def test_an_address_holds_the_picture_and_refuses_one_that_is_too_large() -> None:
    uri = png_uri(b"\x89PNG")
    assert uri == "data:image/png;base64," + base64.b64encode(b"\x89PNG").decode()
    with pytest.raises(ValueError, match="more than 200000"):
        png_uri(bytes(MAX_PICTURE_BYTES + 1))
