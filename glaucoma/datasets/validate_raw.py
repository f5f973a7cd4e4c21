"""Validation of an unpacked archive: whether its files are what their names promise, whole, and each there once."""

from __future__ import annotations

import contextlib
from collections import Counter
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from glaucoma.datasets.findings import CHECKS_NAME, DATA_DOCS, RECORD_NAME, Finding, summary, write_pages
from glaucoma.datasets.judgement import judge
from glaucoma.datasets.raw_facts import FileFacts, measure_files
from glaucoma.datasets.rules import Rule, Severity, between, contains, holds, not_empty
from glaucoma.datasets.validation_settings import Target, ValidateSettings
from glaucoma.progress import Progress, silent
from glaucoma.provenance import Built, StageOutput, run_stage, write_bytes
from glaucoma.workspace import Workspace

_FILES_FOLDER = "files"
_READING_SHARE = 0.85


def validate_raw(
    unpacked: StageOutput,
    name: str,
    workspace: Workspace,
    settings: ValidateSettings,
    *,
    report: Progress = silent,
    workers: int | None = None,
) -> StageOutput:
    """Judges the files of an unpacked archive; the result lies at `workspace.validations(name)/<key>`.

    Writes `checks.csv` (a row per file), `data_docs/` and `validation.json`, whose details name the kinds of files and
    the files that stand more than once.

    Args:
        unpacked: The output of `unpack`.
        name: The dataset that is to be made of it.
        workers: Threads; None for as many as there are cores. Changes no byte of the output.
    """
    return run_stage(
        stage="validate-raw",
        workspace=workspace,
        parent=workspace.validations(name),
        record_name=RECORD_NAME,
        inputs={"archive": unpacked.key},
        # What bears on other files than these stays out of the key.
        settings=ValidateSettings(min_side_px=settings.min_side_px, raw=settings.raw),
        module=__name__,
        build=partial(_build, unpacked, name, settings, report, workers),
    )


def raw_rules(settings: ValidateSettings) -> tuple[Rule, ...]:
    """What must hold of an archive's files. Single bad files only warn: normalization sets them aside by name."""
    warn, least = Severity.WARNING, settings.min_side_px
    return (
        not_empty("files in the archive"),
        contains("has_images", "is_image", [True], "there are images in the archive"),
        holds("sha256_matches", "every file has the bytes that were unpacked"),
        holds("not_empty_file", "no file is empty", warn),
        holds("ending_matches", "every image is of the kind that its name's ending promises", warn),
        holds("image_readable", "every image can be read", warn),
        holds("no_program", "no file is a program", warn),
        between("large_enough", "short_side_px", least, None, f"every image is at least {least} px on each side", warn),
        between("no_copies", "copies", None, 1, "no file stands twice", warn),
    )


def _build(
    unpacked: StageOutput, name: str, settings: ValidateSettings, report: Progress, workers: int | None, staging: Path
) -> Built:
    entries = unpacked.record.details["files"]
    facts: list[FileFacts] = []
    measuring = measure_files(unpacked.folder / _FILES_FOLDER, entries, decode=settings.raw.decode, workers=workers)
    with contextlib.closing(measuring):
        for one in measuring:
            facts.append(one)
            report(_READING_SHARE * len(facts) / len(entries), f"looked at {len(facts)} of {len(entries)} files")
    table = pd.DataFrame([asdict(one) for one in facts])
    for column in ("sha256_matches", "ending_matches", "image_readable"):
        table[column] = table[column].astype(object)
    text = table.to_csv(index=False, lineterminator="\n")
    write_bytes(staging / CHECKS_NAME, text.encode("utf-8", errors="surrogateescape"))
    report(_READING_SHARE, "Great Expectations judges the table")
    rules = raw_rules(settings)
    docs = staging / DATA_DOCS
    findings = [Finding.of(one) for one in judge(table, rules, docs, what="unpacked archive", index="path")]
    kinds = dict(sorted(Counter(one.kind for one in facts).items()))
    note = "Files by content: " + ", ".join(f"{number} {kind}" for kind, number in kinds.items())
    write_pages(docs, f"Checks of the archive {unpacked.record.details['archive']} for {name}", findings, [note])
    report(1.0, f"{sum(one.passed for one in findings)} of {len(rules)} expectations hold")
    details: dict[str, Any] = summary(Target.RAW, findings, len(rules)) | {
        "archive": unpacked.record.details["archive"],
        "kinds": kinds,
        "unreadable": {one.path: one.problem for one in facts if one.problem},
    }
    counts = {
        "files": len(facts),
        "images": sum(one.is_image for one in facts),
        "copies": sum(one.copies > 1 for one in facts),
        "critical": len(details["critical"]),
        "warnings": len(details["warnings"]),
    }
    return Built(counts=counts, details=details)
