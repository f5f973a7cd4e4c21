"""What a dataset in the canonical form must fulfil, as data: one rule a row."""

from __future__ import annotations

from collections.abc import Mapping

from glaucoma.datasets.leakage import Leak
from glaucoma.datasets.manifest import IMAGE_ID_PATTERN
from glaucoma.datasets.photograph_facts import Measured
from glaucoma.datasets.quality import GRADE, Grade
from glaucoma.datasets.rules import Rule, Severity, between, contains, holds, in_set, matches, not_empty, unique
from glaucoma.datasets.validation_settings import ValidateSettings
from glaucoma.schema import Column, Eye, Label, Split

SPLIT_AND_LABEL = "split_and_label"
"""A column of `checks.csv`: the split and the label in one word, such as `train/normal`."""
_DEPTHS = [1, 2, 4, 8]
_IOP_MMHG = (3.0, 70.0)
_AGE_YEARS = (0.0, 110.0)


def dataset_rules(settings: ValidateSettings, labels: Mapping[str, set[str]]) -> tuple[Rule, ...]:
    """All rules for a dataset whose splits hold images with `labels`: split -> labels.

    Where normal and glaucoma both occur, each must occur in train, and in every other split that holds either; a
    dataset of masks alone need not have labels. A split without either is asked for (a share of 0) or given so by the
    source (a test whose labels are kept back), and only warns.
    """
    rules = (
        *_file_rules(settings),
        *_mask_rules(settings),
        *_split_rules(settings),
        *_look_rules(settings),
        *_clinical_rules(),
    )
    needed = {Label.NORMAL.value, Label.GLAUCOMA.value}
    if needed <= set().union(*labels.values()):
        labelled = [split.value for split in Split if split is Split.TRAIN or labels.get(split.value, set()) & needed]
        pairs = [f"{split}/{label}" for split in labelled for label in sorted(needed)]
        says = f"normal and glaucoma each occur in {', '.join(labelled)}"
        rules = (*rules, contains("classes_in_every_split", SPLIT_AND_LABEL, pairs, says))
        rules = (*rules, *(_unlabelled(split) for split in Split if split.value not in labelled))
    return rules


def _unlabelled(split: Split) -> Rule:
    """Warns of a split without normal and glaucoma, on which no classifier is chosen or measured."""
    pairs = [f"{split.value}/{label.value}" for label in (Label.GLAUCOMA, Label.NORMAL)]
    says = f"{split.value} holds photographs labelled normal or glaucoma"
    return contains(f"labels_in_{split.value}", SPLIT_AND_LABEL, pairs, says, Severity.WARNING)


def _file_rules(settings: ValidateSettings) -> tuple[Rule, ...]:
    warn = Severity.WARNING
    return (
        not_empty("images in the dataset"),
        unique("ids_unique", Column.IMAGE_ID.value, "each image_id is unique"),
        matches("ids_plain", Column.IMAGE_ID.value, IMAGE_ID_PATTERN, "each image_id can be a file's name"),
        in_set("labels_known", Column.LABEL.value, [label.value for label in Label], "each label is a known one"),
        in_set("splits_known", Column.SPLIT.value, [split.value for split in Split], "each split is a known one"),
        holds("readable", "every photograph can be decoded"),
        holds("sha256_matches", "every photograph has the bytes that the manifest says"),
        holds("size_matches", "every photograph has the width and height that the manifest says"),
        between("large_enough", "short_side_px", settings.min_side_px, None, "no photograph is too small"),
        in_set("in_colour", "channels", [3], "every photograph is in colour", warn),
        in_set("stored_in_8_bits", "depth_bits", _DEPTHS, "no photograph is stored in more than 8 bits", warn),
    )


def _mask_rules(settings: ValidateSettings) -> tuple[Rule, ...]:
    warn, most = Severity.WARNING, settings.max_cdr_difference
    return (
        holds("mask_readable", "every mask can be decoded as 8-bit grey"),
        holds("mask_size_matches", "every mask is as large as its photograph"),
        holds("mask_values_ok", "every mask holds only the values 0, 1 and 2"),
        holds("cup_inside_disc", "every cup lies inside its disc"),
        holds("mask_states_ok", "the manifest's disc and cup states say what the masks show"),
        between("disc_in_one_part", "disc_parts", None, 1, "every disc is one region", warn),
        between("cdr_plausible", "vertical_cdr", 0.05, 0.98, "every vertical CDR is 0.05 to 0.98", warn),
        between("cdr_as_stated", "cdr_difference", None, most, f"masks and stated CDRs are within {most}", warn),
    )


def _split_rules(settings: ValidateSettings) -> tuple[Rule, ...]:
    near, review, warn = settings.near_duplicate_bits, settings.review_bits, Severity.WARNING
    alike = "no two photographs of different splits are within {} of 256 bits of each other"
    return (
        between("patient_in_one_split", Leak.PATIENT_SPLITS, None, 1, "no patient stands in two splits"),
        between("group_in_one_split", Leak.GROUP_SPLITS, None, 1, "no group stands in two splits"),
        between("bytes_in_one_split", Leak.BYTES_SPLITS, None, 1, "no file stands in two splits"),
        between("pixels_in_one_split", Leak.PIXELS_SPLITS, None, 1, "no photograph stands in two splits"),
        between("no_near_duplicate_across_splits", Leak.LOOKALIKE_BITS, near + 1, None, alike.format(near)),
        between("no_lookalike_across_splits", Leak.LOOKALIKE_BITS, review + 1, None, alike.format(review), warn),
        between(
            "one_label_per_photograph",
            Leak.LABELS_OF_PIXELS,
            None,
            1,
            "copies of one photograph carry one label",
            warn,
        ),
    )


def _look_rules(settings: ValidateSettings) -> tuple[Rule, ...]:
    warn, bounds, column = Severity.WARNING, settings.quality, Measured
    dark, bright = bounds.usable_min_brightness, bounds.usable_max_brightness
    accepted = [Grade.GOOD.value, Grade.USABLE.value]
    rules = (
        in_set("gradable", GRADE, accepted, "no photograph is too poor to judge (quality reject)", warn),
        between("brightness", column.BRIGHTNESS, dark, bright, "no photograph is too dark or too bright", warn),
        between("contrast", column.CONTRAST, bounds.usable_contrast, None, "no photograph is flat", warn),
        between("sharpness", column.SHARPNESS, bounds.usable_sharpness, None, "no photograph is blurred away", warn),
        between("evenness", column.EVENNESS, bounds.usable_evenness, None, "no photograph is lit from one side", warn),
        between("clipped", column.CLIPPED_SHARE, None, bounds.usable_clipped_share, "none is overexposed", warn),
        between("field_of_view", column.FIELD_SHARE, bounds.usable_field_share, None, "none is mostly black", warn),
        between("entropy", column.ENTROPY, settings.min_entropy, None, "no photograph is nearly empty", warn),
    )
    if settings.max_ungradable_share == 1:
        return rules
    says = f"at most {settings.max_ungradable_share:.0%} of the photographs are too poor to judge"
    enough = {"column": GRADE, "value_set": accepted, "mostly": 1 - settings.max_ungradable_share}
    return (*rules, Rule("gradable_enough", "ExpectColumnValuesToBeInSet", enough, says))


def _clinical_rules() -> tuple[Rule, ...]:
    warn = Severity.WARNING
    return (
        in_set("eyes_known", Column.EYE.value, [eye.value for eye in Eye], "each eye is OD, OS or not stated"),
        between("age_plausible", Column.AGE_YEARS, *_AGE_YEARS, "every stated age is 0 to 110 years", warn),
        between("iop_plausible", Column.IOP_MMHG, *_IOP_MMHG, "every stated eye pressure is 3 to 70 mmHg", warn),
    )
