"""One rule a row: what should hold of a table of checks, how grave it is where it does not, and a sentence on it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Severity(StrEnum):
    """What a failed rule means."""

    CRITICAL = "critical"
    """The dataset may not be used."""
    WARNING = "warning"
    """A person should look."""


@dataclass(frozen=True)
class Rule:
    """One expectation on the table of checks.

    Attributes:
        expectation: The Great Expectations class, such as `ExpectColumnValuesToBeUnique`.
        arguments: Its arguments.
        says: What holds where the rule is fulfilled.
    """

    name: str
    expectation: str
    arguments: dict[str, Any]
    says: str
    severity: Severity = Severity.CRITICAL


def not_empty(what: str) -> Rule:
    """The table has a row."""
    return Rule("not_empty", "ExpectTableRowCountToBeBetween", {"min_value": 1}, f"there are {what}")


def holds(column: str, says: str, severity: Severity = Severity.CRITICAL) -> Rule:
    """The column says True wherever it says anything; the rule has the column's name."""
    return in_set(column, column, [True], says, severity)


def in_set(name: str, column: str, values: list[Any], says: str, severity: Severity = Severity.CRITICAL) -> Rule:
    """The column holds only these values, or nothing."""
    return Rule(name, "ExpectColumnValuesToBeInSet", {"column": column, "value_set": values}, says, severity)


def contains(name: str, column: str, values: list[Any], says: str, severity: Severity = Severity.CRITICAL) -> Rule:
    """Each of these values stands somewhere in the column."""
    return Rule(name, "ExpectColumnDistinctValuesToContainSet", {"column": column, "value_set": values}, says, severity)


def unique(name: str, column: str, says: str, severity: Severity = Severity.CRITICAL) -> Rule:
    """No value of the column stands twice."""
    return Rule(name, "ExpectColumnValuesToBeUnique", {"column": column}, says, severity)


def matches(name: str, column: str, pattern: str, says: str, severity: Severity = Severity.CRITICAL) -> Rule:
    """Each value of the column matches the regular expression."""
    return Rule(name, "ExpectColumnValuesToMatchRegex", {"column": column, "regex": pattern}, says, severity)


def between(
    name: str, column: str, low: float | None, high: float | None, says: str, severity: Severity = Severity.CRITICAL
) -> Rule:
    """Each value of the column lies between the bounds, both included; None is no bound."""
    bounds = {"min_value": low, "max_value": high}
    arguments = {"column": str(column), **{key: value for key, value in bounds.items() if value is not None}}
    return Rule(name, "ExpectColumnValuesToBeBetween", arguments, says, severity)
