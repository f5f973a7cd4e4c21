"""HYGD (Hillel Yaffe, Abramovich et al. 2023, ODC-By): labels from full examinations, and a quality score."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath

from glaucoma.datasets.layouts.base import Published, SourceImage
from glaucoma.datasets.layouts.lookup import by_image
from glaucoma.datasets.layouts.sheets import readable_sheets, records
from glaucoma.datasets.layouts.words import label_of
from glaucoma.datasets.tree import Tree, stem_key
from glaucoma.schema import Label

_HEADINGS = ("imagename", "patient", "label", "qualityscore")
_WORDS = frozenset(["GON+", "GON-"])


class Hygd:
    """`Images/{patient}_{n}.jpg` or flat, and `Labels.csv` with image, patient, GON+ or GON-, and a quality score.

    Some photographs stand twice under different patients; what is the same is found by content.
    """

    name = "hygd"
    generic = False
    looks_like = "photographs and a table with Image Name, Patient, Label (GON+, GON-) and Quality Score"
    published = Published(747)

    def recognise(self, tree: Tree) -> str | None:
        """A table has the four columns, only its two words for labels, and names half of the images or more."""
        rows = _rows(tree)
        named = sum(stem_key(path) in rows for path in tree.images)
        words = {row["label"].upper() for row in rows.values()}
        if not words or not words <= _WORDS or 2 * named < len(tree.images):
            return None
        return f"a table of {len(rows)} with GON+, GON- and quality scores names {named} of {len(tree.images)} images"

    def read(self, tree: Tree) -> list[SourceImage]:
        """The photographs that the table names, and for each row without its file an entry that will be set aside."""
        rows = _rows(tree)
        images = [_image(path, rows[stem_key(path)]) for path in tree.images if stem_key(path) in rows]
        there = {stem_key(path) for path in tree.images}
        return [
            *images,
            *(SourceImage(PurePosixPath(row["imagename"])) for key, row in rows.items() if key not in there),
        ]


def _image(path: PurePosixPath, row: Mapping[str, str]) -> SourceImage:
    return SourceImage(
        path,
        label=label_of(row["label"]) or Label.UNKNOWN,
        source_label=row["label"],
        patient_id=row["patient"],
        stated_quality=row.get("qualityscore", ""),
    )


def _rows(tree: Tree) -> dict[str, dict[str, str]]:
    """Image's name without its ending -> the table's row."""
    return tree.once("hygd rows", lambda: _read_rows(tree))


def _read_rows(tree: Tree) -> dict[str, dict[str, str]]:
    for sheet in readable_sheets(tree):
        if found := records(sheet, _HEADINGS):
            complete = ({"patient": "", "label": "", **row} for row in found if row.get("imagename"))
            return by_image(complete, "imagename")
    return {}
