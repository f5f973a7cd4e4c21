"""RIM-ONE r3 (Fumero et al. 2015): stereo pairs side by side, two readers and their average, masks of one half."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

from glaucoma.datasets.fusion import Marked, between
from glaucoma.datasets.layouts.base import Published, SourceImage, SourceMask
from glaucoma.datasets.layouts.lookup import size_of
from glaucoma.datasets.layouts.rim_one import marked, pictures_first
from glaucoma.datasets.layouts.stereo import half_of_mask, overlay_on_halves
from glaucoma.datasets.masks import CanonicalMask, from_parts
from glaucoma.datasets.placement import half_width
from glaucoma.datasets.tree import Tree, is_image
from glaucoma.errors import DatasetError
from glaucoma.schema import Eye, Label, SourcePart

PUBLISHED = Published(159, {Label.NORMAL: 85, Label.GLAUCOMA: 39, Label.SUSPECT: 35})

_NAME = re.compile(r"^(?P<kind>[NGS])-(?P<number>\d+)-(?P<side>[LR])$", re.IGNORECASE)
_MASK = re.compile(r"^(?P<stem>[NGS]-\d+-[LR])(?:-\d+)?-(?P<structure>Cup|Disc)-(?P<reader>exp\d|avg)$", re.IGNORECASE)
_LABELS = {"n": Label.NORMAL, "g": Label.GLAUCOMA, "s": Label.SUSPECT}
_EYES = {"l": Eye.OS, "r": Eye.OD}
_AVERAGE = "avg"
_SHARE = 0.9
"""A stray picture or two make it no other dataset; they are set aside by name."""

_Marks = Mapping[str, Sequence[PurePosixPath]]
"""Structure (`disc`, `cup`) -> the files that make it: the average alone, or one of each reader."""


class RimOneR3:
    """`Healthy/Stereo Images/N-1-L.jpg` with `Average_masks/N-1-L-Disc-Avg.png`, `Expert1_masks/N-1-L-1-Disc-exp1.png`.

    The photograph is the half that the masks belong to. Masks of the whole width tell it by where the disc lies. For
    masks of half the width each half is laid under the disc: it is brighter inside its edge where it belongs. A
    photograph whose halves are too alike for that goes with the others of its side (L or R), and the left half is taken
    where nothing tells. Eyes of one number are taken for one patient's.
    """

    name = "rim_one_r3"
    generic = False
    looks_like = (
        "stereo photographs N-1-L.jpg, G-1-R.jpg, S-1-L.jpg with Expert1_masks/, Expert2_masks/, Average_masks/"
    )
    published = PUBLISHED

    def recognise(self, tree: Tree) -> str | None:
        """Nine in ten images have a photograph's or a mask's name of this release, and some photograph has a mask."""
        photographs, marks = _photographs(tree), _marks(tree)
        masks = [path for path in tree.images if _MASK.match(path.stem)]
        paired = sum(path.stem.casefold() in marks for path in photographs)
        if not paired or len(photographs) + len(masks) < _SHARE * len(tree.images):
            return None
        return f"{len(photographs)} photographs are called N, G or S, a number and L or R; {paired} have masks"

    def read(self, tree: Tree) -> list[SourceImage]:
        """One photograph a pair; labels from the first letter, eyes from the last, masks averaged or fused."""
        photographs, marks = _photographs(tree), _marks(tree)
        parts = _parts(tree, photographs, marks)
        return [_image(tree, path, marks.get(path.stem.casefold(), {}), parts[path]) for path in photographs]

    def left_out(self, tree: Tree) -> dict[PurePosixPath, str]:
        """The readers' masks of structures whose average is there."""
        return {path: "one reader's mask; the average was taken" for path in tree.images if _MASK.match(path.stem)}


def _image(tree: Tree, path: PurePosixPath, marks: _Marks, part: SourcePart) -> SourceImage:
    match = _NAME.match(path.stem)
    assert match is not None  # noqa: S101 - only such names come here
    return SourceImage(
        path,
        label=_LABELS[match["kind"].casefold()],
        source_label=match["kind"],
        patient_id=f"{match['kind']}-{match['number']}".upper(),
        eye=_EYES[match["side"].casefold()],
        site="RIM-ONE r3",
        mask=_mask(tree, path, marks, part) if marks.get("disc") else None,
        patient_from_name=True,
        part=part,
    )


def _photographs(tree: Tree) -> list[PurePosixPath]:
    return [path for path in tree.images if _NAME.match(path.stem)]


def _marks(tree: Tree) -> dict[str, dict[str, list[PurePosixPath]]]:
    """For each photograph its structures' files: the average where it is there, else one of each reader."""
    found: dict[str, dict[str, dict[str, PurePosixPath]]] = defaultdict(lambda: defaultdict(dict))
    for path in sorted(tree.files, key=pictures_first):
        match = _MASK.match(path.stem)
        if match and (is_image(path) or path.suffix.lower() == ".txt"):
            readers = found[match["stem"].casefold()][match["structure"].casefold()]
            readers.setdefault(match["reader"].casefold(), path)
    return {
        stem: {
            structure: [readers[_AVERAGE]] if _AVERAGE in readers else [readers[name] for name in sorted(readers)]
            for structure, readers in structures.items()
        }
        for stem, structures in found.items()
    }


def _mask(tree: Tree, photograph: PurePosixPath, marks: _Marks, part: SourcePart) -> SourceMask:
    def shape() -> tuple[int, int]:
        height, width = size_of(tree, photograph).shown
        return height, width if part is SourcePart.WHOLE else half_width(width)

    def fused(structure: str) -> Marked:
        return between([marked(tree, path, shape) for path in marks[structure]])

    def read() -> CanonicalMask:
        return from_parts(fused("disc"), fused("cup") if "cup" in marks else None)

    return SourceMask(tuple(path for paths in marks.values() for path in paths), read)


def _parts(
    tree: Tree, photographs: Sequence[PurePosixPath], marks: Mapping[str, _Marks]
) -> dict[PurePosixPath, SourcePart]:
    found = {path: _found(tree, path, marks.get(path.stem.casefold(), {})) for path in photographs}
    votes: dict[str, float] = defaultdict(float)
    for path, one in found.items():
        if one in (SourcePart.LEFT, SourcePart.RIGHT):
            votes[_side(path)] += 1 if one is SourcePart.LEFT else -1
    return {
        path: one if one is not None else (SourcePart.RIGHT if votes[_side(path)] < 0 else SourcePart.LEFT)
        for path, one in found.items()
    }


def _side(path: PurePosixPath) -> str:
    return path.stem[-1].casefold()


def _found(tree: Tree, photograph: PurePosixPath, marks: _Marks) -> SourcePart | None:
    """The half that the photograph and its mask tell by themselves; None where they are not sure."""
    try:
        height, width = size_of(tree, photograph).shown
        if width <= height:
            return SourcePart.WHOLE  # somebody has cut the pairs already
        disc = next((path for path in marks.get("disc", ())), None)
        if disc is None:
            return None
        mark = marked(tree, disc, lambda: (height, half_width(width)))
        if mark.shape == (height, width):
            return half_of_mask(mark)
        return overlay_on_halves(tree.full(photograph), mark).part
    except DatasetError:
        return None  # the photograph or its mask cannot be read: it is set aside, with the reason, when it is
