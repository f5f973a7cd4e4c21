"""What was found beside what a dataset's makers published: counts, and the vertical cup-to-disc ratio of its masks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from glaucoma.datasets.intake import Taken
from glaucoma.datasets.layouts.base import Layout, PublishedLayout

CLOSE_CDR = 0.001
"""A reader that is right meets ORIGA's stated ratios to within so much."""
FAR_CDR = 0.02
_SHOWN = 10


def compared_with_published(layout: Layout, taken: Sequence[Taken]) -> dict[str, Any]:
    """Details for the record; each entry is there only where there is something to compare.

    Returns:
        `published_counts`: `images` and `by_label`, each with `found` and `published`, `agrees`, and a `warning` where
        they differ: a part of a dataset is no error. `stated_vertical_cdr_check`: `n` photographs with a stated ratio
        and a mask that has one, of `n_stated`; `max_difference`, `n_within_0_001`, `n_over_0_02`, and the `worst`.
    """
    details: dict[str, Any] = {}
    if isinstance(layout, PublishedLayout):
        details["published_counts"] = _counts(layout, taken)
    if any(one.source.stated_vertical_cdr is not None for one in taken):
        details["stated_vertical_cdr_check"] = _ratios(taken)
    return details


def _counts(layout: PublishedLayout, taken: Sequence[Taken]) -> dict[str, Any]:
    published = layout.published
    labels = Counter(one.source.label for one in taken)
    by_label = {
        str(label): {"found": labels[label], "published": published.by_label.get(label, 0)}
        for label in sorted({*labels, *published.by_label})
    }
    counts: dict[str, Any] = {"images": {"found": len(taken), "published": published.images}}
    if published.by_label:
        counts["by_label"] = by_label
    differing = [
        f"{name} {pair['found']} of {pair['published']}"
        for name, pair in [("images", counts["images"]), *counts.get("by_label", {}).items()]
        if pair["found"] != pair["published"]
    ]
    counts["agrees"] = not differing
    if differing:
        counts["warning"] = f"Not the dataset as published: {', '.join(differing)}"
    return counts


def _ratios(taken: Sequence[Taken]) -> dict[str, Any]:
    pairs = [
        (abs(one.vertical_cdr - one.source.stated_vertical_cdr), one)
        for one in taken
        if one.vertical_cdr is not None and one.source.stated_vertical_cdr is not None
    ]
    worst = sorted(pairs, key=lambda pair: (-pair[0], pair[1].image_id))[:_SHOWN]
    return {
        "n": len(pairs),
        "n_stated": sum(one.source.stated_vertical_cdr is not None for one in taken),
        "max_difference": max((difference for difference, _ in pairs), default=None),
        "n_within_0_001": sum(difference <= CLOSE_CDR for difference, _ in pairs),
        "n_over_0_02": sum(difference > FAR_CDR for difference, _ in pairs),
        "worst": [
            {"image_id": one.image_id, "measured": one.vertical_cdr, "stated": one.source.stated_vertical_cdr}
            for difference, one in worst
            if difference > FAR_CDR
        ],
    }
