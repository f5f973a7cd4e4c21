# ruff: noqa: E501  (example data reads best a line each)

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from glaucoma.errors import ArcError
from glaucoma.records.record import CycleRecord
from glaucoma.records.words import CycleStatus
from glaucoma.reporting.report import render_report, write_report
from glaucoma.workspace import Workspace

VOID = {"meta", "img", "br", "link", "input", "hr"}


class Page(HTMLParser):
    """Reads a page as a browser would: text, tags, addresses; notes tags that are not closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text: list[str] = []
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.open: list[str] = []
        self.faults: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href", "action", "data")]
        if any(name.startswith("on") for name, _ in attrs):
            self.faults.append(f"{tag} has a handler")
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.faults.append(f"</{tag}> closes something else")

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("style", "script"):
            self.text.append(data)

    @property
    def words(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.text))


def test_the_report_is_whole_and_needs_nothing_from_outside(
    workspace: Workspace, cycle: CycleRecord, tmp_path: Path
) -> None:
    path = write_report(cycle, workspace, tmp_path / "report.html")
    text = path.read_text(encoding="utf-8")
    page = Page(text)
    assert page.faults == []
    assert page.open == []
    assert all(address.startswith(("#", "data:image/png;base64,")) for address in page.addresses)
    assert not {"script", "link", "iframe", "object", "form"} & set(page.tags)
    assert "url(" not in text
    assert "@import" not in text
    assert page.tags.count("img") == 12
    assert len(text) < 5_000_000


def test_the_report_says_what_the_record_says(workspace: Workspace, cycle: CycleRecord) -> None:
    words = Page(render_report(cycle, workspace)).words
    best = cycle.experiment(cycle.best[cycle.experiments[0].task])
    assert best is not None
    auc = best.metric("auc")
    assert auc is not None
    assert f"{auc.value:.3f}" in words
    assert f"{auc.low:.3f} to {auc.high:.3f}" in words
    for experiment in cycle.experiments:
        assert experiment.experiment_id in words
        assert experiment.reason in words
    for line in [*cycle.learned, *cycle.next, *cycle.dataset.warnings]:
        assert line in words
    assert "The loss became infinite in epoch 2" in words
    assert "22 of 24 images" in words
    assert "The test split was not looked at" in words
    assert "1 image where the model found no disc" in words
    assert "2 more in the experiment's folder" in words


def test_generated_photographs_are_called_so_and_real_ones_are_not(workspace: Workspace, cycle: CycleRecord) -> None:
    assert "The photographs are generated" in render_report(cycle, workspace)
    real = cycle.model_copy(update={"dataset": cycle.dataset.model_copy(update={"synthetic": False}), "preset": "base"})
    text = render_report(real, workspace)
    assert "generated" not in Page(text).words
    assert "smoke run" not in text


def test_an_undefined_value_shows_its_reason_and_no_number(workspace: Workspace, cycle: CycleRecord) -> None:
    words = Page(render_report(cycle, workspace)).words
    assert re.search(r"Calibration slope 1 is right – 0 of 60 images the logits separate", words)
    assert "site-b insufficient: 3 glaucoma and 6 normal photographs, 10 of each needed" in words


HOSTILE = "<img src=x onerror=alert(1)>\"'</style></title><script>alert(2)</script>{{ 7*7 }}"


def test_hostile_words_stay_words(workspace: Workspace, cycle: CycleRecord) -> None:
    dataset = cycle.dataset.model_copy(
        update={"name": HOSTILE, "layout": HOSTILE, "warnings": [HOSTILE], "grouping": HOSTILE,
                "counts_by_split": {HOSTILE: {HOSTILE: 3}}}
    )  # fmt: skip
    first = cycle.experiments[0].model_copy(
        update={"reason": HOSTILE, "model": HOSTILE, "failure": HOSTILE, "spec": {"loss": HOSTILE}}
    )
    record = cycle.model_copy(
        update={"dataset": dataset, "experiments": [first, *cycle.experiments[1:]], "learned": [HOSTILE], "next": [HOSTILE],
                "failure": HOSTILE, "versions": {HOSTILE: HOSTILE}, "config": {HOSTILE: HOSTILE}}
    )  # fmt: skip
    page = Page(render_report(record, workspace))
    assert page.faults == []
    assert "script" not in page.tags
    assert "x" not in page.addresses
    assert HOSTILE in page.words


def test_without_any_file_the_report_says_what_is_missing(cycle: CycleRecord, tmp_path: Path) -> None:
    words = Page(render_report(cycle, Workspace.at(tmp_path / "empty"))).words
    assert "No training log with a finished epoch was kept" in words
    assert "No overlays" in words


def test_a_cycle_that_failed_before_any_experiment_has_a_report(cycle: CycleRecord, tmp_path: Path) -> None:
    failed = cycle.model_copy(
        update={"status": CycleStatus.FAILED, "failure": "Validation failed.", "experiments": [], "best": {},
                "comparisons": [], "learned": [], "next": []}
    )  # fmt: skip
    page = Page(render_report(failed, Workspace.at(tmp_path / "empty")))
    assert page.faults == []
    assert "Validation failed." in page.words
    assert "No experiment was run" in page.words


def test_a_picture_outside_the_experiment_is_not_taken_in(
    workspace: Workspace, cycle: CycleRecord, tmp_path: Path
) -> None:
    (tmp_path / "secret.png").write_bytes(b"\x89PNG secret")
    folder = workspace.experiments / cycle.experiments[0].experiment_id / "visualizations" / "val"
    best = [workspace.experiments / name / "visualizations" / "val" for name in cycle.best.values()]
    for place in {folder, *best}:
        path = place / "explanation.json"
        path.write_text(path.read_text().replace('"i000.png"', '"../../../../../secret.png"'))
    assert "c2VjcmV0" not in render_report(cycle, workspace)


def test_a_damaged_result_stops_the_report_and_leaves_the_old_one(
    workspace: Workspace, cycle: CycleRecord, tmp_path: Path
) -> None:
    path = tmp_path / "report.html"
    path.write_text("the old one")
    (workspace.experiments / cycle.experiments[0].experiment_id / "results" / "val" / "metrics.json").write_text("{")
    with pytest.raises(ArcError, match="cannot be read"):
        write_report(cycle, workspace, path)
    assert path.read_text() == "the old one"


def test_test_metrics_stand_beside_those_of_validation(workspace: Workspace, cycle: CycleRecord) -> None:
    best = cycle.best[cycle.experiments[0].task]
    tested = [
        e.model_copy(update={"metrics": {**e.metrics, "test": e.metrics["val"]}}) if e.experiment_id == best else e
        for e in cycle.experiments
    ]
    words = Page(render_report(cycle.model_copy(update={"experiments": tested, "test_looks": 1}), workspace)).words
    assert "Metric Validation Test" in words
    assert "looked at 1 time." in words
