# ruff: noqa: E501  (example data reads best a line each)

from __future__ import annotations

import io
import math
from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from glaucoma.evaluation.result import Metric
from glaucoma.records.ledger import LedgerExperiment
from glaucoma.records.record import CycleRecord
from glaucoma.reporting.plots import Curve, interval_bar, roc_band, split_bars, training_chart
from glaucoma.reporting.svg import Chart, nice_ticks, tag
from glaucoma.reporting.table import experiments_table, ledger_table
from glaucoma.reporting.views import settings_of
from glaucoma.reporting.words import count_text, duration_text, interval_text, moment_text, number_text
from glaucoma.schema import Task
from glaucoma.training.loss_settings import LossOptions
from glaucoma.training.settings import ClinicalValue, TrainSettings
from glaucoma.training.spec import spec_from

NOW = datetime(2026, 1, 5, 8, 0, tzinfo=UTC)


@given(st.floats(-1e6, 1e6), st.floats(1e-6, 1e6), st.integers(1, 10))
def test_ticks_cover_the_range_evenly_with_round_numbers(low: float, span: float, about: int) -> None:
    high = low + span
    if not high > low:
        return
    ticks = nice_ticks(low, high, about)
    step = (ticks[-1] - ticks[0]) / (len(ticks) - 1)
    assert ticks[0] <= low + 1e-6 * step
    assert ticks[-1] >= high - 1e-6 * step
    assert len(ticks) <= about + 3
    assert np.allclose(np.diff(ticks), step)


def test_a_range_without_extent_has_one_tick() -> None:
    assert nice_ticks(2.0, 2.0) == [2.0]


def test_text_and_attributes_are_escaped_in_drawings() -> None:
    chart = Chart("<script>", x=(0, 1), y=(0, 1))
    chart.text(0, 0, "<b>&")
    drawn = str(chart.render())
    assert "<script>" not in drawn
    assert "&lt;b&gt;&amp;" in drawn
    assert 'a="&#34;&lt;"' in str(tag("x", a='"<'))


def test_a_line_breaks_where_a_value_is_missing() -> None:
    chart = Chart("line", x=(0, 3), y=(0, 1))
    chart.line([(0, 0), (1, math.nan), (2, 1), (3, 0)], "c0")
    assert str(chart.parts[0]).count("M") == 2


def test_an_undefined_number_draws_no_dot_and_no_interval() -> None:
    drawn = str(interval_bar(Metric(value=None, n=0, n_expected=3, reason="one class")))
    assert "circle" not in drawn
    assert "undefined (one class)" in drawn
    assert "circle" in str(interval_bar(Metric(value=0.4, n=3, n_expected=3)))


def test_curves_with_nothing_or_one_epoch_are_drawn() -> None:
    one = Curve("one", "c0", np.array([1.0]), np.array([0.5]))
    assert "circle" in str(training_chart([one], "Loss"))
    empty = Curve("none", "c0", np.zeros(0), np.zeros(0))
    assert "<svg" in str(training_chart([empty], "Loss"))


def test_the_band_holds_the_curve_and_is_repeatable() -> None:
    rng = np.random.default_rng(0)
    labels = (np.arange(80) % 2).astype(float)
    scores = rng.normal(0, 1, 80) + 1.5 * labels
    groups = np.arange(80) // 2
    band = roc_band(labels, scores, groups)
    assert band is not None
    _, low, high = band
    assert (low <= high).all()
    assert high[0] >= 0
    assert (low[-1], high[-1]) == (1, 1)
    again = roc_band(labels, scores, groups)
    assert again is not None
    assert np.array_equal(low, again[1])
    assert roc_band(np.ones(80), scores, groups) is None
    assert roc_band(labels[:4], scores[:4], groups[:4]) is None


def test_split_bars_need_images() -> None:
    assert split_bars({"train": {"normal": 0}}) == ""
    drawn = str(split_bars({"train": {"normal": 6, 'odd"label': 2}}))
    assert "bar unknown" in drawn
    assert "8</text>" in drawn


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(None, "–"), (0.84, "0.8 s"), (43.2, "43 s"), (200, "3 min 20 s"), (3600, "1 h"), (90061, "1 d 1 h")],
)
def test_times_are_short(seconds: float | None, words: str) -> None:
    assert duration_text(seconds) == words


def test_numbers_intervals_and_counts_read_well() -> None:
    assert [number_text(v) for v in (None, 0.9, -0.0123, 9.4)] == ["–", "0.900", "−0.012", "9.40"]
    assert interval_text(Metric(value=0.5, low=0.4, high=0.6, n=1, n_expected=1)) == "0.400 to 0.600"
    assert interval_text(Metric(value=0.5, n=1, n_expected=1)) == ""
    assert count_text(Metric(value=0.5, n=1, n_expected=1)) == "1 image"
    assert count_text(Metric(value=0.5, n=4, n_expected=5)) == "4 of 5 images"
    assert moment_text(NOW) == "5 January 2026, 08:00 UTC"


def entry(name: str, **changes: object) -> LedgerExperiment:
    values: dict[str, object] = {
        "experiment_id": name, "task": "classification", "dataset": "eyes", "prepared_key": "p", "spec": {}, "model": "m",
        "seed": 0, "status": "completed", "created_at": NOW, "duration_s": 43.0, "novelty": "exploit", "primary_score": 0.91,
        "val_metrics": {"auc": {"value": 0.91, "low": 0.85, "high": 0.96, "n": 9, "n_expected": 9}},
    }  # fmt: skip
    return LedgerExperiment.model_validate(values | changes)


def test_the_table_fits_eighty_columns_and_cuts_no_id() -> None:
    long = "seg-tu-tf_mobilenetv3_small_minimal_100-9835b5e5"
    out = io.StringIO()
    rows = [
        entry(long),
        entry("cls-[red]x[/red]-1", status="failed", primary_score=None, val_metrics={}, duration_s=None, novelty=None),
        entry(
            "seg-resnet34-1", task="segmentation", val_metrics={"mean_dice": {"value": 0.88, "n": 9, "n_expected": 9}}
        ),
    ]
    Console(file=out, width=80).print(ledger_table(rows))
    lines = out.getvalue().splitlines()
    assert max(len(line.rstrip()) for line in lines) <= 80
    assert long in "".join(line[: len(line)].split()[0] for line in lines[1:] if line.strip())[: len(long)]
    assert "AUC 0.910 (0.85–0.96)" in out.getvalue()
    assert "Dice 0.880" in out.getvalue()
    assert "cls-[red]x" in out.getvalue().replace("\n", "")
    assert "by hand" in out.getvalue()


def test_the_table_of_a_cycle_marks_its_best(cycle: CycleRecord) -> None:
    table = experiments_table(cycle)
    assert table.row_count == len(cycle.experiments)
    out = io.StringIO()
    Console(file=out, width=80, force_terminal=True, no_color=True).print(table)
    assert out.getvalue().count("\x1b[1m") >= len(cycle.best)


def test_the_settings_of_an_experiment_name_what_is_not_usual() -> None:
    usual = spec_from(TrainSettings.for_preset("smoke"), Task.CLASSIFICATION, "eyes", "0" * 16)
    other = usual.model_copy(update={"clinical": (*ClinicalValue,), "loss_options": LossOptions(focal_gamma=3)})
    shown, shown_other = (dict(settings_of(spec.model_dump(mode="json"))) for spec in (usual, other))
    more = {"clinical": "age years, iop mmhg", "loss: focal gamma": "3"}
    assert shown_other == shown | more
    assert not more.keys() & shown.keys()
