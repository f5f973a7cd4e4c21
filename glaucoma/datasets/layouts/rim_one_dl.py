"""RIM-ONE DL (Fumero et al. 2020): one collection, partitioned in two ways that hold the same photographs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import PurePosixPath

from glaucoma.datasets.fusion import Marked
from glaucoma.datasets.layouts.base import Published, SourceImage, SourceMask
from glaucoma.datasets.layouts.lookup import below_folder, size_of
from glaucoma.datasets.layouts.paths import class_of, split_in
from glaucoma.datasets.layouts.rim_one import marked, pictures_first
from glaucoma.datasets.masks import CanonicalMask, from_parts
from glaucoma.datasets.tree import Tree, is_image
from glaucoma.schema import Label

PUBLISHED = Published(485, {Label.NORMAL: 313, Label.GLAUCOMA: 172})

_NAME = re.compile(r"^(?P<hospital>r[123])_Im\d+$", re.IGNORECASE)
_MASK = re.compile(r"^(?P<stem>r[123]_Im\d+)-(?P<number>\d+)-(?P<structure>Disc|Cup)-T$", re.IGNORECASE)
_BY_HOSPITAL, _RANDOM = "partitioned_by_hospital", "partitioned_randomly"
_SHARE = 0.9
"""A stray picture or two make it no other dataset; they are set aside by name."""


class RimOneDl:
    """`partitioned_by_hospital/{training_set,test_set}/{glaucoma,normal}/r2_Im365.png`, masks `r2_Im365-1-Disc-T.png`.

    Both partitions hold the same photographs. The one by hospital is taken where it is there: a random split lets a
    model learn the hospital. The site is the hospital group r1, r2 or r3.
    """

    name = "rim_one_dl"
    generic = False
    looks_like = (
        "r1_Im001.png to r3_Im137.png in training_set/ and test_set/, with r1_Im001-1-Disc-T.png and -Cup-T.png"
    )
    published = PUBLISHED

    def recognise(self, tree: Tree) -> str | None:
        """Nine in ten images have a photograph's or a mask's name of this release."""
        named = [path for path in tree.images if _NAME.match(path.stem)]
        masks = [path for path in tree.images if _MASK.match(path.stem)]
        if not named or len(named) + len(masks) < _SHARE * len(tree.images):
            return None
        chosen, which = _photographs(tree)
        return f"{len(chosen)} photographs are called r1, r2 or r3 and Im<number>, {which}; {len(masks)} masks"

    def read(self, tree: Tree) -> list[SourceImage]:
        """Each photograph once, labels and splits from its folders."""
        photographs, _ = _photographs(tree)
        marks = _marks(tree)
        return [_image(tree, path, marks.get(path.stem.casefold(), {})) for path in photographs]

    def left_out(self, tree: Tree) -> dict[PurePosixPath, str]:
        """The other partition's files."""
        chosen = {path.name.casefold() for path in _photographs(tree)[0]}
        return {
            path: "the same photograph stands in the partition that was taken"
            for path in tree.images
            if _NAME.match(path.stem) and path.name.casefold() in chosen
        }


def _photographs(tree: Tree) -> tuple[list[PurePosixPath], str]:
    """Those of one partition, and which that is in words."""
    named = [path for path in tree.images if _NAME.match(path.stem)]
    for partition, words in ((_BY_HOSPITAL, "partitioned by hospital"), (_RANDOM, "partitioned randomly")):
        if chosen := [path for path in named if below_folder(path, partition)]:
            return chosen, words
    return named, "without a partition"


def _image(tree: Tree, path: PurePosixPath, marks: Mapping[str, PurePosixPath]) -> SourceImage:
    label, word = class_of(path)
    return SourceImage(
        path,
        label=label or Label.UNKNOWN,
        source_label=word,
        site=f"RIM-ONE {path.stem[:2].casefold()}",
        split=split_in(path),
        mask=_mask(tree, path, marks) if "disc" in marks else None,
    )


def _marks(tree: Tree) -> dict[str, dict[str, PurePosixPath]]:
    """For each photograph its structures' files: the lowest middle number, a picture before a text."""
    found: dict[str, dict[str, PurePosixPath]] = {}
    matches = [(path, match) for path in tree.files if (match := _MASK.match(path.stem))]
    for path, match in sorted(matches, key=lambda pair: (int(pair[1]["number"]), pictures_first(pair[0]))):
        if is_image(path) or path.suffix.lower() == ".txt":
            found.setdefault(match["stem"].casefold(), {}).setdefault(match["structure"].casefold(), path)
    return found


def _mask(tree: Tree, photograph: PurePosixPath, marks: Mapping[str, PurePosixPath]) -> SourceMask:
    def structure(name: str) -> Marked:
        return marked(tree, marks[name], lambda: size_of(tree, photograph).shown)

    def read() -> CanonicalMask:
        return from_parts(structure("disc"), structure("cup") if "cup" in marks else None)

    return SourceMask(tuple(marks.values()), read)
