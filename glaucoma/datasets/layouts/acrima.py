"""ACRIMA (Diaz-Pinto et al. 2019, CC BY 4.0): disc-cropped photographs whose names hold the label."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

from glaucoma.datasets.layouts.base import Published, SourceImage
from glaucoma.datasets.tree import Tree
from glaucoma.schema import Label

_NAME = re.compile(r"^Im\d+(?P<mark>_g)?_ACRIMA$", re.IGNORECASE)

_SHARE = 0.9
"""A stray picture or two make it no other dataset; they are set aside by name."""


class Acrima:
    """`Im001_ACRIMA.jpg` is normal, `Im686_g_ACRIMA.jpg` glaucoma; no masks, patients, eyes or splits."""

    name = "acrima"
    generic = False
    looks_like = "photographs called Im001_ACRIMA.jpg (normal) and Im686_g_ACRIMA.jpg (glaucoma)"
    published = Published(705, {Label.NORMAL: 309, Label.GLAUCOMA: 396})

    def recognise(self, tree: Tree) -> str | None:
        """Nine in ten image files have an ACRIMA name."""
        images = _photographs(tree)
        if not images or len(images) < _SHARE * len(tree.images):
            return None
        marked = sum(_is_marked(path) for path in images)
        return (
            f"{len(images)} of {len(tree.images)} images are called Im<number>_ACRIMA, "
            f"{marked} of them with _g_ for glaucoma"
        )

    def read(self, tree: Tree) -> list[SourceImage]:
        """The image files of such names; `source_label` is `g` or empty, as the name has it."""
        return [
            SourceImage(
                path,
                label=Label.GLAUCOMA if _is_marked(path) else Label.NORMAL,
                source_label="g" if _is_marked(path) else "",
                site="ACRIMA",
            )
            for path in _photographs(tree)
        ]


def _photographs(tree: Tree) -> list[PurePosixPath]:
    return [path for path in tree.images if _NAME.match(path.stem)]


def _is_marked(path: PurePosixPath) -> bool:
    match = _NAME.match(path.stem)
    return match is not None and match["mark"] is not None
