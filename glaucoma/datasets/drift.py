"""Drift: whether a dataset's photographs and labels differ from those of a reference by more than chance makes them."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from glaucoma.datasets.comparison import FEWEST, MOST, Comparison, Limits, at_most, compare, numbers, shuffled
from glaucoma.datasets.drift_measures import LabelMix, label_mix, population_stability_index
from glaucoma.datasets.drift_page import PAGE_NAME, drift_page
from glaucoma.datasets.drift_settings import DriftGate, DriftSettings
from glaucoma.datasets.findings import CHECKS_NAME
from glaucoma.datasets.findings import RECORD_NAME as VALIDATION_RECORD
from glaucoma.datasets.photograph_facts import Measured
from glaucoma.datasets.registry import read_registry
from glaucoma.datasets.validation_settings import Target
from glaucoma.errors import NotFoundError, ValidationFailedError
from glaucoma.progress import Progress, silent
from glaucoma.provenance import Built, StageOutput, file_sha256, read_record, run_stage, write_bytes
from glaucoma.schema import Column
from glaucoma.workspace import Workspace

RECORD_NAME = "drift.json"
TABLE_NAME = "drift.csv"
VERTICAL_CDR = "vertical_cdr"
QUANTITIES = (
    Measured.BRIGHTNESS.value,
    Measured.CONTRAST.value,
    Measured.SHARPNESS.value,
    Measured.ENTROPY.value,
    Measured.REDNESS.value,
    Measured.YELLOWNESS.value,
    Measured.EVENNESS.value,
    Measured.FIELD_SHARE.value,
    VERTICAL_CDR,
)
_NEW, _REFERENCE = "this dataset", "the reference"
_SPLIT_ALPHA = 2
"""The quantities together and the labels get half of the significance each, so that both together keep to it."""


def reference_validation(workspace: Workspace, reference: str, *, besides: str = "") -> Path:
    """The folder of the newest validation of the dataset `reference` (name, or name/key).

    Of a name alone only versions that passed, and of these those that are registered, where any is: a version that was
    refused, for its drift or else, must not become the measure of the next one.

    Args:
        besides: Key of the dataset that is compared with it; no dataset is its own reference.

    Raises:
        NotFoundError: No such dataset was validated.
    """
    name, _, key = reference.partition("/")
    registered = set() if key else {entry.version for entry in read_registry(workspace).get(name, [])}
    found: list[tuple[bool, int, str, Path]] = []
    itself = ""
    for record_path in workspace.validations(name).glob(f"*/{VALIDATION_RECORD}"):
        record = read_record(record_path)
        dataset = record.inputs.get("dataset", "")
        if record.details.get("what") != Target.NORMALIZED or key not in ("", dataset):
            continue
        if dataset == besides:
            itself = " other than this one"
        elif key or record.details.get("passed"):
            folder = record_path.parent
            found.append((dataset in registered, folder.stat().st_mtime_ns, dataset, folder))
    if found:
        return max(found)[3]
    raise NotFoundError(
        f"No validation of the dataset {reference}{itself}",
        expected="a dataset of this workspace that was validated, and passed where no key is given",
        consequence="There is nothing to compare with",
        remedy=f"python -m flows.validate --name {name}{f' --key {key}' if key else ''}",
    )


def measure_drift(
    validation: Path,
    reference: Path,
    name: str,
    workspace: Workspace,
    settings: DriftSettings,
    *,
    report: Progress = silent,
) -> StageOutput:
    """Compares the checks of two validations; the result lies at `workspace.drifts(name)/<key>`.

    Writes `drift.csv` (a row per quantity), `drift.html` (plots, opens without a network) and `drift.json`. A drift is
    a result, not an error: `require_no_drift` makes it one where the gate says so.

    Args:
        validation: Folder of the new dataset's validation.
        reference: Folder of the reference's.

    Raises:
        NotFoundError: A folder is no validation of a dataset.
    """
    for folder in (validation, reference):
        if not (folder / CHECKS_NAME).is_file() or not (folder / VALIDATION_RECORD).is_file():
            raise NotFoundError(f"No validation in {folder}", expected=f"{CHECKS_NAME} and {VALIDATION_RECORD}")
    inputs = {
        "dataset": read_record(validation / VALIDATION_RECORD).inputs["dataset"],
        "checks_sha256": file_sha256(validation / CHECKS_NAME),
        "reference": read_record(reference / VALIDATION_RECORD).inputs["dataset"],
        "reference_checks_sha256": file_sha256(reference / CHECKS_NAME),
    }
    return run_stage(
        stage="drift",
        workspace=workspace,
        parent=workspace.drifts(name),
        record_name=RECORD_NAME,
        inputs=inputs,
        # Gate and name change nothing that is measured, so they change no key.
        settings=settings.model_copy(update={"gate": DriftGate.WARN, "reference": ""}),
        module=__name__,
        build=partial(_build, validation, reference, inputs, settings, report),
    )


def require_no_drift(output: StageOutput, gate: DriftGate) -> None:
    """`ValidationFailedError` where the dataset has drifted and the gate is `stop`."""
    drifted = output.record.details["drifted"]
    if not drifted or gate is not DriftGate.STOP:
        return
    raise ValidationFailedError(
        f"{len(drifted)} drifts against the reference: {'; '.join(output.record.details['sentences'])}",
        expected="photographs and labels like the reference's",
        consequence="The dataset is not used",
        remedy=f"see {output.folder / PAGE_NAME}; drift.gate=warn goes on all the same",
    )


def _build(
    validation: Path, reference: Path, inputs: dict[str, str], settings: DriftSettings, report: Progress, staging: Path
) -> Built:
    new, old = read_checks(validation), read_checks(reference)
    report(0.1, f"comparing {len(new)} images with {len(old)}")
    comparisons, labels = drift_of(new, old, settings)
    indices = {one: population_stability_index(numbers(old, one), numbers(new, one)) for one in QUANTITIES}
    left_out = {one: _why_not(new, old, one) for one in QUANTITIES if one not in {c.quantity for c in comparisons}}
    drifted = [one.quantity for one in comparisons if one.differs]
    sentences = [one.says for one in comparisons if one.differs]
    if labels is not None and labels.drifted:
        drifted.append("labels")
        sentences.append(label_sentence(labels))
    table = pd.DataFrame([one.model_dump() | {"psi": indices[one.quantity]} for one in comparisons])
    text = table.to_csv(index=False, lineterminator="\n", float_format="%.6g")
    write_bytes(staging / TABLE_NAME, text.encode())
    title = f"Drift of {_named(validation, inputs['dataset'])} against {_named(reference, inputs['reference'])}"
    page = drift_page(title, (new, old), comparisons, labels, indices, left_out, settings.min_difference)
    write_bytes(staging / PAGE_NAME, page.encode())
    report(1.0, f"{len(drifted)} of {len(comparisons) + (labels is not None)} quantities have drifted")
    details: dict[str, Any] = {
        "reference": _named(reference, inputs["reference"]),
        "drifted": drifted,
        "sentences": sentences,
        "comparisons": [one.model_dump() | {"psi": indices[one.quantity]} for one in comparisons],
        "labels": labels.model_dump() if labels else None,
        "not_compared": left_out,
        "page": PAGE_NAME,
    }
    counts = {"images": len(new), "reference_images": len(old), "compared": len(comparisons), "drifted": len(drifted)}
    return Built(counts=counts, details=details)


def drift_of(
    new: pd.DataFrame, reference: pd.DataFrame, settings: DriftSettings
) -> tuple[list[Comparison], LabelMix | None]:
    """Every quantity, and the mix of labels; None where a side has fewer than 10 images."""
    limits = Limits(
        min_difference=settings.min_difference,
        significance=settings.significance / _SPLIT_ALPHA,
        permutations=settings.permutations,
        seed=settings.seed,
    )
    comparisons = compare((new, reference), (_NEW, _REFERENCE), QUANTITIES, limits)
    first, second = at_most(new, MOST, limits.seed), at_most(reference, MOST, limits.seed)
    if min(len(first), len(second)) < FEWEST:
        return comparisons, None
    both, shuffles = shuffled(first, second, limits)
    labels = label_mix(
        list(both[Column.LABEL]),
        shuffles,
        min_difference=settings.min_label_difference,
        significance=limits.significance,
    )
    return comparisons, labels


def read_checks(validation: Path) -> pd.DataFrame:
    """The checks of a validation, all columns as text, "" where there is nothing."""
    return pd.read_csv(validation / CHECKS_NAME, dtype=str, keep_default_na=False)


def label_sentence(labels: LabelMix) -> str:
    """The mix of labels in words."""
    parts = [
        f"{label} {labels.new[label]:.0%} (reference {labels.reference[label]:.0%})"
        for label in labels.new
        if labels.new[label] or labels.reference[label]
    ]
    return (
        f"labels: {', '.join(parts)}; {labels.distance:.0%} would need another label (chance: up to "
        f"{labels.threshold:.0%}, p={labels.p_value:.2g})"
    )


def _named(validation: Path, key: str) -> str:
    return f"{validation.parent.name}/{key}"


def _why_not(new: pd.DataFrame, reference: pd.DataFrame, quantity: str) -> str:
    counts = [int(pd.notna(numbers(table, quantity)).sum()) for table in (new, reference)]
    return f"{counts[0]} values here and {counts[1]} in the reference; it takes {FEWEST} of each"
