"""Which mask files belong to which photograph in the generic layouts: by folder and by name."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import PurePosixPath

from glaucoma.datasets.layouts.base import SourceMask
from glaucoma.datasets.layouts.two_files import MATLAB_ENDING, disc_and_cup, one_file
from glaucoma.datasets.layouts.words import is_image_folder, is_mask_folder
from glaucoma.datasets.tree import Tree, is_image, stem_key
from glaucoma.errors import LayoutError

_BOTH, _DISC, _CUP = "both", "disc", "cup"
_STRUCTURES = {"disc": _DISC, "disk": _DISC, "opticdisc": _DISC, "opticdisk": _DISC, "cup": _CUP, "opticcup": _CUP}
_SHORT = {"od": _DISC, "oc": _CUP}
"""Among masks only: elsewhere OD is the right eye."""
_MASK_WORDS = re.compile(r"(masks?|segmentations?|seg|gt)$")
_ENDINGS = ("_mask", "-mask", "_gt", "_seg")


@dataclass
class _Candidates:
    """The mask files of one name. Where each patient has a folder, all masks may have one name: none looks at all."""

    files: list[PurePosixPath] = field(default_factory=list)
    by_folder: dict[str, list[int]] = field(default_factory=dict)

    def add(self, path: PurePosixPath) -> None:
        for folder in set(path.parent.parts):
            self.by_folder.setdefault(folder, []).append(len(self.files))
        self.files.append(path)

    def closest(self, photograph: PurePosixPath) -> list[PurePosixPath]:
        """Those with most folder names in common with the photograph: `train/images/a` goes with `train/masks/a`."""
        shared: Counter[int] = Counter()
        for folder in set(photograph.parent.parts):
            places = self.by_folder.get(folder, [])
            if len(places) < len(self.files):  # a name that they all have tells none from another
                shared.update(places)
        most = max(shared.values(), default=0)
        return [self.files[place] for place in sorted(shared) if shared[place] == most] or self.files


_Found = dict[str, dict[str, _Candidates]]
"""Structure -> name -> files."""


def photographs_in(tree: Tree) -> list[PurePosixPath]:
    """Images outside folders of masks; where folders called `images` hold some, only those: the rest are versions."""
    return tree.once("photographs outside folders of masks", lambda: _photographs(tree))


def masks_of(tree: Tree) -> dict[PurePosixPath, SourceMask]:
    """Photograph -> its mask, for those that have one.

    A mask lies in a folder of masks, or in one for discs with perhaps one for cups beside; its name is the
    photograph's, or that with `_mask`, `_disc` or `_cup` behind it. Of several candidates the one counts whose folders
    agree most with the photograph's; a file for both structures counts before files for each.

    Raises:
        LayoutError: Two masks suit one photograph equally well.
    """
    return tree.once("masks of photographs", lambda: _pairs(tree, photographs_in(tree)))


def _photographs(tree: Tree) -> list[PurePosixPath]:
    outside = [path for path in tree.images if not _in_mask_folder(path)]
    inside = [path for path in outside if any(is_image_folder(part) for part in path.parent.parts)]
    return inside or outside


def _pairs(tree: Tree, photographs: Sequence[PurePosixPath]) -> dict[PurePosixPath, SourceMask]:
    found = _candidates(tree, {stem_key(path) for path in photographs})
    pairs = {}
    for photograph in photographs:
        both, disc, cup = (_best(photograph, found[kind].get(stem_key(photograph))) for kind in (_BOTH, _DISC, _CUP))
        if both is not None:
            pairs[photograph] = one_file(tree, both)
        elif disc is not None:
            pairs[photograph] = disc_and_cup(tree, disc, cup)
    return pairs


def _candidates(tree: Tree, names: set[str]) -> _Found:
    found: _Found = {_BOTH: {}, _DISC: {}, _CUP: {}}
    for path in tree.files:
        if not (is_image(path) or path.suffix.lower() == MATLAB_ENDING) or not _in_mask_folder(path):
            continue
        structure = _structure_of_folders(path.parent.parts)
        name, by_name = _named(_stem(path), names)
        found[structure if structure != _BOTH else by_name].setdefault(name, _Candidates()).add(path)
    return found


def _best(photograph: PurePosixPath, candidates: _Candidates | None) -> PurePosixPath | None:
    if candidates is None:
        return None
    closest = candidates.closest(photograph)
    if len(closest) > 1:
        raise LayoutError(
            f"Two masks have the name of {photograph}: {closest[0]} and {closest[1]}",
            expected="one mask a photograph, its values 0 background, 1 disc, 2 cup",
            remedy="leave one of the two out of the archive, or say which counts in a mapping "
            "(docs/how-to/describe-your-own-layout.md)",
        )
    return closest[0]


def _stem(path: PurePosixPath) -> str:
    return path.stem.casefold() if path.suffix.lower() == MATLAB_ENDING else stem_key(path)


def _named(stem: str, names: set[str]) -> tuple[str, str]:
    """The photograph's name in a mask's, and the structure that the rest of it names: `a_mask` is of `a`."""
    for ending in _ENDINGS:
        if stem not in names:
            stem = stem.removesuffix(ending)
    if stem in names:
        return stem, _BOTH
    for word, structure in _STRUCTURES.items():
        for sign in "_-":
            if stem.endswith(sign + word):
                return stem.removesuffix(sign + word), structure
    return stem, _BOTH


def _in_mask_folder(path: PurePosixPath) -> bool:
    return any(is_mask_folder(part) or _structure_of(part, among_masks=False) for part in path.parent.parts)


def _structure_of_folders(parts: Iterable[str]) -> str:
    """What the innermost folder that is named for a structure holds."""
    among = any(is_mask_folder(part) for part in parts)
    named = [structure for part in parts if (structure := _structure_of(part, among_masks=among))]
    return named[-1] if named else _BOTH


@lru_cache(maxsize=4096)
def _structure_of(folder: str, *, among_masks: bool) -> str:
    key = re.sub(r"[\s_-]", "", folder.casefold())
    rest = _MASK_WORDS.sub("", key)
    return _STRUCTURES.get(rest) or (_SHORT.get(rest, "") if among_masks or rest != key else "")
