"""What a validation found, in one form for its record, its pages and the people who read either."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from glaucoma.datasets.docs_offline import write_index
from glaucoma.datasets.judgement import Verdict
from glaucoma.datasets.rules import Severity
from glaucoma.datasets.validation_settings import Target
from glaucoma.errors import ValidationFailedError
from glaucoma.provenance import StageOutput

RECORD_NAME = "validation.json"
CHECKS_NAME = "checks.csv"
DATA_DOCS = "data_docs"
_LISTED = 20


@dataclass(frozen=True)
class Finding:
    """What became of one check.

    Attributes:
        says: What should hold.
        observed: What was seen, for a person.
        affected: The image ids or file paths that break it.
    """

    rule: str
    severity: Severity
    passed: bool
    says: str
    observed: str
    affected: tuple[str, ...] = ()

    @classmethod
    def of(cls, verdict: Verdict) -> Finding:
        """Great Expectations' verdict on a rule."""
        rule = verdict.rule
        return cls(rule.name, rule.severity, verdict.passed, rule.says, verdict.observed, verdict.affected)

    @property
    def failure(self) -> dict[str, Any]:
        """For the record: the first 20 that are affected, and how many there are."""
        return {
            "rule": self.rule,
            "says": self.says,
            "observed": self.observed,
            "images": list(self.affected[:_LISTED]),
            "n": len(self.affected),
        }


def summary(what: Target, findings: Sequence[Finding], expectations: int) -> dict[str, Any]:
    """The details that every validation's record holds."""
    failed = [finding for finding in findings if not finding.passed]
    critical = [finding.failure for finding in failed if finding.severity is Severity.CRITICAL]
    return {
        "what": what.value,
        "passed": not critical,
        "critical": critical,
        "warnings": [finding.failure for finding in failed if finding.severity is Severity.WARNING],
        "expectations": expectations,
        "rules": [{"rule": one.rule, "severity": one.severity, "passed": one.passed} for one in findings],
        "data_docs": f"{DATA_DOCS}/index.html",
    }


def write_pages(docs: Path, title: str, findings: Sequence[Finding], notes: Sequence[str] = ()) -> None:
    """The index of the Data Docs: every check with its outcome, after `notes`."""
    rows = [(str(one.severity), one.passed, one.says, _seen(one)) for one in findings]
    write_index(docs, title, rows, notes)


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
    ids = ", ".join(failure["images"])
    more = f" and {failure['n'] - len(failure['images'])} more" if failure["n"] > len(failure["images"]) else ""
    parts = [f"not so: {failure['says']}", failure["observed"], f"{ids}{more}" if ids else ""]
    return " - ".join(part for part in parts if part)


def _seen(finding: Finding) -> str:
    ids = ", ".join(finding.affected[:_LISTED])
    more = f" and {len(finding.affected) - _LISTED} more" if len(finding.affected) > _LISTED else ""
    return ": ".join(part for part in (finding.observed, ids + more) if part)
