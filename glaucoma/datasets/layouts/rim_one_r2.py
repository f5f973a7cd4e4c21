"""RIM-ONE r2 (Fumero et al. 2011): disc-centred crops in two folders, discs marked by sixteen points."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

from glaucoma.datasets.layouts.base import Published, SourceImage, SourceMask
from glaucoma.datasets.layouts.lookup import by_stem, size_of
from glaucoma.datasets.layouts.rim_one import marked
from glaucoma.datasets.masks import CanonicalMask, from_parts
from glaucoma.datasets.tree import Tree
from glaucoma.schema import Label

PUBLISHED = Published(455, {Label.NORMAL: 255, Label.GLAUCOMA: 200})

_NAME = re.compile(r"^Im\d{3}$", re.IGNORECASE)
_MARKS = "-gs"
_NORMAL, _MIXED = "normal", "glaucomaandglaucomasuspicious"
_HEADER_LINES = 2
_SHARE = 0.9
"""A stray picture or two make it no other dataset; they are set aside by name."""


class RimOneR2:
    """`Normal/Im001.jpg` and `Glaucoma and glaucoma suspicious/Im256.jpg`, each with `Im256-gs.txt` beside.

    The second folder does not part glaucoma from suspects, and those who made the release count it as glaucoma; so does
    this, and the folder's name stays in `source_label`. No patients, eyes or splits. The cup is not marked.
    """

    name = "rim_one_r2"
    generic = False
    looks_like = "Normal/ and Glaucoma and glaucoma suspicious/ with Im001.jpg and Im001-gs.txt"
    published = PUBLISHED

    def recognise(self, tree: Tree) -> str | None:
        """Nine in ten images are called Im and three digits in the two folders; texts or the long name are there."""
        photographs = _photographs(tree)
        mixed = sum(_folder(path) == _MIXED for path in photographs)
        marks = len(_marks(tree))
        if not photographs or len(photographs) < _SHARE * len(tree.images) or not (mixed or marks):
            return None
        of_the_sick = f"{mixed} of them in Glaucoma and glaucoma suspicious"
        return (
            f"{len(photographs)} photographs are called Im<three digits>, {of_the_sick}, with {marks} texts of points"
        )

    def read(self, tree: Tree) -> list[SourceImage]:
        """The photographs with the disc of their text; `source_label` is the folder's name."""
        marks = _marks(tree)
        return [
            SourceImage(
                path,
                label=Label.NORMAL if _folder(path) == _NORMAL else Label.GLAUCOMA,
                source_label=path.parent.name,
                site="RIM-ONE r2",
                mask=_mask(tree, path, marks.get(path.stem.casefold() + _MARKS)),
            )
            for path in _photographs(tree)
        ]


def _photographs(tree: Tree) -> list[PurePosixPath]:
    return [path for path in tree.images if _NAME.match(path.stem) and _folder(path) in (_NORMAL, _MIXED, "glaucoma")]


def _folder(path: PurePosixPath) -> str:
    return "".join(letter for letter in path.parent.name.casefold() if letter.isalpha())


def _marks(tree: Tree) -> dict[str, PurePosixPath]:
    texts = (path for path in tree.files if path.suffix.lower() == ".txt" and path.stem.casefold().endswith(_MARKS))
    return by_stem(path for path in texts if _NAME.match(path.stem[: -len(_MARKS)]))


def _mask(tree: Tree, photograph: PurePosixPath, text: PurePosixPath | None) -> SourceMask | None:
    if text is None:
        return None

    def read() -> CanonicalMask:
        return from_parts(marked(tree, text, lambda: size_of(tree, photograph).shown, header_lines=_HEADER_LINES), None)

    return SourceMask((text,), read)
