"""FIVES (Jin et al. 2022, CC BY 4.0): 800 photographs with vessel masks, a quarter of them of glaucoma eyes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import PurePosixPath

from glaucoma.datasets.layouts.base import Published, SourceImage
from glaucoma.datasets.layouts.paths import split_in
from glaucoma.datasets.layouts.sheets import Sheet, readable_sheets, records
from glaucoma.datasets.layouts.words import split_of
from glaucoma.datasets.tree import Tree
from glaucoma.schema import Label, Split

_NAME = re.compile(r"^(?P<number>\d+)_(?P<disease>[ADGN])$", re.IGNORECASE)
_LABELS = {"G": Label.GLAUCOMA, "N": Label.NORMAL}
_PHOTOGRAPHS, _VESSELS = "original", "ground truth"
_SHARE = 0.9
"""A stray picture or two make it no other dataset; they are set aside by name."""


class Fives:
    """`{train,test}/Original/1_G.png`; the letter is the disease: A macular degeneration, D diabetic, G, N.

    Eyes with another disease are neither normal nor said to be free of glaucoma: their label is unknown. The masks in
    `Ground truth/` mark vessels and say nothing of the disc. `1_A.png` of train and of test are different photographs.
    """

    name = "fives"
    generic = False
    looks_like = "train/ and test/ with Original/ and Ground truth/, photographs 1_A.png, 1_D.png, 1_G.png, 1_N.png"
    published = Published(800, {Label.GLAUCOMA: 200, Label.NORMAL: 200, Label.UNKNOWN: 400})

    def recognise(self, tree: Tree) -> str | None:
        """Nine in ten images have such a name inside Original or Ground truth."""
        photographs = _photographs(tree)
        others = sum(_is_of(path, _VESSELS) for path in tree.images)
        if not photographs or len(photographs) + others < _SHARE * len(tree.images):
            return None
        return f"{len(photographs)} photographs in Original/ are called by number and disease, {others} vessel masks"

    def read(self, tree: Tree) -> list[SourceImage]:
        """The photographs, with the quality table's row as `stated_quality`; vessel masks are set aside by name."""
        quality = _quality(tree)
        images = []
        for path in _photographs(tree):
            disease, split = path.stem[-1].upper(), split_in(path)
            images.append(
                SourceImage(
                    path,
                    label=_LABELS.get(disease, Label.UNKNOWN),
                    source_label=disease,
                    split=split,
                    stated_quality=quality.get((split, path.stem.upper()), ""),
                )
            )
        return images

    def left_out(self, tree: Tree) -> Mapping[PurePosixPath, str]:
        """The vessel masks."""
        return {path: "marks vessels, and no disc or cup" for path in tree.images if _is_of(path, _VESSELS)}


def _photographs(tree: Tree) -> list[PurePosixPath]:
    return [path for path in tree.images if _is_of(path, _PHOTOGRAPHS)]


def _is_of(path: PurePosixPath, folder: str) -> bool:
    return bool(_NAME.match(path.stem)) and path.parent.name.casefold().replace("_", " ") == folder


def _quality(tree: Tree) -> dict[tuple[Split | None, str], str]:
    """Split and name -> what the quality table says, as `heading=value`; empty where no sheet is laid out so."""
    found: dict[tuple[Split | None, str], str] = {}
    for sheet in readable_sheets(tree):
        found |= _quality_of(sheet)
    return found


def _quality_of(sheet: Sheet) -> dict[tuple[Split | None, str], str]:
    """One sheet a split, a row a photograph: disease, number, and a mark for each kind of flaw."""
    split = split_of(sheet.name)
    found = {}
    for row in records(sheet, ("disease", "number")):
        marks = " ".join(f"{heading}={cell}" for heading, cell in row.items() if heading not in ("disease", "number"))
        found[split, f"{row.get('number', '')}_{row.get('disease', '')[:1].upper()}"] = marks
    return found
