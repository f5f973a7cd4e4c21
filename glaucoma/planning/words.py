"""Sentences for people about settings and scores."""

from __future__ import annotations

from collections.abc import Mapping

from glaucoma.planning.space import Value
from glaucoma.records.ledger import LedgerExperiment
from glaucoma.records.words import PRIMARY_METRIC
from glaucoma.schema import Task

METRIC_NAMES = {"auc": "AUC", "mean_dice": "mean Dice"}


def primary_name(task: Task) -> str:
    """The primary metric as people write it."""
    return METRIC_NAMES[PRIMARY_METRIC[task]]


def score_text(entry: LedgerExperiment) -> str:
    """`cls-... (validation AUC 0.912)`."""
    score = "undefined" if entry.primary_score is None else f"{entry.primary_score:.3f}"
    return f"{entry.experiment_id} (validation {primary_name(entry.task)} {score})"


def value_text(value: Value) -> str:
    """Numbers with at most three significant digits, words as they are."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.3g}" if isinstance(value, float) else str(value).replace("_", " ")


def changes_text(before: Mapping[str, Value], after: Mapping[str, Value]) -> str:
    """`learning rate 0.003 to 0.0018, loss focal to cross entropy`; says so where nothing changes."""
    parts = [
        f"{name.replace('_', ' ')} {value_text(before[name])} to {value_text(value)}"
        for name, value in after.items()
        if before[name] != value
    ]
    return ", ".join(parts) or "no setting changed"
