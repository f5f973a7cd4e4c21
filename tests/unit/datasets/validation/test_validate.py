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
from glaucoma.datasets.expectations import dataset_rules
from glaucoma.datasets.findings import require_valid
from glaucoma.datasets.judgement import judge
from glaucoma.datasets.rules import Severity
from glaucoma.datasets.validate import validate
from glaucoma.datasets.validation_settings import ValidateSettings
from glaucoma.errors import ValidationFailedError
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
    assert details["expectations"] == 38
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


def patient_in_two_splits(rows: Rows, folder: Path, first: int, second: int) -> None:
    rows[second][Column.PATIENT_ID] = rows[first][Column.PATIENT_ID]


def group_in_two_splits(rows: Rows, folder: Path, first: int, second: int) -> None:
    rows[second][Column.GROUP] = rows[first][Column.GROUP]


def pixels_in_two_splits(rows: Rows, folder: Path, first: int, second: int) -> None:
    rows[second][Column.PIXEL_SHA256] = rows[first][Column.PIXEL_SHA256]


def near_duplicate(rows: Rows, folder: Path, first: int, second: int) -> None:
    rows[second][Column.PERCEPTUAL_HASH] = f"{int(rows[first][Column.PERCEPTUAL_HASH], 16) ^ 0xFFFF:064x}"


def same_bytes(rows: Rows, folder: Path, first: int, second: int) -> None:
    (folder / rows[second][Column.IMAGE]).write_bytes((folder / rows[first][Column.IMAGE]).read_bytes())
    rows[second][Column.SHA256] = rows[first][Column.SHA256]


def unreadable(rows: Rows, folder: Path, first: int, second: int) -> None:
    (folder / rows[second][Column.IMAGE]).write_bytes(b"gone")


def other_bytes(rows: Rows, folder: Path, first: int, second: int) -> None:
    cv2.imwrite(str(folder / rows[second][Column.IMAGE]), np.full((128, 128, 3), (40, 90, 180), np.uint8))


def wrong_size(rows: Rows, folder: Path, first: int, second: int) -> None:
    rows[second][Column.WIDTH] = 129


def mask_of_other_size(rows: Rows, folder: Path, first: int, second: int) -> None:
    mask = np.zeros((96, 96), np.uint8)
    mask[40:60, 40:60], mask[45:55, 45:55] = 1, 2
    cv2.imwrite(str(folder / rows[second][Column.MASK]), mask)


def mask_with_other_values(rows: Rows, folder: Path, first: int, second: int) -> None:
    path = str(folder / rows[second][Column.MASK])
    mask = cv2.imread(path, cv2.IMREAD_UNCHANGED)
    mask[0, 0] = 128
    cv2.imwrite(path, mask)


def cup_outside(rows: Rows, folder: Path, first: int, second: int) -> None:
    mask = np.zeros((128, 128), np.uint8)
    mask[10:30, 10:30], mask[60:80, 60:80] = 1, 2
    cv2.imwrite(str(folder / rows[second][Column.MASK]), mask)


def mask_gone(rows: Rows, folder: Path, first: int, second: int) -> None:
    (folder / rows[second][Column.MASK]).unlink()


def states_wrong(rows: Rows, folder: Path, first: int, second: int) -> None:
    rows[second][Column.CUP_STATE] = "absent"


# The last word: whether the other photograph of the pair is named too.
FAULTS = [
    (patient_in_two_splits, "patient_in_one_split", True),
    (group_in_two_splits, "group_in_one_split", True),
    (pixels_in_two_splits, "pixels_in_one_split", True),
    (near_duplicate, "no_near_duplicate_across_splits", True),
    (same_bytes, "bytes_in_one_split", True),
    (unreadable, "readable", False),
    (other_bytes, "sha256_matches", False),
    (wrong_size, "size_matches", False),
    (mask_of_other_size, "mask_size_matches", False),
    (mask_with_other_values, "mask_values_ok", False),
    (cup_outside, "cup_inside_disc", False),
    (mask_gone, "mask_readable", False),
    (states_wrong, "mask_states_ok", False),
]


@pytest.fixture(scope="module")
def faulty(build_dataset: MakeDataset, tmp_path_factory: pytest.TempPathFactory) -> StageOutput:
    """One dataset with every fault, each in photographs of its own: `6 k` of train and `6 k + 2` of val."""
    workspace = Workspace.at(tmp_path_factory.mktemp("faulty"))

    def change(rows: Rows, folder: Path) -> None:
        for place, (fault, _, _) in enumerate(FAULTS):
            fault(rows, folder, 6 * place, 6 * place + 2)

    return run(build_dataset(workspace, change, number=6 * len(FAULTS)), workspace)


@pytest.mark.parametrize("place", range(len(FAULTS)), ids=[rule for _, rule, _ in FAULTS])
def test_each_fault_is_critical_and_names_its_images_and_no_others(faulty: StageOutput, place: int) -> None:
    _, rule, both = FAULTS[place]
    failure = next(one for one in faulty.record.details["critical"] if one["rule"] == rule)
    images = [f"im{6 * place:03d}", f"im{6 * place + 2:03d}"]
    assert failure["images"] == (images if both else images[1:])
    assert failure["n"] == len(failure["images"])


def test_every_critical_failure_is_in_the_error(faulty: StageOutput) -> None:
    assert rules_of(faulty.record.details["critical"]) == {rule for _, rule, _ in FAULTS}
    with pytest.raises(ValidationFailedError, match="13 critical checks failed") as raised:
        require_valid(faulty)
    for failure in faulty.record.details["critical"]:
        assert failure["says"] in str(raised.value)


def test_a_split_without_a_class_is_critical(make_dataset: MakeDataset, workspace: Workspace) -> None:
    def change(rows: Rows, folder: Path) -> None:
        for row in rows:
            if row[Column.SPLIT] == "val" and row[Column.LABEL] == "glaucoma":
                row[Column.SPLIT] = "train"

    output = run(make_dataset(change), workspace)
    assert rules_of(output.record.details["critical"]) == {"classes_in_every_split"}
    assert "val/glaucoma" in output.record.details["critical"][0]["observed"]


def test_a_split_that_is_empty_or_without_labels_only_warns(make_dataset: MakeDataset, workspace: Workspace) -> None:
    def change(rows: Rows, folder: Path) -> None:
        for row in rows:
            if row[Column.SPLIT] == "val":
                row[Column.SPLIT] = "train"
            if row[Column.SPLIT] == "test":
                row[Column.LABEL] = "unknown"

    details = run(make_dataset(change), workspace).record.details
    assert details["critical"] == []
    assert {"labels_in_val", "labels_in_test"} <= rules_of(details["warnings"])


def test_all_critical_failures_are_listed_not_only_the_first(make_dataset: MakeDataset, workspace: Workspace) -> None:
    def change(rows: Rows, folder: Path) -> None:
        patient_in_two_splits(rows, folder, 0, 2)
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
    assert {"brightness", "contrast", "entropy", "in_colour", "gradable"} <= rules_of(output.record.details["warnings"])
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
    warned = [one for one in details["warnings"] if one["rule"] == "label_from_redness"]
    assert "normal" in warned[0]["observed"]
    assert "glaucoma" in warned[0]["observed"]


def test_masks_without_labels_need_no_class_in_every_split(make_dataset: MakeDataset, workspace: Workspace) -> None:
    def change(rows: Rows, folder: Path) -> None:
        for row in rows:
            row[Column.LABEL] = "unknown"

    details = run(make_dataset(change), workspace).record.details
    assert details["passed"]
    assert details["expectations"] == 37


def test_a_clinic_that_goes_with_the_label_warns(make_dataset: MakeDataset, workspace: Workspace) -> None:
    def change(rows: Rows, folder: Path) -> None:
        for row in rows:
            row[Column.SITE] = "north" if row[Column.LABEL] == "glaucoma" else "south"

    details = run(make_dataset(change, number=30), workspace).record.details
    assert "label_from_site" in rules_of(details["warnings"])
    (site,) = (one for one in details["associations"] if one["trait"] == "site")
    assert site["cramers_v"] > 0.9


def test_a_stated_ratio_far_from_the_mask_s_and_an_odd_pressure_warn(
    make_dataset: MakeDataset, workspace: Workspace
) -> None:
    def change(rows: Rows, folder: Path) -> None:
        for row in rows:
            row[Column.STATED_VERTICAL_CDR] = "0.52"
            row[Column.IOP_MMHG] = "16"
        rows[2][Column.STATED_VERTICAL_CDR] = "0.9"
        rows[3][Column.IOP_MMHG] = "95"

    details = run(make_dataset(change), workspace).record.details
    failures = {one["rule"]: one["images"] for one in details["warnings"]}
    assert failures["cdr_as_stated"] == ["im002"]
    assert failures["iop_plausible"] == ["im003"]
    assert details["stated_cdr"]["n"] == 12
    assert details["stated_cdr"]["largest_difference"] == pytest.approx(0.38)


def test_words_of_the_source_that_nobody_understood_warn(make_dataset: MakeDataset, workspace: Workspace) -> None:
    dataset = make_dataset()
    record = json.loads((dataset / "dataset.json").read_text())
    record["details"]["not_understood"] = {"iop_mmhg": {"images": 3, "words": {"180": 2, "high": 1}}}
    (dataset / "dataset.json").write_text(json.dumps(record))
    details = run(dataset, workspace).record.details
    assert details["passed"]
    (warning,) = (one for one in details["warnings"] if one["rule"].endswith("_understood"))
    assert warning["rule"] == "iop_mmhg_understood"
    assert "The iop_mmhg of 3 photographs is no number from 0 to 100" in warning["observed"]
    assert "'180' (2), 'high' (1)" in warning["observed"]


def test_too_many_ungradable_photographs_are_critical_where_the_setting_says_so(
    make_dataset: MakeDataset, workspace: Workspace
) -> None:
    def change(rows: Rows, folder: Path) -> None:
        for level, row in enumerate(rows[:3], start=10):
            cv2.imwrite(str(folder / row[Column.IMAGE]), np.full((128, 128, 3), level, np.uint8))
            row[Column.SHA256] = file_sha256(folder / row[Column.IMAGE])

    dataset = make_dataset(change)
    lenient = run(dataset, workspace).record
    assert lenient.details["passed"]
    assert lenient.counts["quality_reject"] == 3
    strict = run(dataset, workspace, max_ungradable_share=0.2).record.details
    assert rules_of(strict["critical"]) == {"gradable_enough"}


def test_settings_for_other_stages_of_data_change_no_key(make_dataset: MakeDataset, workspace: Workspace) -> None:
    dataset = make_dataset()
    first = run(dataset, workspace)
    assert run(dataset, workspace, raw={"decode": False}, prepared={"max_compared": 3}).key == first.key
    assert run(dataset, workspace, min_entropy=2.5).key != first.key


def test_the_number_of_threads_changes_no_fact(make_dataset: MakeDataset, tmp_path: Path) -> None:
    dataset = make_dataset()
    one, four = (
        validate(dataset, "tiny", Workspace.at(tmp_path / str(n)), ValidateSettings(), workers=n) for n in (1, 4)
    )
    assert (one.folder / "checks.csv").read_bytes() == (four.folder / "checks.csv").read_bytes()


def test_the_data_docs_fetch_nothing_and_their_index_lists_every_check(faulty: StageOutput) -> None:
    docs = faulty.folder / "data_docs"
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
    rules = dataset_rules(ValidateSettings(), {})
    verdicts = {verdict.rule.name: verdict for verdict in judge(table, rules, tmp_path / "docs")}
    assert verdicts["labels_known"].passed
    assert not verdicts["readable"].passed
    assert "could not be made" in verdicts["readable"].observed


def test_every_rule_has_a_name_of_its_own_and_a_sentence() -> None:
    rules = dataset_rules(ValidateSettings(), {"train": {"normal", "glaucoma"}})
    assert len({rule.name for rule in rules}) == len(rules)
    assert all(rule.says for rule in rules)
    assert {rule.severity for rule in rules} == set(Severity)


@pytest.mark.parametrize(
    "wrong", [{"review_bits": 3}, {"permutations": 999}, {"quality": {"good_min_brightness": 240}}, {"min_sidepx": 1}]
)
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


def test_the_record_is_plain_json(faulty: StageOutput) -> None:
    record = json.loads((faulty.folder / "validation.json").read_text())
    assert record["stage"] == "validate"
    assert record["details"]["what"] == "normalized"
    assert {one["rule"] for one in record["details"]["critical"]} == {rule for _, rule, _ in FAULTS}
