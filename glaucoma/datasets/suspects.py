"""Pairs of photographs that a person should look at: one table with all of them, one page with pictures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from pathlib import Path
from typing import Any

import pandas as pd

from glaucoma.datasets.grouping import Grouping
from glaucoma.datasets.nearest import NearPair
from glaucoma.datasets.pair_judgements import Sameness
from glaucoma.datasets.suspects_page import Shown, write_page
from glaucoma.provenance import write_bytes
from glaucoma.schema import Column

TABLE_NAME = "suspects.csv"
PAGE_NAME = "suspects.html"
MOST_SHOWN = 100
"""Pairs of each kind with their pictures on the page; the table has more."""
_LISTED = 50


class Status(StrEnum):
    """What became of a pair that looks alike."""

    SUSPECTED = "suspected"
    """17 to 28 bits apart: not linked. A person says whether they are the same."""
    LINKED = "linked"
    """Within 16 bits and linked by nothing else. A person may say that they differ."""


@dataclass(frozen=True)
class Suspect:
    """A row of `suspects.csv`: a pair, what became of it, and what the manifest says of both photographs."""

    status: Status
    distance_bits: int
    mirrored: bool
    first: str
    second: str
    first_label: str
    second_label: str
    first_patient: str
    second_patient: str
    first_split: str
    second_split: str
    first_source: str
    second_source: str

    @property
    def notes(self) -> tuple[str, ...]:
        """What of it is odd, in words."""
        odd = []
        if self.first_split != self.second_split:
            odd.append("two splits")
        if self.first_patient and self.second_patient and self.first_patient != self.second_patient:
            odd.append("two patients")
        if self.first_label != self.second_label:
            odd.append("two labels")
        return tuple(odd)


def write_suspects(folder: Path, name: str, manifest: pd.DataFrame, grouping: Grouping) -> dict[str, Any]:
    """Writes `suspects.csv` and `suspects.html` into a dataset's folder, where there are pairs to look at.

    Args:
        folder: Holds the photographs already.
        name: The dataset's name.

    Returns:
        Details for the record: `linked` (links by rung), `linked_across_patients` (the first 50, of
        `linked_across_patients_n`), `suspects` (`to_judge`, `linked_by_looks`, `listed`, `shown`, `table`, `page`),
        `judgements` (pairs said to be `same` and `different`, and those `overruled`).
    """
    rows = manifest.set_index(Column.IMAGE_ID.value)
    found = [_suspect(pair, Status.SUSPECTED, rows) for pair in grouping.suspects]
    found += [_suspect(pair, Status.LINKED, rows) for pair in grouping.lookalikes]
    shown = _shown(found)
    totals = {Status.SUSPECTED: grouping.suspects_total, Status.LINKED: grouping.lookalikes_total}
    if found:
        table = pd.DataFrame([asdict(one) for one in found], columns=[field.name for field in fields(Suspect)])
        write_bytes(folder / TABLE_NAME, table.to_csv(index=False, lineterminator="\n").encode())
        pictures = {str(image_id): folder / str(path) for image_id, path in rows[Column.IMAGE].items()}
        page = [
            Shown(one.status, one.first, one.second, one.distance_bits, one.mirrored, _said(one), one.notes)
            for one in shown
        ]
        write_page(folder / PAGE_NAME, name, page, {str(status): total for status, total in totals.items()}, pictures)
    across = grouping.across_patients
    said = [verdict for _, _, verdict in grouping.judged]
    return {
        "linked": {str(rung): count for rung, count in grouping.linked.items()},
        "linked_across_patients": [
            {"first": link.first, "second": link.second, "why": str(link)} for link in across[:_LISTED]
        ],
        "linked_across_patients_n": grouping.across_patients_total,
        "suspects": {
            "to_judge": totals[Status.SUSPECTED],
            "linked_by_looks": totals[Status.LINKED],
            "listed": len(found),
            "shown": len(shown),
            "table": TABLE_NAME if found else None,
            "page": PAGE_NAME if found else None,
        },
        "judgements": {
            "same": said.count(Sameness.SAME),
            "different": said.count(Sameness.DIFFERENT),
            "overruled": [{"first": first, "second": second} for first, second in grouping.overruled[:_LISTED]],
        },
    }


def read_suspects(folder: Path) -> list[Suspect]:
    """The rows of a dataset's `suspects.csv`; none where it has no such file."""
    path = folder / TABLE_NAME
    if not path.is_file():
        return []
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    typed: dict[str, Callable[[str], Any]] = {
        "status": Status,
        "distance_bits": int,
        "mirrored": lambda text: text == "True",
    }
    return [
        Suspect(**{str(column): typed.get(str(column), str)(text) for column, text in row.items()})
        for row in table.to_dict("records")
    ]


def _suspect(pair: NearPair, status: Status, rows: pd.DataFrame) -> Suspect:
    one, other = rows.loc[pair.first], rows.loc[pair.second]
    return Suspect(
        status=status,
        distance_bits=pair.distance,
        mirrored=pair.mirrored,
        first=pair.first,
        second=pair.second,
        first_label=str(one[Column.LABEL]),
        second_label=str(other[Column.LABEL]),
        first_patient=str(one[Column.PATIENT_ID]),
        second_patient=str(other[Column.PATIENT_ID]),
        first_split=str(one[Column.SPLIT]),
        second_split=str(other[Column.SPLIT]),
        first_source=str(one[Column.SOURCE]),
        second_source=str(other[Column.SOURCE]),
    )


def _shown(found: list[Suspect]) -> list[Suspect]:
    """Of each kind the first 100: the oddest, and of those the nearest."""
    ranked = sorted(found, key=lambda one: (one.status is not Status.SUSPECTED, -len(one.notes), one.distance_bits))
    return [one for status in Status for one in [two for two in ranked if two.status is status][:MOST_SHOWN]]


def _said(one: Suspect) -> tuple[dict[str, str], dict[str, str]]:
    """What the page says of either photograph."""
    both = []
    for side in ("first", "second"):
        facts = {what: str(getattr(one, f"{side}_{what}")) for what in ("label", "patient", "split", "source")}
        both.append({what: fact for what, fact in facts.items() if fact})
    return both[0], both[1]
