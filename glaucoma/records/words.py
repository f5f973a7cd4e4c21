"""The words of records and plans: where an experiment stands, and how new it is."""

from __future__ import annotations

from enum import StrEnum


class Standing(StrEnum):
    """Where an experiment stands in the ledger."""

    PROPOSED = "proposed"
    RUNNING = "running"
    COMPLETED = "completed"
    INTERRUPTED = "interrupted"
    """Ended by something outside it that can pass or be mended; it may be proposed again."""
    FAILED = "failed"
    CANCELLED = "cancelled"
    REFUSED = "refused"
    """A rule was broken; it was never run."""


class CycleStatus(StrEnum):
    """Where a research cycle stands."""

    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Novelty(StrEnum):
    """How far an experiment lies from what was tried before it, as measured and not as claimed."""

    EXPLOIT = "exploit"
    """Near the best one so far."""
    EXPLORE = "explore"
    """Within the range of the search, away from the best one."""
    WILDCAT = "wildcat"
    """Outside the range of the search and of all that was tried; run at reduced cost and never promoted directly."""


PRIMARY_METRIC = {"classification": "auc", "segmentation": "mean_dice"}
"""The metric on the validation split by which experiments of a task are ranked; higher is better."""
