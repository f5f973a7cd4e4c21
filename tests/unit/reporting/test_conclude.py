"""A cycle's end, after real trainings of a few seconds: the record, the report, and the ledger's last word."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from glaucoma.datasets.manifest import write_manifest
from glaucoma.evaluation.evaluate import evaluate
from glaucoma.evaluation.settings import EvaluateSettings
from glaucoma.planning.cycle import CyclePlan, open_cycle
from glaucoma.planning.settings import PlanSettings
from glaucoma.provenance import StageRecord, file_sha256, write_json
from glaucoma.records.ledger import Ledger
from glaucoma.records.record import CycleRecord
from glaucoma.records.remember import remember, write_look
from glaucoma.records.words import CycleStatus, Standing
from glaucoma.reporting.conclude import Conclusion, compare_tasks, conclude
from glaucoma.schema import Column, GeometryColumn, Label, Split, StructureState, Task
from glaucoma.training.settings import ExecutionSettings, TrainSettings
from glaucoma.training.supervise import train
from glaucoma.workspace import Workspace

DATASET_KEY, PREPARED_KEY, ARCHIVE_KEY = "d" * 16, "e" * 16, "f" * 16
ARCHIVE_SHA256 = "ab" * 32
SIDE_PX, IMAGES = 32, 24
CONFIG = {"name": "eyes", "preset": "smoke"}
PLAN = PlanSettings.for_preset("smoke", experiments_per_task=2)
EXECUTION = ExecutionSettings(device="cpu", threads=1, stall_timeout_s=240)
TRAIN = TrainSettings.for_preset("smoke", classifier="small_cnn", input_px=32, epochs=1, batch_size=4)
EVALUATE = EvaluateSettings.for_preset("smoke", replicates=100)


@dataclass(frozen=True)
class Cycle:
    """A planned cycle and where it lies."""

    workspace: Workspace
    ledger: Ledger
    plan: CyclePlan
    prepared: Path

    def conclude(self) -> Conclusion:
        comparisons = compare_tasks(self.ledger, self.plan, self.workspace, replicates=100, seed=0)
        return conclude(
            self.ledger, self.plan, comparisons, self.workspace,
            prepared=self.prepared, config=CONFIG, preset="smoke", plan_settings=PLAN, train=TRAIN,
        )  # fmt: skip


def planned(root: Path) -> Cycle:
    workspace = Workspace.at(root)
    prepared = make_dataset(workspace)
    ledger = Ledger(workspace.ledger_url)
    cycle = open_cycle(ledger, workspace, name="eyes", prepared=prepared, config=CONFIG, plan=PLAN, train=TRAIN)
    return Cycle(workspace, ledger, cycle.plan, prepared)


def make_dataset(workspace: Workspace) -> Path:
    """Grey squares, brighter in glaucoma, and the records of the stages that would have made them; no masks."""
    rng = np.random.default_rng(0)
    rows, images = [], np.zeros((IMAGES, SIDE_PX, SIDE_PX, 3), np.uint8)
    for index in range(IMAGES):
        label = list(Label)[:2][index % 2]
        images[index] = rng.integers(0, 120, (SIDE_PX, SIDE_PX, 3)) + (90 if label is Label.GLAUCOMA else 0)
        rows.append(_row(index, label, [Split.TRAIN, Split.TRAIN, Split.VAL, Split.TEST][index // 2 % 4]))
    prepared = workspace.prepared("eyes") / PREPARED_KEY
    prepared.mkdir(parents=True)
    write_manifest(prepared, pd.DataFrame(rows))
    np.save(prepared / "images.npy", images)
    np.save(prepared / "masks.npy", np.zeros(images.shape[:3], np.uint8))
    np.save(prepared / "fields.npy", np.ones(images.shape[:3], np.uint8))
    table = pd.DataFrame(rows)
    counts = {
        str(split): {str(k): int(n) for k, n in part[str(Column.LABEL)].value_counts().items()}
        for split, part in table.groupby(str(Column.SPLIT))
    }
    details = {
        "name": "eyes", "dataset_key": DATASET_KEY, "counts_by_split": counts, "image_size_px": SIDE_PX,
        "set_aside": [{"image_id": "i99", "reason": "no field of view"}],
    }  # fmt: skip
    _record("preprocess", prepared / "prepared.json", {"dataset": DATASET_KEY}, details)
    details = {
        "set_aside": [{"source": "normal/broken.jpg", "reason": "cannot be decoded"}], "manifest_sha256": "c4" * 32,
        "layout": "class_folders", "synthetic": False, "grouping": "photograph",
    }  # fmt: skip
    dataset = workspace.datasets("eyes") / DATASET_KEY / "dataset.json"
    _record("normalize", dataset, {"archive": ARCHIVE_KEY}, details, patients=0)
    archive = workspace.archives / ARCHIVE_KEY / "archive.json"
    _record("unpack", archive, {"archive": ARCHIVE_SHA256}, {"archive_sha256": ARCHIVE_SHA256})
    return prepared


def _row(index: int, label: Label, split: Split) -> dict[str, Any]:
    name = f"i{index:02d}"
    row: dict[str, Any] = dict.fromkeys((str(column) for column in Column), "")
    row |= {
        str(Column.IMAGE_ID): name, str(Column.IMAGE): f"images/{name}.png", str(Column.LABEL): str(label),
        str(Column.SPLIT): str(split), str(Column.GROUP): name, str(Column.WIDTH): SIDE_PX,
        str(Column.HEIGHT): SIDE_PX, str(Column.SHA256): hashlib.sha256(name.encode()).hexdigest(),
        str(Column.DISC_STATE): str(StructureState.NOT_VISIBLE),
        str(Column.CUP_STATE): str(StructureState.NOT_VISIBLE),
    }  # fmt: skip
    return row | {str(column): 1.0 for column in GeometryColumn}


def _record(stage: str, path: Path, inputs: dict[str, str], details: dict[str, Any], **counts: int) -> None:
    record = StageRecord(
        stage=stage, key=path.parent.name, inputs=inputs, settings={}, code_sha256="0" * 64, duration_s=1.0,
        started_at=datetime.now(UTC), versions={}, counts=counts, details=details,
    )  # fmt: skip
    write_json(path, record.model_dump(mode="json"))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Cycle, Conclusion]:
    """Two classifiers trained and measured, the better one on the test split too, and the cycle concluded."""
    cycle = planned(tmp_path_factory.mktemp("cycle") / "workspace")
    for proposal in cycle.plan.proposals:
        experiment = train(proposal.spec, cycle.workspace, EXECUTION)
        evaluate(experiment, cycle.workspace, EVALUATE, device="cpu")
        remember(experiment, cycle.ledger, at=datetime.now(UTC))
    (comparison,) = compare_tasks(cycle.ledger, cycle.plan, cycle.workspace, replicates=100, seed=0)
    spec = next(p.spec for p in cycle.plan.proposals if p.experiment_id == comparison.leader)
    leader = train(spec, cycle.workspace, EXECUTION)
    write_look(leader, cycle.workspace, "it leads", at=datetime.now(UTC))
    evaluate(leader, cycle.workspace, EVALUATE, split=Split.TEST, device="cpu")
    remember(leader, cycle.ledger, at=datetime.now(UTC))
    return cycle, cycle.conclude()


def test_the_record_says_what_the_cycle_was_and_on_which_data(finished: tuple[Cycle, Conclusion]) -> None:
    cycle, done = finished
    assert done.record_path == cycle.workspace.cycles / cycle.plan.cycle_id / "record.json"
    found = json.loads(done.record_path.read_bytes())
    assert CycleRecord.model_validate(found) == done.record
    assert (found["cycle_id"], found["status"], found["failure"]) == (cycle.plan.cycle_id, "completed", "")
    assert (found["config"], found["preset"]) == (CONFIG, "smoke")
    assert found["duration_s"] > 0
    assert {"python", "torch", "numpy"} <= set(found["versions"])
    data = found["dataset"]
    assert (data["name"], data["dataset_key"], data["prepared_key"]) == ("eyes", DATASET_KEY, PREPARED_KEY)
    assert (data["archive_sha256"], data["manifest_sha256"]) == (ARCHIVE_SHA256, "c4" * 32)
    assert (data["images"], data["with_mask"], data["patients"], data["synthetic"]) == (IMAGES, 0, None, False)
    assert sum(n for labels in data["counts_by_split"].values() for n in labels.values()) == IMAGES
    assert [one["source"] for one in data["set_aside"]] == ["normal/broken.jpg", "i99"]


def test_the_record_holds_every_experiment_with_its_numbers_and_its_model(finished: tuple[Cycle, Conclusion]) -> None:
    cycle, done = finished
    found = json.loads(done.record_path.read_bytes())
    assert [e["experiment_id"] for e in found["experiments"]] == [p.experiment_id for p in cycle.plan.proposals]
    for facts, proposal in zip(found["experiments"], cycle.plan.proposals, strict=True):
        assert (facts["status"], facts["task"], facts["model"]) == ("completed", "classification", "small_cnn")
        assert (facts["reason"], facts["failure"]) == (proposal.reason, "")
        assert facts["spec"] == proposal.spec.model_dump(mode="json")
        assert facts["duration_s"] > 0
        assert 0 <= facts["metrics"]["val"]["auc"]["value"] <= 1
        assert file_sha256(cycle.workspace.root / facts["checkpoint"]["path"]) == facts["checkpoint"]["sha256"]
    best = found["best"]["classification"]
    assert {e["experiment_id"] for e in found["experiments"] if "test" in e["metrics"]} == {best}
    assert found["test_looks"] == 1
    assert [comparison.leader for comparison in done.record.comparisons] == [best]
    scores = {e["experiment_id"]: e["metrics"]["val"]["auc"]["value"] for e in found["experiments"]}
    assert scores[best] == max(scores.values())


def test_the_record_says_what_was_learned_and_what_is_next(finished: tuple[Cycle, Conclusion]) -> None:
    cycle, done = finished
    assert "No segmentation: no photograph has a mask of disc and cup." in done.record.learned
    assert len(done.record.learned) > 1
    assert done.record.next
    following = open_cycle(
        cycle.ledger, cycle.workspace, name="eyes", prepared=cycle.prepared, config=CONFIG, plan=PLAN, train=TRAIN
    )
    assert [f"Classification, {p.novelty}: {p.reason}" for p in following.plan.proposals] == done.record.next


def test_the_report_names_the_experiments_and_loads_nothing(finished: tuple[Cycle, Conclusion]) -> None:
    cycle, done = finished
    text = done.report_path.read_text(encoding="utf-8")
    assert done.report_path == done.record_path.with_name("report.html")
    for name in (cycle.plan.cycle_id, *(p.experiment_id for p in cycle.plan.proposals)):
        assert name in text
    addresses = re.findall(r"""(?:src|href|action|data|srcset)\s*=\s*["']?([^"'\s>]+)""", text)
    assert [a for a in addresses if not a.startswith(("#", "data:image/"))] == []
    assert "@import" not in text
    assert "url(" not in text
    assert "<script" not in text


def test_the_ledger_has_the_cycle_closed(finished: tuple[Cycle, Conclusion]) -> None:
    cycle, _ = finished
    closed = cycle.ledger.cycle(cycle.plan.cycle_id)
    assert (closed.status, closed.reason) == (CycleStatus.COMPLETED, "")
    assert closed.ended_at is not None
    assert cycle.ledger.best(task=Task.CLASSIFICATION, prepared_key=PREPARED_KEY) is not None


def test_a_cycle_without_a_completed_experiment_failed_and_says_why(tmp_path: Path) -> None:
    cycle = planned(tmp_path / "workspace")
    for proposal in cycle.plan.proposals:
        cycle.ledger.change(proposal.experiment_id, status=Standing.FAILED, reason="The loss became infinite.")
    done = cycle.conclude()
    found = json.loads(done.record_path.read_bytes())
    assert (found["status"], found["failure"]) == ("failed", "No experiment was completed.")
    assert (found["best"], found["comparisons"]) == ({}, [])
    for facts in found["experiments"]:
        assert (facts["status"], facts["failure"]) == ("failed", "The loss became infinite.")
        assert (facts["checkpoint"], facts["metrics"]) == (None, {})
    assert "No experiment was completed." in done.report_path.read_text(encoding="utf-8")
    closed = cycle.ledger.cycle(cycle.plan.cycle_id)
    assert (closed.status, closed.reason) == (CycleStatus.FAILED, "No experiment was completed.")
    assert cycle.ledger.unfinished_cycle({**CONFIG, "prepared_key": PREPARED_KEY}) == closed


def test_one_failed_experiment_does_not_fail_the_cycle(finished: tuple[Cycle, Conclusion]) -> None:
    cycle, _ = finished
    failed = cycle.plan.proposals[-1].experiment_id
    before = cycle.ledger.experiment(failed)
    cycle.ledger.change(failed, status=Standing.FAILED, reason="It was lost.", val_metrics={}, test_metrics={})
    try:
        done = cycle.conclude()
    finally:
        cycle.ledger.put(before)
    assert done.record.status is CycleStatus.COMPLETED
    facts = done.record.experiment(failed)
    assert facts is not None
    assert (facts.status, facts.failure) == (Standing.FAILED, "It was lost.")
    assert failed not in done.record.best.values()
