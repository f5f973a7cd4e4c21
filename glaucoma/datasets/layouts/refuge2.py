"""REFUGE2 (Fang et al. 2022): REFUGE's three parts for training, and new ones for validation and test."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

from glaucoma.datasets.layouts.base import Published, SourceImage, SourceMask
from glaucoma.datasets.layouts.lookup import below_folder, by_stem, in_folder
from glaucoma.datasets.layouts.tables import LabelTable, read_tables
from glaucoma.datasets.layouts.words import is_mask_folder, label_of
from glaucoma.datasets.masks import CanonicalMask, canonical, inverted_three_level, read_grey
from glaucoma.datasets.tree import Tree
from glaucoma.schema import Column, Label, Split

PUBLISHED = Published(2000)

_PART = re.compile(r"^refuge1-(?P<part>train|val|test)$", re.IGNORECASE)
_CAMERAS = {"train": "Zeiss Visucam 500", "val": "Canon CR-2", "test": "Canon CR-2"}
_TRAINING_NAME = re.compile(r"^(?P<kind>[gn])\d{4}$")
_BY_NAME = {"g": Label.GLAUCOMA, "n": Label.NORMAL}
_NEW = {"images": (Split.VAL, "REFUGE2 validation"), "refuge2-test": (Split.TEST, "REFUGE2 test")}
_NEW_MASKS = ("disc_masks", "disc_mask")


class Refuge2:
    """`Train/REFUGE1-{train,val,test}`, `Validation/{Images,Disc_Masks,glaucoma.csv}`, `Test/{refuge2-test,Disc_Mask}`

    All of REFUGE (1,200 photographs) is its training part. A name may stand in several parts: masks and tables count
    within their own part. The cameras of the new parts are not stated; their names stand for the site.
    """

    name = "refuge2"
    generic = False
    looks_like = "REFUGE1-train/, REFUGE1-val/, REFUGE1-test/; Validation/ with Disc_Masks/; Test/ with refuge2-test/"
    published = PUBLISHED

    def recognise(self, tree: Tree) -> str | None:
        """The folder refuge2-test, or Images with Disc_Masks beside, is there."""
        masks = {path.parent.parent for path in tree.images if in_folder(path, *_NEW_MASKS)}
        new = [
            path
            for path in _photographs(tree)
            if in_folder(path, "refuge2-test") or (in_folder(path, "images") and path.parent.parent in masks)
        ]
        if not new:
            return None
        parts = sorted({part for path in tree.images if (part := _part(path))})
        old = ", ".join(parts) or "none"
        return f"{len(new)} new photographs in Images (with Disc_Masks) and refuge2-test; parts of REFUGE: {old}"

    def read(self, tree: Tree) -> list[SourceImage]:
        """Labels of training from the name, of the others from the tables or the mask's folder G or N."""
        tables = [table for table in read_tables(tree) if Column.LABEL in table.columns]
        masks: dict[str, dict[str, PurePosixPath]] = {}
        for section in sorted({_section(path) for path in tree.images}):
            masks[section] = by_stem(path for path in tree.images if _is_mask(path) and _section(path) == section)
        return [
            _image(tree, path, masks[_section(path)].get(path.stem.casefold()), tables) for path in _photographs(tree)
        ]


def _photographs(tree: Tree) -> list[PurePosixPath]:
    return [path for path in tree.images if not _is_mask(path) and (_part(path) or _new(path))]


def _is_mask(path: PurePosixPath) -> bool:
    return path.suffix.lower() == ".bmp" or any(
        is_mask_folder(part) or part.casefold() in _NEW_MASKS for part in path.parent.parts
    )


def _part(path: PurePosixPath) -> str:
    """`train`, `val` or `test` for what lies in one of REFUGE's parts, else empty."""
    for folder in path.parent.parts:
        if match := _PART.match(folder):
            return match["part"].casefold()
    return ""


def _new(path: PurePosixPath) -> tuple[Split, str] | None:
    return _NEW.get(path.parent.name.casefold())


def _section(path: PurePosixPath) -> str:
    """The part of the collection that a file lies in: one of REFUGE's, or the new validation or test part."""
    if part := _part(path):
        return f"refuge1-{part}"
    if below_folder(path, "test", "refuge2-test"):
        return "test"
    return "validation"


def _image(tree: Tree, path: PurePosixPath, mask: PurePosixPath | None, tables: list[LabelTable]) -> SourceImage:
    section = _section(path)
    stated = next(
        (
            table.rows[name][Column.LABEL]
            for table in tables
            if _section(table.path) == section and (name := table.name_for(path)) is not None
        ),
        "",
    )
    if not stated and mask is not None and mask.parent.name.upper() in ("G", "N"):
        stated = mask.parent.name
    by_name = _TRAINING_NAME.match(path.stem) if section == "refuge1-train" else None
    new = _new(path)
    split, site = (Split.TRAIN, _CAMERAS[part]) if (part := _part(path)) else new or (Split.TRAIN, "")
    return SourceImage(
        path,
        label=(_BY_NAME[by_name["kind"]] if by_name else label_of(stated)) or Label.UNKNOWN,
        source_label=stated or (by_name["kind"] if by_name else ""),
        site=site,
        split=split,
        mask=None if mask is None else _source_mask(tree, mask),
    )


def _source_mask(tree: Tree, mask: PurePosixPath) -> SourceMask:
    def read() -> CanonicalMask:
        grey = read_grey(tree.full(mask))
        return inverted_three_level(grey, mask.name) if mask.suffix.lower() == ".bmp" else canonical(grey, mask.name)

    return SourceMask((mask,), read)
