"""What a dataset must fulfil, as data: one rule a row, with its severity and a sentence for a person."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from glaucoma.datasets.leakage import Leak
from glaucoma.datasets.manifest import IMAGE_ID_PATTERN
from glaucoma.datasets.statistics import Measured
from glaucoma.datasets.validation_settings import ValidateSettings
from glaucoma.schema import Column, Label, Split

SPLIT_AND_LABEL = "split_and_label"
"""A column of `checks.csv`: the split and the label in one word, such as `train/normal`."""


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
    meta: dict[str, Any] = field(default_factory=dict)


def dataset_rules(settings: ValidateSettings, labels: set[str]) -> tuple[Rule, ...]:
    """All rules for a dataset whose images carry `labels`.

    Where normal and glaucoma both occur, each must occur in each split; a dataset of masks alone need not have labels.
    """
    rules = (*_file_rules(settings), *_mask_rules(), *_split_rules(settings), *_look_rules(settings))
    needed = {Label.NORMAL.value, Label.GLAUCOMA.value}
    if needed <= labels:
        pairs = [f"{split.value}/{label}" for split in Split for label in sorted(needed)]
        rules = (
            *rules,
            Rule(
                "classes_in_every_split",
                "ExpectColumnDistinctValuesToContainSet",
                {"column": SPLIT_AND_LABEL, "value_set": pairs},
                "normal and glaucoma each occur in train, val and test",
            ),
        )
    return rules


def _file_rules(settings: ValidateSettings) -> tuple[Rule, ...]:
    return (
        Rule("not_empty", "ExpectTableRowCountToBeBetween", {"min_value": 1}, "the dataset has images"),
        Rule(
            "ids_unique", "ExpectColumnValuesToBeUnique", {"column": Column.IMAGE_ID.value}, "each image_id is unique"
        ),
        Rule(
            "ids_plain",
            "ExpectColumnValuesToMatchRegex",
            {"column": Column.IMAGE_ID.value, "regex": IMAGE_ID_PATTERN},
            "each image_id can be a file's name",
        ),
        _in_set("labels_known", Column.LABEL.value, [label.value for label in Label], "each label is a known one"),
        _in_set("splits_known", Column.SPLIT.value, [split.value for split in Split], "each split is a known one"),
        _true("readable", "every photograph can be decoded"),
        _true("sha256_matches", "every photograph has the bytes that the manifest says"),
        _true("size_matches", "every photograph has the width and height that the manifest says"),
        _between("large_enough", "short_side_px", settings.min_side_px, None, "no photograph is too small"),
        _in_set("in_colour", "channels", [3], "every photograph is in colour", Severity.WARNING),
    )


def _mask_rules() -> tuple[Rule, ...]:
    return (
        _true("mask_readable", "every mask can be decoded as 8-bit grey"),
        _true("mask_size_matches", "every mask is as large as its photograph"),
        _true("mask_values_ok", "every mask holds only the values 0, 1 and 2"),
        _true("cup_inside_disc", "every cup lies inside its disc"),
        _true("mask_states_ok", "the manifest's disc and cup states say what the masks show"),
        _between("disc_in_one_part", "disc_parts", None, 1, "every disc is one region", Severity.WARNING),
        _between("cdr_plausible", "vertical_cdr", 0.05, 0.98, "every vertical CDR is 0.05 to 0.98", Severity.WARNING),
    )


def _split_rules(settings: ValidateSettings) -> tuple[Rule, ...]:
    near = settings.near_duplicate_bits
    return (
        _between("patient_in_one_split", Leak.PATIENT_SPLITS, None, 1, "no patient stands in two splits"),
        _between("group_in_one_split", Leak.GROUP_SPLITS, None, 1, "no group stands in two splits"),
        _between("bytes_in_one_split", Leak.BYTES_SPLITS, None, 1, "no file stands in two splits"),
        _between("pixels_in_one_split", Leak.PIXELS_SPLITS, None, 1, "no photograph stands in two splits"),
        _between(
            "no_near_duplicate_across_splits",
            Leak.LOOKALIKE_BITS,
            near + 1,
            None,
            f"no two photographs of different splits are within {near} of 256 bits of each other",
        ),
        _between(
            "no_lookalike_across_splits",
            Leak.LOOKALIKE_BITS,
            settings.review_bits + 1,
            None,
            f"no two photographs of different splits are within {settings.review_bits} of 256 bits of each other",
            Severity.WARNING,
        ),
        _between(
            "one_label_per_photograph",
            Leak.LABELS_OF_PIXELS,
            None,
            1,
            "copies of one photograph carry one label",
            Severity.WARNING,
        ),
    )


def _look_rules(settings: ValidateSettings) -> tuple[Rule, ...]:
    warn = Severity.WARNING
    low, high = settings.min_brightness, settings.max_brightness
    return (
        _between("brightness", Measured.BRIGHTNESS, low, high, "no photograph is too dark or too bright", warn),
        _between("contrast", Measured.CONTRAST, settings.min_contrast, None, "no photograph is flat", warn),
        _between("sharpness", Measured.SHARPNESS, settings.min_sharpness, None, "no photograph is blurred away", warn),
        _between("entropy", Measured.ENTROPY, settings.min_entropy, None, "no photograph is nearly empty", warn),
        _between("lit_share", Measured.LIT_SHARE, settings.min_lit_share, None, "no photograph is mostly black", warn),
    )


def _true(column: str, says: str, severity: Severity = Severity.CRITICAL) -> Rule:
    return _in_set(column, column, [True], says, severity)


def _in_set(name: str, column: str, values: list[Any], says: str, severity: Severity = Severity.CRITICAL) -> Rule:
    return Rule(name, "ExpectColumnValuesToBeInSet", {"column": column, "value_set": values}, says, severity)


def _between(
    name: str, column: str, low: float | None, high: float | None, says: str, severity: Severity = Severity.CRITICAL
) -> Rule:
    bounds = {"min_value": low, "max_value": high}
    arguments = {"column": str(column), **{key: value for key, value in bounds.items() if value is not None}}
    return Rule(name, "ExpectColumnValuesToBeBetween", arguments, says, severity)
