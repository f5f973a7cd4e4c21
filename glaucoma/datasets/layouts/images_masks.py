"""The generic layout with truth beside the photographs: masks of the same names, or a table of labels, or both."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePosixPath

from glaucoma.datasets.layouts.base import SourceImage, SourceMask
from glaucoma.datasets.layouts.paths import class_of, split_in
from glaucoma.datasets.layouts.tables import LabelTable, read_tables
from glaucoma.datasets.layouts.words import eye_of, is_image_folder, is_mask_folder, label_of, patient_and_eye, split_of
from glaucoma.datasets.masks import CanonicalMask, canonical, read_grey
from glaucoma.datasets.tree import Tree, stem_key
from glaucoma.errors import LayoutError
from glaucoma.schema import Column, Eye, Label


class ImagesMasks:
    """`images/a.jpg` with `masks/a.png`, and `labels.csv`; either of the two may be missing."""

    name = "images_masks"
    generic = True
    looks_like = (
        "images/ and masks/ with the same file names, or photographs and a table (image, label, patient_id, ..)"
    )

    def recognise(self, tree: Tree) -> str | None:
        """Masks pair with photographs by name, or a table names at least half of them."""
        photographs = _photographs(tree)
        paired = len(_mask_of(tree, photographs))
        tables = _tables(tree, photographs)
        parts = [f"{paired} of {len(photographs)} photographs have a mask of the same name"] if paired else []
        parts += [f"{table.path} names {_named(table, photographs)} of them" for table in tables]
        return "; ".join(parts) or None

    def read(self, tree: Tree) -> list[SourceImage]:
        """The photographs, and for each row of a table without its file an entry that will be set aside by name.

        Raises:
            LayoutError: Tables contradict each other, or a table's labels are all words that are not known.
        """
        photographs = _photographs(tree)
        masks, tables = _mask_of(tree, photographs), _tables(tree, photographs)
        images = [_image(tree, path, masks.get(path), tables) for path in photographs]
        _require_known_labels(images)
        return [*images, *_missing(tables, photographs)]


def has_masks(tree: Tree) -> bool:
    """True where photographs have masks of the same names in a folder of masks."""
    return bool(_mask_of(tree, _photographs(tree)))


def has_table(tree: Tree) -> bool:
    """True where a table of labels names at least half of the photographs."""
    return any(Column.LABEL in table.columns for table in _tables(tree, _photographs(tree)))


def _photographs(tree: Tree) -> list[PurePosixPath]:
    """Images outside folders of masks; where folders called `images` hold some, only those: the rest are versions."""
    outside = [path for path in tree.images if not any(is_mask_folder(part) for part in path.parent.parts)]
    inside = [path for path in outside if any(is_image_folder(part) for part in path.parent.parts)]
    return inside or outside


def _mask_of(tree: Tree, photographs: Sequence[PurePosixPath]) -> dict[PurePosixPath, PurePosixPath]:
    """Pairs each photograph with the mask of its name; of several the one whose folders agree most.

    Raises:
        LayoutError: Two masks suit one photograph equally well.
    """
    by_stem: dict[str, list[PurePosixPath]] = {}
    for path in tree.images:
        if any(is_mask_folder(part) for part in path.parent.parts):
            by_stem.setdefault(_mask_key(path), []).append(path)
    pairs = {}
    for photograph in photographs:
        candidates = by_stem.get(stem_key(photograph), [])
        if not candidates:
            continue
        ranked = sorted(candidates, key=lambda mask: -_shared(photograph, mask))
        if len(ranked) > 1 and _shared(photograph, ranked[0]) == _shared(photograph, ranked[1]):
            raise LayoutError(
                f"Two masks have the name of {photograph}: {ranked[0]} and {ranked[1]}",
                expected="one mask a photograph, its values 0 background, 1 disc, 2 cup",
                remedy="leave one of the two out of the archive, or add a layout (docs/how-to/add-a-dataset-layout.md)",
            )
        pairs[photograph] = ranked[0]
    return pairs


def _mask_key(path: PurePosixPath) -> str:
    """The photograph's name in a mask's: `a_mask.png` belongs to `a.jpg`."""
    key = stem_key(path)
    for ending in ("_mask", "-mask", "_gt", "_seg"):
        key = key.removesuffix(ending)
    return key


def _shared(photograph: PurePosixPath, mask: PurePosixPath) -> int:
    """How many folder names the two have in common: `train/images/a` goes with `train/masks/a`."""
    return len(set(photograph.parent.parts) & set(mask.parent.parts))


def _tables(tree: Tree, photographs: Sequence[PurePosixPath]) -> list[LabelTable]:
    return [table for table in read_tables(tree) if photographs and 2 * _named(table, photographs) >= len(photographs)]


def _named(table: LabelTable, photographs: Sequence[PurePosixPath]) -> int:
    return sum(table.name_for(path) is not None for path in photographs)


def _image(tree: Tree, path: PurePosixPath, mask: PurePosixPath | None, tables: Sequence[LabelTable]) -> SourceImage:
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
        mask=None if mask is None else _source_mask(tree, mask),
        patient_from_name=bool(patient) and Column.PATIENT_ID not in said,
    )


def _said(path: PurePosixPath, tables: Sequence[LabelTable]) -> dict[Column, str]:
    """What the tables say of a photograph, empty cells left out."""
    said: dict[Column, str] = {}
    for table in tables:
        name = table.name_for(path)
        for column, cell in (table.rows[name] if name is not None else {}).items():
            if cell and said.setdefault(column, cell) != cell:
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


def _source_mask(tree: Tree, mask: PurePosixPath) -> SourceMask:
    def read() -> CanonicalMask:
        return canonical(read_grey(tree.full(mask)), str(mask))

    return SourceMask((mask,), read)
