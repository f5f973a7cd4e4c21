"""ORIGA (Zhang et al. 2010): photographs with a table that states the vertical cup-to-disc ratio of each mask."""

from __future__ import annotations

from pathlib import PurePosixPath

from glaucoma.datasets.layouts.base import Published, SourceImage, SourceMask
from glaucoma.datasets.layouts.lookup import below_folder, by_image, by_stem, in_folder, rows_with
from glaucoma.datasets.layouts.stated import stated_numbers
from glaucoma.datasets.layouts.words import eye_of, label_of
from glaucoma.datasets.masks import CanonicalMask, canonical, read_grey
from glaucoma.datasets.matlab import read_mask
from glaucoma.datasets.tree import Tree, stem_key
from glaucoma.schema import Column, Label, Split

PUBLISHED = Published(650, {Label.NORMAL: 482, Label.GLAUCOMA: 168})

_COLUMNS = ("filename", "expcdr", "glaucoma")
_VERSIONS = ("images_cropped", "images_square", "masks_cropped", "masks_square")
_MARKS = "semi-automatic-annotations"
_SETS = {"a": Split.TRAIN, "b": Split.TEST}


class Origa:
    """`Images/001.jpg`, `Masks/001.png` (0, 1, 2) or `Semi-automatic-annotations/001.mat`, `OrigaList.csv`.

    Set A is the source's training part and set B its test part. Cropped and square versions are left out. The table
    names the eye and no patient.
    """

    name = "origa"
    generic = False
    looks_like = "Images/001.jpg and a table with the columns Eye, Filename, ExpCDR, Set, Glaucoma"
    published = PUBLISHED

    def recognise(self, tree: Tree) -> str | None:
        """A table has the columns Filename, ExpCDR and Glaucoma, and names photographs that are there."""
        rows = by_image(rows_with(tree, *_COLUMNS), "filename")
        named = sum(stem_key(path) in rows for path in _photographs(tree)) if rows else 0
        return f"a table with ExpCDR and Glaucoma names {named} photographs" if named else None

    def read(self, tree: Tree) -> list[SourceImage]:
        """The photographs, and the table's rows without one, which are set aside by name."""
        rows = by_image(rows_with(tree, *_COLUMNS), "filename")
        photographs = _photographs(tree)
        pictures = by_stem(path for path in tree.images if in_folder(path, "masks"))
        files = by_stem(path for path in tree.files if path.suffix.lower() == ".mat" and in_folder(path, _MARKS))
        images = [
            _image(path, rows.get(stem_key(path), {}), _mask(tree, path.stem.casefold(), pictures, files))
            for path in photographs
        ]
        there = {stem_key(path) for path in photographs}
        missing = [PurePosixPath(row["filename"]) for key, row in rows.items() if key not in there]
        return images + [SourceImage(path) for path in missing]

    def left_out(self, tree: Tree) -> dict[PurePosixPath, str]:
        """The cropped and square versions."""
        return {
            path: "another version of a photograph or mask" for path in tree.images if below_folder(path, *_VERSIONS)
        }


def _photographs(tree: Tree) -> list[PurePosixPath]:
    inside = [path for path in tree.images if in_folder(path, "images")]
    outside = [path for path in tree.images if not below_folder(path, "masks", *_VERSIONS)]
    return inside or outside


def _image(path: PurePosixPath, row: dict[str, str], mask: SourceMask | None) -> SourceImage:
    stated = row.get("glaucoma", "")
    return SourceImage(
        path,
        label=label_of(stated) or Label.UNKNOWN,
        source_label=stated,
        eye=eye_of(row.get("eye", "")),
        site="ORIGA",
        split=_SETS.get(row.get("set", "").casefold()),
        mask=mask,
        **stated_numbers({Column.STATED_VERTICAL_CDR: row.get("expcdr", "")}),
    )


def _mask(
    tree: Tree, key: str, pictures: dict[str, PurePosixPath], files: dict[str, PurePosixPath]
) -> SourceMask | None:
    """The picture where there is one, else the MATLAB file."""
    path = pictures.get(key, files.get(key))
    if path is None:
        return None

    def read() -> CanonicalMask:
        if path.suffix.lower() == ".mat":
            return read_mask(tree.full(path))
        return canonical(read_grey(tree.full(path)), path.name)

    return SourceMask((path,), read)
