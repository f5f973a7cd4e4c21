"""What the normalize stage writes down of a dataset: the manifest's rows, and the record's details and counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd

from glaucoma.datasets.grouping import Grouping
from glaucoma.datasets.intake import Intake, Taken
from glaucoma.datasets.splits import Splits
from glaucoma.schema import Column, Split


def manifest_of(taken: Sequence[Taken], grouping: Grouping, splits: Splits, layout: str) -> pd.DataFrame:
    """The manifest, a row for each photograph, with the columns of `Column`.

    Args:
        layout: The origin of photographs whose source names none.
    """
    rows = []
    folds = splits.folds or ("",) * len(taken)
    for one, group_name, split, fold in zip(taken, grouping.groups, splits.of_image, folds, strict=True):
        source, print_ = one.source, one.fingerprint
        rows.append(
            {
                Column.IMAGE_ID: one.image_id,
                Column.IMAGE: one.image,
                Column.MASK: one.mask,
                Column.LABEL: source.label,
                Column.SOURCE_LABEL: source.source_label,
                Column.PATIENT_ID: source.patient_id,
                Column.EYE: source.eye,
                Column.SITE: source.site,
                Column.ORIGIN: source.origin or layout,
                Column.SOURCE: str(source.source),
                Column.ORIGINAL_NAME: source.original_name,
                Column.SOURCE_PART: source.part,
                Column.SPLIT: split,
                Column.FOLD: fold,
                Column.GROUP: group_name,
                Column.WIDTH: print_.width,
                Column.HEIGHT: print_.height,
                Column.SHA256: print_.sha256,
                Column.PIXEL_SHA256: print_.pixel_sha256,
                Column.PERCEPTUAL_HASH: print_.perceptual_hash,
                Column.MIRRORED_HASH: print_.mirrored_hash,
                Column.DISC_STATE: one.disc_state,
                Column.CUP_STATE: one.cup_state,
                Column.STATED_VERTICAL_CDR: source.stated_vertical_cdr,
                Column.AGE_YEARS: source.age_years,
                Column.IOP_MMHG: source.iop_mmhg,
                Column.STATED_QUALITY: source.stated_quality,
            }
        )
    return pd.DataFrame(rows).rename(columns=str)


def details_of(intake: Intake, grouping: Grouping, splits: Splits) -> dict[str, Any]:
    """Set aside, counted, and how labels and groups came to be."""
    taken = intake.taken
    labels = [str(one.source.label) for one in taken]
    words: dict[str, Counter[str]] = {}
    for one in taken:
        words.setdefault(one.source.source_label, Counter())[str(one.source.label)] += 1
    from_names = any(one.source.patient_from_name for one in taken)
    by_split = splits.counts(labels)
    return {
        "set_aside": intake.set_aside,
        "counts_by_label": dict(sorted(Counter(labels).items())),
        "counts_by_split": {str(split): dict(sorted(by_split[split].items())) for split in Split},
        "labels": {word: dict(sorted(counts.items())) for word, counts in sorted(words.items())},
        "grouping": grouping.described(named_by_files=from_names),
        "conflicting_labels": conflicts(
            (one.fingerprint.pixel_sha256, one.image_id, str(one.source.label)) for one in taken
        ),
    }


def conflicts(labelled: Iterable[tuple[str, str, str]]) -> list[dict[str, str]]:
    """Photographs with the same pixels and different labels: one of the labels is wrong.

    Args:
        labelled: SHA-256 of the pixels (empty: not known), image id and label of each.
    """
    same: dict[str, dict[str, str]] = {}
    for pixels, image_id, label in labelled:
        if pixels:
            same.setdefault(pixels, {})[image_id] = label
    return [labels for labels in same.values() if len(set(labels.values())) > 1]


def counts_of(intake: Intake, grouping: Grouping) -> dict[str, int]:
    """Images, patients that the source names, groups, masks, and what was set aside."""
    taken = intake.taken
    return {
        "images": len(taken),
        "patients": len({one.source.patient_id for one in taken} - {""}),
        "groups": len(set(grouping.groups)),
        "with_mask": sum(bool(one.mask) for one in taken),
        "set_aside": len(intake.set_aside),
    }
