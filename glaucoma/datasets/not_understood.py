"""What label tables say and nobody understood: numbers out of bounds, and words for the diagnosis without a meaning.

Such a cell becomes an empty value or the label unknown; it is counted, so that no one takes it for a gap in the source.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from glaucoma.datasets.findings import Finding
from glaucoma.datasets.layouts.base import SourceImage
from glaucoma.datasets.layouts.stated import BOUNDS, says_nothing
from glaucoma.datasets.rules import Severity
from glaucoma.schema import Column, Label

_KEPT = 50
_SHOWN = 8


def count_not_understood(sources: Sequence[SourceImage], *, labels_were_mapped: bool) -> dict[str, Any]:
    """Column -> `images` and `words` (the 50 most frequent -> images); columns where all was understood are left out.

    Args:
        labels_were_mapped: A mapping gave every word its meaning, so unknown is what somebody chose.
    """
    counts: dict[str, Counter[str]] = {}
    for source in sources:
        for column, cell in source.unused_numbers:
            counts.setdefault(column.value, Counter())[cell] += 1
        word = source.source_label
        if source.label is Label.UNKNOWN and not labels_were_mapped and not says_nothing(word):
            counts.setdefault(Column.LABEL.value, Counter())[word] += 1
    return {
        column: {"images": words.total(), "words": dict(words.most_common(_KEPT))}
        for column, words in sorted(counts.items())
    }


def sentences(found: Mapping[str, Any]) -> list[str]:
    """One for each column of `count_not_understood`'s answer: how many photographs, the words, what became of them."""
    return [_sentence(column, one["images"], one["words"]) for column, one in found.items()]


def _sentence(column: str, images: int, words: Mapping[str, int]) -> str:
    shown = ", ".join(f"{word!r} ({count})" for word, count in list(words.items())[:_SHOWN])
    more = f" and {len(words) - _SHOWN} more" if len(words) > _SHOWN else ""
    if column == Column.LABEL:
        return f"The label of {images} photographs has no known meaning and counts as unknown: {shown}{more}"
    low, high = BOUNDS[Column(column)]
    said = f"The {column} of {images} photographs is no number from {low:g} to {high:g} and was left empty"
    return f"{said}: {shown}{more}"


def findings(found: Mapping[str, Any]) -> list[Finding]:
    """A warning for each kind of value that can be lost on the way."""
    said = dict(zip(found, sentences(found), strict=True))
    return [_finding(column, said.get(column.value, "")) for column in (Column.LABEL, *BOUNDS)]


def _finding(column: Column, observed: str) -> Finding:
    says = f"every {column.value} that the source states was understood"
    return Finding(f"{column.value}_understood", Severity.WARNING, not observed, says, observed)
