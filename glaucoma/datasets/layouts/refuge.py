"""REFUGE (Orlando et al. 2020): three splits, two cameras, inverted masks, labels in folders and in workbooks."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

from glaucoma.datasets.layouts.base import Published, SourceImage, SourceMask
from glaucoma.datasets.layouts.lookup import below_folder
from glaucoma.datasets.layouts.tables import read_tables
from glaucoma.datasets.layouts.words import label_of
from glaucoma.datasets.masks import CanonicalMask, inverted_three_level, read_grey
from glaucoma.datasets.tree import Tree, stem_key
from glaucoma.schema import Column, Label, Split

PUBLISHED = Published(1200, {Label.NORMAL: 1080, Label.GLAUCOMA: 120})

_NAME = re.compile(r"^(?P<part>[gnVT])\d{4}$")
_SPLITS = {"g": Split.TRAIN, "n": Split.TRAIN, "V": Split.VAL, "T": Split.TEST}
_SITES = {Split.TRAIN: "Zeiss Visucam 500", Split.VAL: "Canon CR-2", Split.TEST: "Canon CR-2"}
_BY_NAME = {"g": Label.GLAUCOMA, "n": Label.NORMAL}

OTHER_BUNDLES = ("gts", "images_square", "images_cropped", "refuge2-test", "disc_masks", "disc_mask")
"""Folders of the collections that hold REFUGE's photographs in another arrangement, and have adapters of their own."""
_SHARE = 0.9
"""A stray picture or two make it no other dataset; they are set aside by name."""


class Refuge:
    """`g0001`, `n0001` for training, `V0001` for validation, `T0001` for test; BMP masks of the same names."""

    name = "refuge"
    generic = False
    looks_like = "JPEG photographs g0001, n0001, V0001 or T0001, with BMP masks of the same names"
    published = PUBLISHED

    def recognise(self, tree: Tree) -> str | None:
        """Nine in ten image files have a REFUGE name, and at least one photograph has its mask."""
        photographs, masks = _photographs(tree), _masks(tree)
        paired = sum(stem_key(path) in masks for path in photographs)
        if not paired or len(photographs) + len(masks) < _SHARE * len(tree.images):
            return None
        if any(below_folder(path, *OTHER_BUNDLES) for path in tree.images):
            return None
        return f"{len(photographs)} photographs are called g, n, V or T and four digits, {paired} have a BMP mask"

    def read(self, tree: Tree) -> list[SourceImage]:
        """Labels of training from the name, of the others from the workbooks, else from the mask's folder G or N."""
        masks, tables = _masks(tree), [table for table in read_tables(tree) if Column.LABEL in table.columns]
        images = []
        for path in _photographs(tree):
            part = path.stem[0]
            split, mask = _SPLITS[part], masks.get(stem_key(path))
            stated = next(
                (table.rows[name][Column.LABEL] for table in tables if (name := table.name_for(path)) is not None), ""
            )
            if not stated and mask is not None and mask.parent.name in ("G", "N"):
                stated = mask.parent.name
            label = _BY_NAME.get(part) or label_of(stated) or Label.UNKNOWN
            images.append(
                SourceImage(
                    path,
                    label=label,
                    source_label=stated or (part if part in _BY_NAME else ""),
                    site=_SITES[split],
                    split=split,
                    mask=None if mask is None else _source_mask(tree, mask),
                )
            )
        return images


def _photographs(tree: Tree) -> list[PurePosixPath]:
    return [path for path in tree.images if _NAME.match(path.stem) and path.suffix.lower() in (".jpg", ".jpeg")]


def _masks(tree: Tree) -> dict[str, PurePosixPath]:
    masks = (path for path in tree.images if _NAME.match(path.stem) and path.suffix.lower() == ".bmp")
    return {stem_key(path): path for path in masks}


def _source_mask(tree: Tree, mask: PurePosixPath) -> SourceMask:
    def read() -> CanonicalMask:
        return inverted_three_level(read_grey(tree.full(mask)), str(mask))

    return SourceMask((mask,), read)
