"""Validation: every file read once, the facts in one table, rules that judge it, and all failures listed."""

from __future__ import annotations

import contextlib
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from glaucoma.datasets.comparison import Comparison, compare
from glaucoma.datasets.docs_offline import write_index
from glaucoma.datasets.expectations import SPLIT_AND_LABEL, Severity, dataset_rules
from glaucoma.datasets.judgement import Verdict, judge
from glaucoma.datasets.leakage import leakage_columns
from glaucoma.datasets.manifest import MANIFEST_NAME, read_manifest
from glaucoma.datasets.statistics import Facts, measure_dataset
from glaucoma.datasets.validation_settings import ValidateSettings
from glaucoma.errors import NotFoundError, ValidationFailedError
from glaucoma.progress import Progress, silent
from glaucoma.provenance import Built, StageOutput, file_sha256, read_record, run_stage, write_bytes
from glaucoma.schema import Column, Label, Split
from glaucoma.workspace import Workspace

RECORD_NAME = "validation.json"
CHECKS_NAME = "checks.csv"
DATA_DOCS = "data_docs"

_LISTED = 20
_FROM_MANIFEST = (Column.IMAGE_ID, Column.LABEL, Column.SPLIT, Column.SITE, Column.PATIENT_ID, Column.GROUP)
_READING_SHARE = 0.8


def validate(
    dataset: Path,
    name: str,
    workspace: Workspace,
    settings: ValidateSettings,
    *,
    reference: Path | None = None,
    report: Progress = silent,
    workers: int | None = None,
) -> StageOutput:
    """Judges the dataset in the folder `dataset`; the result lies at `workspace.validations(name)/<key>`.

    Writes `checks.csv` (a row per image), `data_docs/` (HTML) and `validation.json`. A dataset that fails is a result,
    not an error: `require_valid` makes it one.

    Args:
        reference: Folder of an earlier validation, whose photographs these are compared with (drift).
        workers: Threads; None for as many as there are cores. Changes no byte of the output.

    Raises:
        NotFoundError: `dataset` or `reference` is not what it should be.
    """
    manifest = read_manifest(dataset)
    inputs = {
        "dataset": read_record(dataset / "dataset.json").key,
        "manifest_sha256": file_sha256(dataset / MANIFEST_NAME),
    }
    if reference is not None:
        if not (reference / CHECKS_NAME).is_file():
            raise NotFoundError(f"No {CHECKS_NAME} in {reference}", expected="the folder of an earlier validation")
        inputs["reference_sha256"] = file_sha256(reference / CHECKS_NAME)
    return run_stage(
        stage="validate",
        workspace=workspace,
        parent=workspace.validations(name),
        record_name=RECORD_NAME,
        inputs=inputs,
        settings=settings,
        module=__name__,
        build=partial(_build, dataset, manifest, settings, reference, report, workers),
    )


def require_valid(output: StageOutput) -> None:
    """`ValidationFailedError` with every critical failure, unless there is none."""
    failures = output.record.details["critical"]
    if not failures:
        return
    listed = "; ".join(f"({place}) {sentence(failure)}" for place, failure in enumerate(failures, start=1))
    raise ValidationFailedError(
        f"{len(failures)} critical checks failed: {listed}",
        expected="every critical check to pass",
        consequence="The dataset is not used",
        remedy=f"see {output.folder / CHECKS_NAME} and {output.folder / output.record.details['data_docs']}",
    )


def sentence(failure: dict[str, Any]) -> str:
    """One failed check in words: what should hold, what was seen, and the first images concerned."""
    ids = ", ".join(failure["images"][:_LISTED])
    more = f" and {failure['n'] - len(failure['images'])} more" if failure["n"] > len(failure["images"]) else ""
    parts = [f"not so: {failure['says']}", failure["observed"], f"{ids}{more}" if ids else ""]
    return " - ".join(part for part in parts if part)


def _build(
    dataset: Path,
    manifest: pd.DataFrame,
    settings: ValidateSettings,
    reference: Path | None,
    report: Progress,
    workers: int | None,
    staging: Path,
) -> Built:
    table = _checks_table(dataset, manifest, report, workers)
    text = table.to_csv(index=False, lineterminator="\n", float_format="%.6g")
    write_bytes(staging / CHECKS_NAME, text.encode())
    report(_READING_SHARE, "Great Expectations judges the table")
    rules = dataset_rules(settings, set(manifest[Column.LABEL]))
    verdicts = judge(table, rules, staging / DATA_DOCS)
    comparisons = _compare_groups(table, settings, reference)
    _write_index(staging / DATA_DOCS, dataset, verdicts, comparisons)
    report(1.0, f"{sum(verdict.passed for verdict in verdicts)} of {len(verdicts)} expectations hold")
    critical = [_failure(verdict) for verdict in verdicts if _failed(verdict, Severity.CRITICAL)]
    warned = [_failure(verdict) for verdict in verdicts if _failed(verdict, Severity.WARNING)]
    warned += [_difference(comparison) for comparison in comparisons if comparison.differs]
    return Built(
        counts={"images": len(table), "critical": len(critical), "warnings": len(warned)},
        details={
            "passed": not critical,
            "critical": critical,
            "warnings": warned,
            "expectations": len(verdicts),
            "rules": [{"rule": v.rule.name, "severity": v.rule.severity, "passed": v.passed} for v in verdicts],
            "comparisons": [comparison.model_dump() for comparison in comparisons],
            "unreadable": {str(row.image_id): str(row.problem) for row in table.itertuples() if row.problem},
            "data_docs": f"{DATA_DOCS}/index.html",
        },
    )


def _checks_table(dataset: Path, manifest: pd.DataFrame, report: Progress, workers: int | None) -> pd.DataFrame:
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
    table = pd.concat(
        [manifest[[column.value for column in _FROM_MANIFEST]], measured, leakage_columns(manifest)], axis=1
    )
    table[SPLIT_AND_LABEL] = table[Column.SPLIT] + "/" + table[Column.LABEL]
    return table


def _write_index(docs: Path, dataset: Path, verdicts: list[Verdict], comparisons: list[Comparison]) -> None:
    rows = [(str(one.rule.severity), one.passed, one.rule.says, _seen(one)) for one in verdicts]
    rows += [(str(Severity.WARNING), not one.differs, _alike(one), one.says) for one in comparisons]
    write_index(docs, f"Checks of {dataset.parent.name}, version {dataset.name}", rows)


def _seen(verdict: Verdict) -> str:
    ids = ", ".join(verdict.affected[:_LISTED])
    return ": ".join(part for part in (verdict.observed, ids) if part)


def _alike(comparison: Comparison) -> str:
    return f"{comparison.first} and {comparison.second} are alike in {comparison.quantity}"


def _failed(verdict: Verdict, severity: Severity) -> bool:
    return not verdict.passed and verdict.rule.severity is severity


def _failure(verdict: Verdict) -> dict[str, Any]:
    return {
        "rule": verdict.rule.name,
        "says": verdict.rule.says,
        "observed": verdict.observed,
        "images": list(verdict.affected[:_LISTED]),
        "n": len(verdict.affected),
    }


def _difference(comparison: Comparison) -> dict[str, Any]:
    return {
        "rule": f"alike_{comparison.quantity}",
        "says": _alike(comparison),
        "observed": comparison.says,
        "images": [],
        "n": 0,
    }


def _compare_groups(table: pd.DataFrame, settings: ValidateSettings, reference: Path | None) -> list[Comparison]:
    """The classes with each other, val and test with train, and all with the reference's photographs."""
    groups = {str(label): table[table[Column.LABEL] == label] for label in (Label.NORMAL, Label.GLAUCOMA)}
    groups |= {str(split): table[table[Column.SPLIT] == split] for split in Split}
    limits = {"min_difference": settings.min_difference, "significance": settings.significance}
    found = compare(groups, [(str(Label.NORMAL), str(Label.GLAUCOMA))], **limits)
    found += compare(groups, [(str(Split.TRAIN), str(other)) for other in (Split.VAL, Split.TEST)], **limits)
    if reference is not None:
        earlier = pd.read_csv(reference / CHECKS_NAME, dtype={"image_id": str}).replace({np.nan: None})
        found += compare({"this dataset": table, "reference": earlier}, [("this dataset", "reference")], **limits)
    return found
