from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from glaucoma.datasets.docs_offline import write_index
from glaucoma.datasets.expectations import Severity, dataset_rules
from glaucoma.datasets.judgement import judge
from glaucoma.datasets.validate import require_valid, validate
from glaucoma.datasets.validation_settings import ValidateSettings
from glaucoma.errors import NotFoundError, ValidationFailedError
from glaucoma.provenance import StageOutput, file_sha256
from glaucoma.schema import Column
from glaucoma.workspace import Workspace

Rows = list[dict[str, Any]]
MakeDataset = Callable[..., Path]


def run(dataset: Path, workspace: Workspace, **settings: Any) -> StageOutput:
    return validate(dataset, "tiny", workspace, ValidateSettings(**settings))


def rules_of(failures: Rows) -> set[str]:
    return {failure["rule"] for failure in failures}


def test_a_sound_dataset_passes_with_docs_and_a_row_per_image(make_dataset: MakeDataset, workspace: Workspace) -> None:
    output = run(make_dataset(), workspace)
    details = output.record.details
    assert details["passed"]
    assert details["critical"] == []
    assert details["expectations"] == 30
    assert all(rule["passed"] for rule in details["rules"] if rule["severity"] == "critical")
    checks = pd.read_csv(output.folder / "checks.csv")
    assert list(checks["image_id"]) == [f"im{index:03d}" for index in range(12)]
    assert checks["vertical_cdr"].to_numpy() == pytest.approx(13 / 25)
    docs = output.folder / details["data_docs"]
    assert docs.is_file()
    assert list((docs.parent / "validations").rglob("*.html"))
    require_valid(output)


def test_a_second_call_finds_the_first_one_s_output(make_dataset: MakeDataset, workspace: Workspace) -> None:
    dataset = make_dataset()
    assert not run(dataset, workspace).reused
    assert run(dataset, workspace).reused


def patient_in_two_splits(rows: Rows, folder: Path) -> None:
    rows[2][Column.PATIENT_ID] = rows[0][Column.PATIENT_ID]


def group_in_two_splits(rows: Rows, folder: Path) -> None:
    rows[2][Column.GROUP] = rows[0][Column.GROUP]


def pixels_in_two_splits(rows: Rows, folder: Path) -> None:
    rows[2][Column.PIXEL_SHA256] = rows[0][Column.PIXEL_SHA256]


def near_duplicate(rows: Rows, folder: Path) -> None:
    rows[2][Column.PERCEPTUAL_HASH] = f"{int(rows[0][Column.PERCEPTUAL_HASH], 16) ^ 0xFFFF:064x}"


def same_bytes(rows: Rows, folder: Path) -> None:
    (folder / rows[2][Column.IMAGE]).write_bytes((folder / rows[0][Column.IMAGE]).read_bytes())
    rows[2][Column.SHA256] = rows[0][Column.SHA256]


def unreadable(rows: Rows, folder: Path) -> None:
    (folder / rows[2][Column.IMAGE]).write_bytes(b"gone")


def other_bytes(rows: Rows, folder: Path) -> None:
    cv2.imwrite(str(folder / rows[2][Column.IMAGE]), np.full((128, 128, 3), (40, 90, 180), np.uint8))


def wrong_size(rows: Rows, folder: Path) -> None:
    rows[2][Column.WIDTH] = 129


def mask_of_other_size(rows: Rows, folder: Path) -> None:
    cv2.imwrite(str(folder / rows[2][Column.MASK]), np.zeros((64, 64), np.uint8))


def mask_with_other_values(rows: Rows, folder: Path) -> None:
    path = str(folder / rows[2][Column.MASK])
    mask = cv2.imread(path, cv2.IMREAD_UNCHANGED)
    mask[0, 0] = 128
    cv2.imwrite(path, mask)


def cup_outside(rows: Rows, folder: Path) -> None:
    mask = np.zeros((128, 128), np.uint8)
    mask[10:30, 10:30], mask[60:80, 60:80] = 1, 2
    cv2.imwrite(str(folder / rows[2][Column.MASK]), mask)


def mask_gone(rows: Rows, folder: Path) -> None:
    (folder / rows[2][Column.MASK]).unlink()


def no_glaucoma_in_val(rows: Rows, folder: Path) -> None:
    for row in rows:
        if row[Column.SPLIT] == "val" and row[Column.LABEL] == "glaucoma":
            row[Column.SPLIT] = "train"


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        (patient_in_two_splits, "patient_in_one_split"),
        (group_in_two_splits, "group_in_one_split"),
        (pixels_in_two_splits, "pixels_in_one_split"),
        (same_bytes, "bytes_in_one_split"),
        (near_duplicate, "no_near_duplicate_across_splits"),
        (unreadable, "readable"),
        (other_bytes, "sha256_matches"),
        (wrong_size, "size_matches"),
        (mask_of_other_size, "mask_size_matches"),
        (mask_with_other_values, "mask_values_ok"),
        (cup_outside, "cup_inside_disc"),
        (mask_gone, "mask_readable"),
        (no_glaucoma_in_val, "classes_in_every_split"),
    ],
)
def test_each_fault_is_critical_and_names_its_image(
    make_dataset: MakeDataset, workspace: Workspace, change: Callable[[Rows, Path], None], rule: str
) -> None:
    output = run(make_dataset(change), workspace)
    failure = next(one for one in output.record.details["critical"] if one["rule"] == rule)
    assert not output.record.details["passed"]
    if rule != "classes_in_every_split":
        assert "im002" in failure["images"]
        assert failure["n"] == len(failure["images"])
    with pytest.raises(ValidationFailedError, match=failure["says"]):
        require_valid(output)


def test_all_critical_failures_are_listed_not_only_the_first(make_dataset: MakeDataset, workspace: Workspace) -> None:
    def change(rows: Rows, folder: Path) -> None:
        patient_in_two_splits(rows, folder)
        (folder / rows[5][Column.IMAGE]).write_bytes(b"")
        (folder / rows[7][Column.MASK]).unlink()

    output = run(make_dataset(change), workspace)
    assert rules_of(output.record.details["critical"]) == {"patient_in_one_split", "readable", "mask_readable"}
    assert set(output.record.details["unreadable"]) == {"im005", "im007"}
    with pytest.raises(ValidationFailedError) as raised:
        require_valid(output)
    message = str(raised.value)
    assert message.startswith("3 critical checks failed: (1)")
    assert all(name in message for name in ("im000, im002", "im005", "im007", "checks.csv"))


def test_only_the_first_twenty_of_many_images_are_listed_with_their_number(
    make_dataset: MakeDataset, workspace: Workspace
) -> None:
    def change(rows: Rows, folder: Path) -> None:
        for row in rows:
            row[Column.HEIGHT] = 127

    output = run(make_dataset(change, number=24), workspace)
    (failure,) = output.record.details["critical"]
    assert len(failure["images"]) == 20
    assert failure["n"] == 24
    with pytest.raises(ValidationFailedError, match="im019 and 4 more"):
        require_valid(output)


def test_a_poor_photograph_warns_and_the_dataset_still_passes(make_dataset: MakeDataset, workspace: Workspace) -> None:
    def change(rows: Rows, folder: Path) -> None:
        cv2.imwrite(str(folder / rows[2][Column.IMAGE]), np.full((128, 128, 3), 240, np.uint8))
        rows[2][Column.SHA256] = file_sha256(folder / rows[2][Column.IMAGE])

    output = run(make_dataset(change), workspace)
    assert output.record.details["passed"]
    assert {"brightness", "contrast", "entropy", "in_colour"} <= rules_of(output.record.details["warnings"])
    require_valid(output)


def test_the_same_pixels_under_two_labels_warn(make_dataset: MakeDataset, workspace: Workspace) -> None:
    def change(rows: Rows, folder: Path) -> None:
        rows[1][Column.PIXEL_SHA256] = rows[0][Column.PIXEL_SHA256]

    details = run(make_dataset(change), workspace).record.details
    assert details["passed"]
    assert "one_label_per_photograph" in rules_of(details["warnings"])


def test_classes_that_differ_in_colour_warn(make_dataset: MakeDataset, workspace: Workspace) -> None:
    def change(rows: Rows, folder: Path) -> None:
        for row in rows[1::2]:
            path = folder / row[Column.IMAGE]
            picture = cv2.imread(str(path)).astype(float) * (0.4, 1.3, 1.0)
            cv2.imwrite(str(path), np.clip(picture, 0, 255).astype(np.uint8))
            row[Column.SHA256] = file_sha256(path)

    details = run(make_dataset(change, number=30), workspace).record.details
    warned = [one for one in details["warnings"] if one["rule"] == "alike_redness"]
    assert "normal" in warned[0]["observed"]
    assert "glaucoma" in warned[0]["observed"]


def test_masks_without_labels_need_no_class_in_every_split(make_dataset: MakeDataset, workspace: Workspace) -> None:
    def change(rows: Rows, folder: Path) -> None:
        for row in rows:
            row[Column.LABEL] = "unknown"

    details = run(make_dataset(change), workspace).record.details
    assert details["passed"]
    assert details["expectations"] == 29


def test_drift_against_an_earlier_dataset_warns(make_dataset: MakeDataset, workspace: Workspace) -> None:
    def darken(rows: Rows, folder: Path) -> None:
        for row in rows:
            path = folder / row[Column.IMAGE]
            cv2.imwrite(str(path), (cv2.imread(str(path)) * 0.6).astype(np.uint8))
            row[Column.SHA256] = file_sha256(path)

    earlier = run(make_dataset(number=12), workspace)
    later = make_dataset(darken, number=12, key="fedcba9876543210")
    output = validate(later, "tiny", workspace, ValidateSettings(), reference=earlier.folder)
    assert output.record.inputs["reference_sha256"]
    assert "alike_brightness" in rules_of(output.record.details["warnings"])
    with pytest.raises(NotFoundError, match="earlier validation"):
        validate(later, "tiny", workspace, ValidateSettings(), reference=later)


def test_the_number_of_threads_changes_no_fact(make_dataset: MakeDataset, tmp_path: Path) -> None:
    dataset = make_dataset()
    one, four = (
        validate(dataset, "tiny", Workspace.at(tmp_path / str(n)), ValidateSettings(), workers=n) for n in (1, 4)
    )
    assert (one.folder / "checks.csv").read_bytes() == (four.folder / "checks.csv").read_bytes()


def test_the_data_docs_fetch_nothing_and_their_index_lists_every_check(
    make_dataset: MakeDataset, workspace: Workspace
) -> None:
    docs = run(make_dataset(patient_in_two_splits), workspace).folder / "data_docs"
    pages = list(docs.rglob("*.html"))
    assert len(pages) == 3
    for page in [*pages, *docs.rglob("*.css")]:
        text = page.read_text()
        assert not re.search(r"""(src|data-src)\s*=\s*["']?(https?:)?//|url\(\s*["']?https?:|@import""", text)
        assert not re.search(r"""<link[^>]*href=["'](https?:)?//|<script""", text)
    index = (docs / "index.html").read_text()
    assert "no patient stands in two splits" in index
    assert index.index("does not hold") < index.index(">holds<")
    assert "im000, im002" in index
    for link in re.findall(r'href="([^"]+)"', index):
        assert (docs / link).is_file()


def test_hostile_words_are_escaped_in_the_index(tmp_path: Path) -> None:
    write_index(tmp_path, "a<b>", [("critical", False, "<script>x</script>", "&<i>")])
    text = (tmp_path / "index.html").read_text()
    assert "<script" not in text
    assert "a&lt;b&gt;" in text
    assert "&amp;&lt;i&gt;" in text


def test_a_check_that_cannot_be_made_fails_its_rule(tmp_path: Path) -> None:
    table = pd.DataFrame({"image_id": ["a"], "label": ["normal"]})
    rules = dataset_rules(ValidateSettings(), set())
    verdicts = {verdict.rule.name: verdict for verdict in judge(table, rules, tmp_path / "docs")}
    assert verdicts["labels_known"].passed
    assert not verdicts["readable"].passed
    assert "could not be made" in verdicts["readable"].observed


def test_every_rule_has_a_name_of_its_own_and_a_sentence() -> None:
    rules = dataset_rules(ValidateSettings(), {"normal", "glaucoma"})
    assert len({rule.name for rule in rules}) == len(rules)
    assert all(rule.says for rule in rules)
    assert {rule.severity for rule in rules} == set(Severity)


@pytest.mark.parametrize("wrong", [{"review_bits": 3}, {"min_brightness": 240}, {"min_sidepx": 1}])
def test_contradicting_settings_are_refused_when_made(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        ValidateSettings.model_validate(wrong)


def test_nothing_is_written_outside_the_workspace_and_nothing_printed(
    make_dataset: MakeDataset, workspace: Workspace, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    code = (
        "import sys; from pathlib import Path; from glaucoma.workspace import Workspace\n"
        "from glaucoma.datasets.validate import validate; from glaucoma.datasets.validation_settings import *\n"
        "validate(Path(sys.argv[1]), 'tiny', Workspace.at(sys.argv[2]), ValidateSettings())\n"
    )
    environment = {**os.environ, "HOME": str(home), "TMPDIR": str(home)}
    arguments = [sys.executable, "-W", "ignore", "-c", code, str(make_dataset()), str(workspace.root)]
    done = subprocess.run(arguments, env=environment, cwd=home, capture_output=True, text=True, timeout=120, check=True)
    assert (done.stdout, done.stderr) == ("", "")
    assert list(home.iterdir()) == []


def test_the_record_is_plain_json(make_dataset: MakeDataset, workspace: Workspace) -> None:
    output = run(make_dataset(near_duplicate), workspace)
    record = json.loads((output.folder / "validation.json").read_text())
    assert record["details"]["critical"][0]["rule"] == "no_near_duplicate_across_splits"
    assert record["stage"] == "validate"
