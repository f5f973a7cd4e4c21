from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from glaucoma.datasets.drift import (
    QUANTITIES,
    drift_of,
    measure_drift,
    read_checks,
    reference_validation,
    require_no_drift,
)
from glaucoma.datasets.drift_measures import population_stability_index
from glaucoma.datasets.drift_settings import DriftGate, DriftSettings
from glaucoma.datasets.registry import Registration, write_registry
from glaucoma.errors import NotFoundError, ValidationFailedError
from glaucoma.provenance import StageRecord, write_json
from glaucoma.workspace import Workspace

SETTINGS = DriftSettings(reference="old")


def checks(number: int, seed: int, *, shifts: dict[str, float] | None = None, sick: float = 0.4) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    columns: dict[str, object] = {
        "image_id": [f"im{place}" for place in range(number)],
        "group": [f"p{place // 2}" for place in range(number)],
        "label": np.where(rng.random(number) < sick, "glaucoma", "normal"),
    }
    for quantity in QUANTITIES:
        patient = np.repeat(rng.normal(0, 8, (number + 1) // 2), 2)[:number]
        columns[quantity] = 100 + patient + rng.normal(0, 6, number) + (shifts or {}).get(quantity, 0.0)
    return pd.DataFrame(columns)


@pytest.fixture
def validated(workspace: Workspace):
    """`validated(name, table, key=..)`: a validation as `validate` leaves it."""

    def make(
        name: str, table: pd.DataFrame, key: str = "a" * 16, what: str = "normalized", *, passed: bool = True
    ) -> Path:
        folder = workspace.validations(name) / f"{name[:1]}{key}"[:16]
        folder.mkdir(parents=True)
        table.to_csv(folder / "checks.csv", index=False)
        record = StageRecord(
            stage="validate", key=folder.name, inputs={"dataset": key}, settings={}, code_sha256="0" * 64,
            started_at="2026-01-01T00:00:00Z", duration_s=0, versions={}, details={"what": what, "passed": passed},
        )  # fmt: skip
        write_json(folder / "validation.json", record.model_dump(mode="json"))
        return folder

    return make


def test_a_shift_in_one_quantity_is_found_and_only_there() -> None:
    comparisons, labels = drift_of(checks(100, 1, shifts={"redness": 15}), checks(150, 2), SETTINGS)
    assert [one.quantity for one in comparisons if one.differs] == ["redness"]
    assert labels is not None
    assert not labels.drifted


def test_another_mix_of_labels_is_found() -> None:
    comparisons, labels = drift_of(checks(120, 3, sick=0.9), checks(120, 4, sick=0.3), SETTINGS)
    assert not any(one.differs for one in comparisons)
    assert labels is not None
    assert labels.drifted
    assert labels.distance == pytest.approx(0.6, abs=0.15)
    assert sum(labels.new.values()) == pytest.approx(1)


def test_alarms_are_as_rare_as_promised_where_there_is_no_drift() -> None:
    """Two photographs a patient, as alike as those of one person: the promise holds for groups, not for photographs."""
    settings = DriftSettings(
        reference="old", significance=0.1, permutations=399, min_difference=0, min_label_difference=0
    )
    alarms = 0
    for seed in range(60):
        comparisons, labels = drift_of(checks(40, 2 * seed), checks(50, 2 * seed + 1), settings)
        alarms += any(one.differs for one in comparisons) or bool(labels and labels.drifted)
    assert alarms <= 12


def test_other_units_change_no_verdict() -> None:
    new, old = checks(60, 5, shifts={"sharpness": 9}), checks(60, 6)
    scaled = [table.assign(**{one: 1000 * table[one] - 3 for one in QUANTITIES}) for table in (new, old)]
    plain, other = drift_of(new, old, SETTINGS)[0], drift_of(*scaled, SETTINGS)[0]
    for one, two in zip(plain, other, strict=True):
        assert (one.differs, one.p_value) == (two.differs, two.p_value)
        assert one.distance_sd == pytest.approx(two.distance_sd)


def test_psi_equals_the_worked_example_and_is_silent_on_small_sets() -> None:
    # Tenths of 0..199 hold 20 each; the new set has 40 in the first tenth, none in the second, 20 in each other.
    reference = np.arange(200.0)
    new = np.concatenate([np.arange(20.0), np.arange(20.0), np.arange(40.0, 200.0)])
    expected = (0.2 - 0.1) * np.log(0.2 / 0.1) + (0.0025 - 0.1) * np.log(0.0025 / 0.1)
    assert population_stability_index(reference, new) == pytest.approx(expected)
    assert population_stability_index(reference, reference) == 0
    assert population_stability_index(reference[:199], new) is None


def test_the_stage_writes_table_page_and_record_and_is_found_again(validated, workspace: Workspace) -> None:
    new = validated("new", checks(60, 1, shifts={"brightness": 20}), key="b" * 16)
    old = validated("old", checks(60, 2).assign(vertical_cdr=""))
    output = measure_drift(new, old, "new", workspace, SETTINGS)
    details = output.record.details
    assert output.folder.parent == workspace.drifts("new")
    assert details["drifted"] == ["brightness"]
    assert details["not_compared"] == {"vertical_cdr": "60 values here and 0 in the reference; it takes 10 of each"}
    table = pd.read_csv(output.folder / "drift.csv").set_index("quantity")
    assert table.loc["brightness", "differs"]
    page = (output.folder / "drift.html").read_text()
    assert "Drifted: brightness." in page
    assert page.count("<figure>") == len(table) + 1
    assert not re.search(r"<script|(src|href)=|url\(|@import", page)
    again = measure_drift(new, old, "new", workspace, SETTINGS.model_copy(update={"gate": DriftGate.STOP}))
    assert again.reused


def test_only_the_gate_stop_makes_a_drift_an_error(validated, workspace: Workspace) -> None:
    new, old = validated("new", checks(60, 1, shifts={"entropy": 20}), key="b" * 16), validated("old", checks(60, 2))
    output = measure_drift(new, old, "new", workspace, SETTINGS)
    require_no_drift(output, DriftGate.WARN)
    with pytest.raises(ValidationFailedError, match=r"1 drifts against the reference: entropy.*drift.html"):
        require_no_drift(output, DriftGate.STOP)
    calm = measure_drift(validated("calm", checks(60, 3)), old, "calm", workspace, SETTINGS)
    require_no_drift(calm, DriftGate.STOP)


def test_the_reference_is_the_newest_validation_of_another_version(validated, workspace: Workspace) -> None:
    first, second = validated("eyes", checks(20, 1), "1" * 16), validated("eyes", checks(20, 2), "2" * 16)
    validated("eyes", checks(20, 3), "3" * 16, what="prepared")
    assert reference_validation(workspace, "eyes") == second
    assert reference_validation(workspace, "eyes", besides="2" * 16) == first
    assert reference_validation(workspace, f"eyes/{'1' * 16}") == first
    with pytest.raises(NotFoundError, match=f"eyes/{'1' * 16} other than this one"):
        reference_validation(workspace, f"eyes/{'1' * 16}", besides="1" * 16)
    for wrong in (f"eyes/{'3' * 16}", "ears"):
        with pytest.raises(NotFoundError, match=r"flows\.validate --name"):
            reference_validation(workspace, wrong)


def test_a_version_that_was_refused_is_no_reference_unless_its_key_is_named(validated, workspace: Workspace) -> None:
    keys = [digit * 16 for digit in "123"]
    kept, stopped = (validated("eyes", checks(20, place), key) for place, key in enumerate(keys[:2]))
    failed = validated("eyes", checks(20, 3), keys[2], passed=False)
    assert reference_validation(workspace, "eyes") == stopped  # nothing is registered: nobody knows that it was stopped
    write_registry(workspace, {"eyes": [registered(keys[0])]})
    assert reference_validation(workspace, "eyes", besides="4" * 16) == kept
    assert reference_validation(workspace, f"eyes/{keys[1]}") == stopped
    assert reference_validation(workspace, f"eyes/{keys[2]}") == failed


def registered(key: str) -> Registration:
    return Registration(
        name="eyes", version=key, manifest_sha256="0" * 64, dvc_md5=f"{'0' * 32}.dir", files=1, bytes=1,
        sums_sha256={}, remote=None, source={}, registered_at=datetime(2026, 1, 1, tzinfo=UTC),
    )  # fmt: skip


def test_names_from_the_data_are_escaped_in_the_page(validated, workspace: Workspace) -> None:
    table = checks(30, 1).assign(label="<script>alert(1)</script>")
    page = (
        measure_drift(validated("new", table), validated("old", table), "new", workspace, SETTINGS).folder
        / "drift.html"
    )
    assert "<script" not in page.read_text()


def test_too_few_images_are_said_and_are_no_drift(validated, workspace: Workspace) -> None:
    output = measure_drift(validated("new", checks(6, 1)), validated("old", checks(60, 2)), "new", workspace, SETTINGS)
    assert output.record.details["drifted"] == []
    assert output.record.details["labels"] is None
    assert len(output.record.details["not_compared"]) == len(QUANTITIES)
    assert len(read_checks(output.folder.parents[2] / "validations" / "old" / ("o" + "a" * 15))) == 60


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"reference": "../x"}, "neither a dataset's name"),
        ({"reference": "a/123"}, "neither a dataset's name"),
        ({"significance": 0.001}, "it takes 19999"),
        ({"gate": "halt"}, "gate"),
    ],
)
def test_settings_that_cannot_work_are_refused_when_made(wrong: dict, says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        DriftSettings.model_validate(wrong)
