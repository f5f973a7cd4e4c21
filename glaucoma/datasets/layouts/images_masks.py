"""The generic layout with truth beside the photographs: masks of the same names, or a table of labels, or both."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePosixPath

from glaucoma.datasets.layouts.base import SourceImage, SourceMask
from glaucoma.datasets.layouts.mask_pairs import masks_of, photographs_in
from glaucoma.datasets.layouts.paths import class_of, split_in
from glaucoma.datasets.layouts.stated import stated_numbers
from glaucoma.datasets.layouts.tables import IDENTIFYING, LabelTable, read_tables
from glaucoma.datasets.layouts.words import eye_of, label_of, patient_and_eye, split_of
from glaucoma.datasets.tree import Tree
from glaucoma.errors import LayoutError
from glaucoma.schema import Column, Eye, Label


class ImagesMasks:
    """`images/a.jpg` with `masks/a.png`, or `disc/a.png` and `cup/a.png`, and `labels.csv`; masks or table may lack."""

    name = "images_masks"
    generic = True
    looks_like = (
        "images/ and masks/ (or disc/ and cup/) with the same file names, or photographs and a table (image, label, ..)"
    )

    def recognise(self, tree: Tree) -> str | None:
        """Masks pair with photographs by name, or a table names at least half of them."""
        photographs = photographs_in(tree)
        paired = len(masks_of(tree))
        tables = _tables(tree, photographs)
        parts = [f"{paired} of {len(photographs)} photographs have a mask of the same name"] if paired else []
        parts += [f"{table.path} names {_named(table, photographs)} of them" for table in tables]
        return "; ".join(parts) or None

    def read(self, tree: Tree) -> list[SourceImage]:
        """The photographs, and for each row of a table without its file an entry that will be set aside by name.

        Raises:
            LayoutError: Tables contradict each other, or a table's labels are all words that are not known.
        """
        photographs = photographs_in(tree)
        masks, tables = masks_of(tree), _tables(tree, photographs)
        images = [_image(path, masks.get(path), tables) for path in photographs]
        _require_known_labels(images)
        return [*images, *_missing(tables, photographs)]


def has_masks(tree: Tree) -> bool:
    """True where photographs have masks of the same names in a folder of masks."""
    return bool(masks_of(tree))


def has_table(tree: Tree) -> bool:
    """True where a table of labels names at least half of the photographs."""
    return any(Column.LABEL in table.columns for table in _tables(tree, photographs_in(tree)))


def _tables(tree: Tree, photographs: Sequence[PurePosixPath]) -> list[LabelTable]:
    return [table for table in read_tables(tree) if photographs and 2 * _named(table, photographs) >= len(photographs)]


def _named(table: LabelTable, photographs: Sequence[PurePosixPath]) -> int:
    return sum(table.name_for(path) is not None for path in photographs)


def _image(path: PurePosixPath, mask: SourceMask | None, tables: Sequence[LabelTable]) -> SourceImage:
    said = _said(path, tables)
    folder_label, folder_word = class_of(path)
    patient, eye = patient_and_eye(path.stem)
    stated = said.get(Column.LABEL, folder_word)
    return SourceImage(
        path,
        label=(label_of(stated) if Column.LABEL in said else folder_label) or Label.UNKNOWN,
        source_label=stated,
        patient_id=said.get(Column.PATIENT_ID, patient),
        eye=eye if (stated_eye := eye_of(said.get(Column.EYE, ""))) is Eye.UNKNOWN else stated_eye,
        site=said.get(Column.SITE, ""),
        split=split_of(said[Column.SPLIT]) if Column.SPLIT in said else split_in(path),
        mask=mask,
        patient_from_name=bool(patient) and Column.PATIENT_ID not in said,
        stated_quality=said.get(Column.STATED_QUALITY, ""),
        **stated_numbers(said),
    )


def _said(path: PurePosixPath, tables: Sequence[LabelTable]) -> dict[Column, str]:
    """What the tables say of a photograph, empty cells left out."""
    said: dict[Column, str] = {}
    for table in tables:
        name = table.name_for(path)
        for column, cell in (table.rows[name] if name is not None else {}).items():
            if cell and said.setdefault(column, cell) != cell and column in IDENTIFYING:
                raise LayoutError(
                    f"The tables contradict each other: the {column} of {path} is {said[column]!r} and {cell!r}",
                    expected=f"one {column} an image",
                    remedy="leave the wrong table out of the archive",
                )
    return said


def _require_known_labels(images: Sequence[SourceImage]) -> None:
    words = sorted({image.source_label for image in images if image.source_label})
    if words and all(image.label is Label.UNKNOWN for image in images):
        raise LayoutError(
            f"None of the labels is understood: {', '.join(repr(word) for word in words[:8])}",
            expected="words like normal and glaucoma, or 0 and 1",
            remedy="use such words in the label column, or leave the column out if it is no diagnosis",
        )


def _missing(tables: Sequence[LabelTable], photographs: Sequence[PurePosixPath]) -> list[SourceImage]:
    """Rows without a file."""
    missing = []
    for table in tables:
        there = {table.name_for(path) for path in photographs}
        missing += [SourceImage(PurePosixPath(name)) for name in table.rows if name not in there]
    return missing
