"""Validation of a prepared dataset: whether its files agree with each other and with the dataset they were made of."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from glaucoma.datasets.drift import read_checks, reference_validation
from glaucoma.datasets.findings import CHECKS_NAME, DATA_DOCS, RECORD_NAME, Finding, summary, write_pages
from glaucoma.datasets.judgement import judge
from glaucoma.datasets.manifest import MANIFEST_NAME, read_manifest
from glaucoma.datasets.rules import Rule, Severity, between, contains, holds, not_empty, unique
from glaucoma.datasets.validation_settings import Target, ValidateSettings
from glaucoma.errors import NotFoundError
from glaucoma.preprocessing.prepared_facts import Packed, PreparedFacts, measure_prepared, open_packed
from glaucoma.preprocessing.preprocess import RECORD_NAME as PREPARED_RECORD
from glaucoma.progress import Progress, silent
from glaucoma.provenance import Built, StageOutput, StageRecord, file_sha256, read_record, run_stage, write_bytes
from glaucoma.schema import Column, GeometryColumn
from glaucoma.workspace import Workspace

SPLIT_AND_LABEL = "split_and_label"
_READING_SHARE = 0.85
_UNCHANGED = (
    Column.LABEL, Column.SPLIT, Column.GROUP, Column.PATIENT_ID, Column.EYE, Column.SITE, Column.SHA256,
    Column.AGE_YEARS, Column.IOP_MMHG,
)  # fmt: skip
_MIN_FIELD_SHARE = 0.2
_SCALE_TOLERANCE = 1e-6
_SMALLEST_DISC_PX = 500
"""A prepared disc smaller than this changes by some per cent through the rounding to whole pixels alone."""


def validate_prepared(
    prepared: Path,
    name: str,
    workspace: Workspace,
    settings: ValidateSettings,
    *,
    report: Progress = silent,
    workers: int | None = None,
) -> StageOutput:
    """Judges the prepared dataset in the folder `prepared`; the result lies at `workspace.validations(name)/<key>`.

    Writes `checks.csv` (a row per image), `data_docs/` and `validation.json`. Where the dataset it was made of lies in
    the workspace, its rows are compared too, and where that one was validated, so are the discs' sizes.

    Args:
        workers: Threads; None for as many as there are cores. Changes no byte of the output.

    Raises:
        NotFoundError: `prepared` is no prepared dataset.
    """
    manifest, record = read_manifest(prepared), read_record(prepared / PREPARED_RECORD)
    dataset = workspace.datasets(name) / str(record.details["dataset_key"])
    checks = _checks_of(workspace, name, dataset.name)
    inputs = {"prepared": record.key, "manifest_sha256": file_sha256(prepared / MANIFEST_NAME)}
    if (dataset / MANIFEST_NAME).is_file():
        inputs["dataset_manifest_sha256"] = file_sha256(dataset / MANIFEST_NAME)
    if checks is not None:
        inputs["dataset_checks_sha256"] = file_sha256(checks / CHECKS_NAME)
    return run_stage(
        stage="validate-prepared",
        workspace=workspace,
        parent=workspace.validations(name),
        record_name=RECORD_NAME,
        inputs=inputs,
        # What bears on other files than these stays out of the key.
        settings=ValidateSettings(prepared=settings.prepared),
        module=__name__,
        build=partial(_build, prepared, manifest, record, dataset, checks, settings, report, workers),
    )


def prepared_rules(settings: ValidateSettings, expected: list[str]) -> tuple[Rule, ...]:
    """What must hold of a prepared dataset.

    Args:
        expected: The pairs of split and label, such as `train/normal`, that must occur.
    """
    warn, most = Severity.WARNING, settings.prepared.max_disc_lost
    return (
        not_empty("prepared images"),
        unique("ids_unique", Column.IMAGE_ID.value, "each image_id is unique"),
        contains("labels_kept", SPLIT_AND_LABEL, expected, "each split has the labels that the record says"),
        holds("counts_as_recorded", "each split has as many images of each label as the record says"),
        holds("images_packed", "the packed pictures are uint8, one row an image, of the stated size"),
        holds("masks_packed", "the packed masks are uint8, one row an image, of the stated size"),
        holds("fields_packed", "the packed fields of view are uint8, one row an image, of the stated size"),
        holds("picture_readable", "every prepared picture can be read"),
        holds("picture_size_ok", "every prepared picture has the stated size"),
        holds("picture_as_packed", "every compared picture is the same as its packed row"),
        holds("mask_readable", "every compared mask can be read"),
        holds("mask_as_packed", "every compared mask is the same as its packed row"),
        holds("mask_values_ok", "every mask holds only the values 0, 1 and 2"),
        holds("field_values_ok", "every field of view holds only the values 0 and 1"),
        holds("scale_ok", "every scale is the prepared size over the crop's"),
        holds("crop_meets_source", "every crop has its middle in its photograph"),
        holds("row_as_in_dataset", "label, split, group and source of every image are the dataset's"),
        between("group_in_one_split", "group_splits", None, 1, "no group stands in two splits"),
        between("field_share", "field_share", _MIN_FIELD_SHARE, None, "every field fills a fifth of its picture", warn),
        between("disc_kept", "disc_lost", None, most, f"no crop removes more than {most:.0%} of a disc", warn),
    )


def _checks_of(workspace: Workspace, name: str, key: str) -> Path | None:
    try:
        return reference_validation(workspace, f"{name}/{key}")
    except NotFoundError:
        return None


def _build(
    prepared: Path,
    manifest: pd.DataFrame,
    record: StageRecord,
    dataset: Path,
    checks: Path | None,
    settings: ValidateSettings,
    report: Progress,
    workers: int | None,
    staging: Path,
) -> Built:
    size = int(record.details["image_size_px"])
    packed = open_packed(prepared, len(manifest), size)
    most = settings.prepared.max_compared
    facts = measure_prepared(prepared, manifest, packed, size, most, partial(_first_part, report), workers)
    table = _table(manifest, facts, packed, record, size)
    _add_source(table, manifest, dataset, checks)
    text = table.to_csv(index=False, lineterminator="\n", float_format="%.6g")
    write_bytes(staging / CHECKS_NAME, text.encode())
    report(_READING_SHARE, "Great Expectations judges the table")
    expected = [f"{split}/{label}" for split, labels in record.details["counts_by_split"].items() for label in labels]
    rules = prepared_rules(settings, expected)
    findings = [Finding.of(one) for one in judge(table, rules, staging / DATA_DOCS, what="prepared dataset")]
    compared = int(table["picture_as_packed"].notna().sum())
    notes = [f"{compared} of {len(table)} pictures compared pixel by pixel with the packed arrays"]
    write_pages(staging / DATA_DOCS, f"Checks of {prepared.parent.name}, prepared {prepared.name}", findings, notes)
    report(1.0, f"{sum(one.passed for one in findings)} of {len(rules)} expectations hold")
    details: dict[str, Any] = summary(Target.PREPARED, findings, len(rules)) | {
        "compared": compared,
        "dataset_compared": "row_as_in_dataset" in table and bool(table["row_as_in_dataset"].notna().any()),
        "unreadable": {one.image_id: one.problem for one in facts if one.problem},
    }
    counts = {"images": len(table), "critical": len(details["critical"]), "warnings": len(details["warnings"])}
    return Built(counts=counts, details=details)


def _first_part(report: Progress, share: float, line: str) -> None:
    report(_READING_SHARE * share, line)


def _table(
    manifest: pd.DataFrame, facts: list[PreparedFacts], packed: Packed, record: StageRecord, size: int
) -> pd.DataFrame:
    """The manifest's words, what was measured, and whether the arrays and the record fit them."""
    measured = pd.DataFrame([asdict(one) for one in facts]).drop(columns=Column.IMAGE_ID.value).astype(object)
    known = [Column.IMAGE_ID, Column.LABEL, Column.SPLIT, Column.GROUP]
    table = pd.concat([manifest[[column.value for column in known]], measured], axis=1)
    table[SPLIT_AND_LABEL] = table[Column.SPLIT] + "/" + table[Column.LABEL]
    counts = table[SPLIT_AND_LABEL].value_counts()
    recorded = {
        f"{split}/{label}": number
        for split, labels in record.details["counts_by_split"].items()
        for label, number in labels.items()
    }
    table["counts_as_recorded"] = [int(counts[pair]) == recorded.get(pair) for pair in table[SPLIT_AND_LABEL]]
    for column, array in (
        ("images_packed", packed.images),
        ("masks_packed", packed.masks),
        ("fields_packed", packed.fields),
    ):
        table[column] = array is not None
    scale = size / manifest[GeometryColumn.CROP_WIDTH_PX]
    both = (manifest[GeometryColumn.SCALE_X], manifest[GeometryColumn.SCALE_Y])
    table["scale_ok"] = np.logical_and.reduce([np.isclose(one, scale, rtol=_SCALE_TOLERANCE) for one in both])
    table["group_splits"] = table.groupby(Column.GROUP.value)[Column.SPLIT.value].transform("nunique")
    return table


def _add_source(table: pd.DataFrame, manifest: pd.DataFrame, dataset: Path, checks: Path | None) -> None:
    """Columns that hold the rows against the dataset's; empty where that is not in the workspace."""
    for column in ("row_as_in_dataset", "crop_meets_source", "disc_lost"):
        table[column] = pd.Series([None] * len(table), dtype=object)
    ids = manifest[Column.IMAGE_ID]
    if (dataset / MANIFEST_NAME).is_file():
        source = read_manifest(dataset).set_index(Column.IMAGE_ID.value).reindex(ids).reset_index()
        same = [source[column.value].eq(manifest[column.value]) for column in _UNCHANGED]
        table["row_as_in_dataset"] = np.logical_and.reduce(same).astype(object)
        middle_x = manifest[GeometryColumn.CROP_X_PX] + manifest[GeometryColumn.CROP_WIDTH_PX] / 2
        middle_y = manifest[GeometryColumn.CROP_Y_PX] + manifest[GeometryColumn.CROP_HEIGHT_PX] / 2
        inside = middle_x.between(0, source[Column.WIDTH]) & middle_y.between(0, source[Column.HEIGHT])
        table["crop_meets_source"] = inside.astype(object)
    if checks is not None:
        before = read_checks(checks).set_index(Column.IMAGE_ID.value).reindex(ids).reset_index()
        discs = pd.to_numeric(before["disc_px"], errors="coerce")
        expected = discs * manifest[GeometryColumn.SCALE_X] * manifest[GeometryColumn.SCALE_Y]
        kept = pd.to_numeric(table["disc_px"], errors="coerce") / expected.where(expected >= _SMALLEST_DISC_PX)
        table["disc_lost"] = (1 - kept).clip(lower=0)
