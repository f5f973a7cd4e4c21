"""Validation: every file read once, the facts in one table, rules that judge it, and all failures listed."""

from __future__ import annotations

import contextlib
from collections import Counter
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from glaucoma.datasets import not_understood
from glaucoma.datasets.comparison import Comparison, Limits, compare
from glaucoma.datasets.confounding import Association, associations
from glaucoma.datasets.expectations import SPLIT_AND_LABEL, dataset_rules
from glaucoma.datasets.findings import CHECKS_NAME, DATA_DOCS, RECORD_NAME, Finding, summary, write_pages
from glaucoma.datasets.judgement import judge
from glaucoma.datasets.leakage import leakage_columns
from glaucoma.datasets.manifest import MANIFEST_NAME, read_manifest
from glaucoma.datasets.pair_judgements import judged_different
from glaucoma.datasets.photograph_facts import Measured
from glaucoma.datasets.quality import GRADE, REASONS, Grade, grade
from glaucoma.datasets.rules import Severity
from glaucoma.datasets.statistics import Facts, measure_dataset
from glaucoma.datasets.validation_settings import PreparedSettings, RawSettings, Target, ValidateSettings
from glaucoma.progress import Progress, silent
from glaucoma.provenance import Built, StageOutput, file_sha256, read_record, run_stage, write_bytes
from glaucoma.schema import Column, Label, Split
from glaucoma.workspace import Workspace

_FROM_MANIFEST = (
    Column.IMAGE_ID,
    Column.LABEL,
    Column.SPLIT,
    Column.SITE,
    Column.ORIGIN,
    Column.EYE,
    Column.PATIENT_ID,
    Column.GROUP,
)
_READING_SHARE = 0.8


def validate(
    dataset: Path,
    name: str,
    workspace: Workspace,
    settings: ValidateSettings,
    *,
    report: Progress = silent,
    workers: int | None = None,
) -> StageOutput:
    """Judges the dataset in the folder `dataset`; the result lies at `workspace.validations(name)/<key>`.

    Writes `checks.csv` (a row per image), `data_docs/` (HTML) and `validation.json`. A dataset that fails is a result,
    not an error: `findings.require_valid` makes it one.

    Args:
        workers: Threads; None for as many as there are cores. Changes no byte of the output.

    Raises:
        NotFoundError: `dataset` is not what it should be.
    """
    manifest = read_manifest(dataset)
    return run_stage(
        stage="validate",
        workspace=workspace,
        parent=workspace.validations(name),
        record_name=RECORD_NAME,
        inputs={
            "dataset": read_record(dataset / "dataset.json").key,
            "manifest_sha256": file_sha256(dataset / MANIFEST_NAME),
        },
        # What bears on other files than these stays out of the key.
        settings=settings.model_copy(update={"raw": RawSettings(), "prepared": PreparedSettings()}),
        module=__name__,
        build=partial(_build, dataset, manifest, settings, report, workers),
    )


def _build(
    dataset: Path,
    manifest: pd.DataFrame,
    settings: ValidateSettings,
    report: Progress,
    workers: int | None,
    staging: Path,
) -> Built:
    table = _checks_table(dataset, manifest, settings, report, workers)
    text = table.to_csv(index=False, lineterminator="\n", float_format="%.6g")
    write_bytes(staging / CHECKS_NAME, text.encode())
    report(_READING_SHARE, "Great Expectations judges the table")
    labels = {str(split): set(rows) for split, rows in manifest.groupby(Column.SPLIT.value)[Column.LABEL.value]}
    rules = dataset_rules(settings, labels)
    findings = [Finding.of(verdict) for verdict in judge(table, rules, staging / DATA_DOCS, what="normalized dataset")]
    report(0.9, "comparing classes and splits")
    comparisons = _compare_groups(table, settings)
    confounders = associations(table, _limits(settings), min_association=settings.min_association)
    findings += [_of_comparison(one) for one in comparisons] + [_of_association(one) for one in confounders]
    made = read_record(dataset / "dataset.json").details
    if "not_understood" in made:  # a merged dataset has no tables of its own
        findings += not_understood.findings(made["not_understood"])
    details = summary(Target.NORMALIZED, findings, len(rules)) | {
        "comparisons": [one.model_dump() for one in comparisons],
        "associations": [one.model_dump() for one in confounders],
        "quality": _grades(table),
        "stated_cdr": _stated_cdr(table),
        "unreadable": {str(row.image_id): str(row.problem) for row in table.itertuples() if row.problem},
    }
    notes = [_quality_note(details["quality"])]
    title = f"Checks of {dataset.parent.name}, version {dataset.name}"
    write_pages(staging / DATA_DOCS, title, findings, notes)
    report(1.0, f"{sum(one.passed for one in findings[: len(rules)])} of {len(rules)} expectations hold")
    counts = {"images": len(table), "critical": len(details["critical"]), "warnings": len(details["warnings"])}
    return Built(counts=counts | _counted(table), details=details)


def _checks_table(
    dataset: Path, manifest: pd.DataFrame, settings: ValidateSettings, report: Progress, workers: int | None
) -> pd.DataFrame:
    """One row per image: the manifest's words, what was measured, and what leaks; None where nothing can be said."""
    facts: list[Facts] = []
    with contextlib.closing(measure_dataset(dataset, manifest, workers=workers)) as measuring:
        for one in measuring:
            facts.append(one)
            report(_READING_SHARE * len(facts) / len(manifest), f"measured {len(facts)} of {len(manifest)} images")
    measured = pd.DataFrame([asdict(one) for one in facts]).drop(columns=Column.IMAGE_ID.value)
    for name in measured.columns:
        if measured[name].map(lambda value: isinstance(value, bool)).any():
            measured[name] = measured[name].astype(object)
    graded = [grade(asdict(one), settings.quality) if one.readable else (None, "") for one in facts]
    measured[GRADE] = [None if found is None else found.value for found, _ in graded]
    measured[REASONS] = [reasons for _, reasons in graded]
    known = manifest[[column.value for column in _FROM_MANIFEST]]
    different = judged_different(dataset)
    leaks = leakage_columns(manifest, judged_different=different, within_bits=settings.review_bits)
    table = pd.concat([known, measured, leaks], axis=1)
    table[SPLIT_AND_LABEL] = table[Column.SPLIT] + "/" + table[Column.LABEL]
    return table


def _limits(settings: ValidateSettings) -> Limits:
    return Limits(
        min_difference=settings.min_difference,
        significance=settings.significance,
        permutations=settings.permutations,
        seed=settings.seed,
        telling_auc=settings.telling_auc,
    )


def _compare_groups(table: pd.DataFrame, settings: ValidateSettings) -> list[Comparison]:
    """The classes with each other, and val and test with train."""
    pairs = [(Column.LABEL, Label.GLAUCOMA.value, Label.NORMAL.value)]
    pairs += [(Column.SPLIT, other.value, Split.TRAIN.value) for other in (Split.VAL, Split.TEST)]
    found: list[Comparison] = []
    for column, first, second in pairs:
        groups = (table[table[column] == first], table[table[column] == second])
        found += compare(groups, (first, second), list(Measured), _limits(settings))
    return found


def _of_comparison(one: Comparison) -> Finding:
    """Between the classes a difference is one that gives the label away; between splits it is a shift."""
    if Label.GLAUCOMA in (one.first, one.second):
        passed = not (one.differs or one.tells_apart)
        says = f"{one.quantity} alone does not tell glaucoma from normal"
        return Finding(f"label_from_{one.quantity}", Severity.WARNING, passed, says, one.says)
    says = f"{one.first} and {one.second} are alike in {one.quantity}"
    return Finding(f"alike_{one.quantity}", Severity.WARNING, not one.differs, says, one.says)


def _of_association(one: Association) -> Finding:
    says = f"{one.trait} does not give the label away"
    return Finding(f"label_from_{one.trait}", Severity.WARNING, not one.gives_away, says, one.says)


def _grades(table: pd.DataFrame) -> dict[str, Any]:
    """How many photographs have which grade, in all and of each label."""
    by_label = {str(label): _counts_of(rows[GRADE]) for label, rows in table.groupby(Column.LABEL.value, sort=True)}
    return _counts_of(table[GRADE]) | {"by_label": by_label}


def _counts_of(grades: pd.Series) -> dict[str, int]:
    found = Counter(value for value in grades if isinstance(value, str))
    return {one.value: found[one.value] for one in Grade}


def _quality_note(grades: dict[str, Any]) -> str:
    return "Quality: " + ", ".join(f"{grades[one.value]} {one.value}" for one in Grade)


def _counted(table: pd.DataFrame) -> dict[str, int]:
    return {f"quality_{name}": number for name, number in _counts_of(table[GRADE]).items()}


def _stated_cdr(table: pd.DataFrame) -> dict[str, Any]:
    """How well the masks' vertical ratios agree with the stated ones; null where nothing was stated."""
    difference = pd.to_numeric(table["cdr_difference"], errors="coerce").dropna()
    if difference.empty:
        return {"n": 0, "mean_difference": None, "largest_difference": None}
    return {
        "n": len(difference),
        "mean_difference": float(difference.mean()),
        "largest_difference": float(difference.max()),
    }
