"""How good a photograph is: good, usable, or to be rejected, with the reasons.

The words are those of the EyeQ scale; the grade comes from plain measurements with bounds that can be set, not from
people's marks. It says that a photograph is blurred, dark or unevenly lit, never that it shows no disease.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Any

from glaucoma.datasets.photograph_facts import Measured
from glaucoma.datasets.validation_settings import QualitySettings

GRADE = "quality"
REASONS = "quality_reasons"
"""Columns of `checks.csv`."""


class Grade(StrEnum):
    """From good to bad."""

    GOOD = "good"
    USABLE = "usable"
    REJECT = "reject"


_AT_LEAST = {
    Measured.SHARPNESS: ("sharpness", "blurred"),
    Measured.CONTRAST: ("contrast", "flat"),
    Measured.BRIGHTNESS: ("min_brightness", "dark"),
    Measured.EVENNESS: ("evenness", "unevenly lit"),
    Measured.FIELD_SHARE: ("field_share", "small field of view"),
}
_AT_MOST = {
    Measured.BRIGHTNESS: ("max_brightness", "too bright"),
    Measured.CLIPPED_SHARE: ("clipped_share", "overexposed"),
}


def grade(facts: Mapping[str, Any], settings: QualitySettings) -> tuple[Grade, str]:
    """The worst grade that any measurement gives, and what speaks against a better one, in words.

    Args:
        facts: The numbers of `Measured`. Without brightness nothing is lit, without a field share no field was found:
            reject. Evenness or sharpness that could not be measured on a lit photograph say nothing.
    """
    if facts.get(Measured.BRIGHTNESS) is None:
        return Grade.REJECT, "nothing is lit"
    if facts.get(Measured.FIELD_SHARE) is None:
        return Grade.REJECT, "no field of view"
    found = Grade.GOOD
    reasons = []
    for bounds, breaks in ((_AT_LEAST, _below), (_AT_MOST, _above)):
        for quantity, (name, word) in bounds.items():
            one = _grade_of(facts.get(quantity), name, settings, breaks)
            if one is not Grade.GOOD:
                reasons.append(f"{word} ({quantity} {facts[quantity]:.3g})")
                found = one if found is Grade.GOOD or one is Grade.REJECT else found
    return found, ", ".join(reasons)


def _grade_of(
    value: float | None, name: str, settings: QualitySettings, breaks: Callable[[float, float], bool]
) -> Grade:
    if value is None:
        return Grade.GOOD
    if breaks(value, getattr(settings, f"usable_{name}")):
        return Grade.REJECT
    return Grade.USABLE if breaks(value, getattr(settings, f"good_{name}")) else Grade.GOOD


def _below(value: float, bound: float) -> bool:
    return value < bound


def _above(value: float, bound: float) -> bool:
    return value > bound
