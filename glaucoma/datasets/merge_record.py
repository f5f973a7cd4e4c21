"""What a merged dataset's record says: its parts, what they share, and the same counts as any dataset's."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

import pandas as pd

from glaucoma.datasets.dataset_record import conflicts
from glaucoma.datasets.grouping import Grouping
from glaucoma.datasets.links import Rung
from glaucoma.datasets.merge_rows import Part
from glaucoma.schema import Column, Split

LAYOUT: Final = "merged"
_LISTED = 1000


def details_of(parts: Sequence[Part], rows: pd.DataFrame, grouping: Grouping) -> dict[str, Any]:
    """The details of a merged dataset's record, all but its name and its manifest's hash."""
    by_split = Counter(zip(rows[Column.SPLIT], rows[Column.LABEL], strict=True))
    words: dict[str, Counter[str]] = {}
    for word, label in zip(rows[Column.SOURCE_LABEL], rows[Column.LABEL], strict=True):
        words.setdefault(word, Counter())[label] += 1
    return {
        "layout": LAYOUT,
        "layout_evidence": f"{len(parts)} datasets: {', '.join(f'{part.name} {part.record.key}' for part in parts)}",
        "merged": [
            {
                "name": part.name,
                "key": part.record.key,
                "layout": part.record.details["layout"],
                "images": len(part.rows),
                "counts_by_label": part.record.details["counts_by_label"],
            }
            for part in parts
        ],
        "set_aside": [
            {**aside, "source": f"{part.name}: {aside['source']}"}
            for part in parts
            for aside in part.record.details["set_aside"]
        ],
        "counts_by_label": _counted(rows[Column.LABEL]),
        "counts_by_origin": _counted(rows[Column.ORIGIN]),
        "counts_by_split": {
            str(split): {label: count for (part, label), count in sorted(by_split.items()) if part == split}
            for split in Split
        },
        "labels": {word: dict(sorted(counts.items())) for word, counts in sorted(words.items())},
        "grouping": grouping.described(named_by_files=False),
        "shared_photographs": _shared(parts, rows, grouping),
        "conflicting_labels": conflicts(
            zip(rows[Column.PIXEL_SHA256], rows[Column.IMAGE_ID], rows[Column.LABEL], strict=True)
        ),
        "left_out": 0,
        "synthetic": any(bool(part.record.details["synthetic"]) for part in parts),
    }


def _counted(values: pd.Series) -> dict[str, int]:
    return {str(value): int(count) for value, count in sorted(Counter(values).items())}


def _shared(parts: Sequence[Part], rows: pd.DataFrame, grouping: Grouping) -> dict[str, Any]:
    """What two datasets have in common: images with the same pixels, and links other than by patient alone.

    Links are only so many that they hold the groups together: two photographs of a patient that both datasets name are
    one group by that alone, and no link says that they are the same.
    """
    names = [part.name for part in parts for _ in range(len(part.rows))]
    of_image = dict(zip(rows[Column.IMAGE_ID], names, strict=True))
    across = [
        link
        for link in grouping.links
        if link.rung is not Rung.PATIENT and of_image[link.first] != of_image[link.second]
    ]
    owners: dict[str, set[str]] = {}
    for pixels, name in zip(rows[Column.PIXEL_SHA256], names, strict=True):
        owners.setdefault(pixels, set()).add(name)
    return {
        "same_pixels": sum(len(owners[pixels]) > 1 for pixels in rows[Column.PIXEL_SHA256] if pixels),
        "by_rung": _counted(pd.Series([str(link.rung) for link in across], dtype="str")),
        "links": [{"first": link.first, "second": link.second, "why": str(link)} for link in across[:_LISTED]],
    }


def counts_of(rows: pd.DataFrame, details: dict[str, Any]) -> dict[str, int]:
    """The counts of a merged dataset's record."""
    return {
        "images": len(rows),
        "patients": len(set(rows[Column.PATIENT_ID]) - {""}),
        "groups": rows[Column.GROUP].nunique(),
        "with_mask": int((rows[Column.MASK] != "").sum()),
        "set_aside": len(details["set_aside"]),
    }
