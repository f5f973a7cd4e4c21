"""EyePACS-AIROGS-light (Kiefer): a balanced choice from AIROGS in folders, in its first form three times over."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath

from glaucoma.datasets.layouts.base import SourceImage
from glaucoma.datasets.layouts.words import label_of, split_of
from glaucoma.datasets.tree import Tree
from glaucoma.schema import Label, Split

_CLASSES = ("rg", "nrg")
_VERSIONS = ("release-raw", "release-pad", "release-crop")
"""The three versions of every photograph; the first one that is there is taken: it is the least changed."""
_SHARE = 0.9
"""A stray picture or two make it no other dataset; they are set aside by name."""


class AirogsLight:
    """`{train,validation,test}/{RG,NRG}/*.jpg`, in the first version under each of `release-{raw,pad,crop}`.

    The splits are the source's. It names no patients, and one eye may stand under two ids: what looks the same is found
    by content.
    """

    name = "airogs_light"
    generic = False
    looks_like = "train/, validation/ and test/ with RG/ and NRG/ in each, perhaps under release-raw, -pad and -crop"

    def recognise(self, tree: Tree) -> str | None:
        """Nine in ten images lie in RG or NRG inside a split, both classes and two splits are there."""
        placed = [place for path in tree.images if (place := _place(path)) is not None]
        classes, splits = {word for _, word in placed}, {split for split, _ in placed}
        if len(placed) < _SHARE * len(tree.images) or len(classes) < len(_CLASSES) or len(splits) < 2:
            return None
        versions = [version for version in _VERSIONS if any(_version(path) == version for path in tree.images)]
        chosen = f"; of the versions {', '.join(versions)} the first is taken" if versions else ""
        return f"{len(placed)} images in RG and NRG inside {', '.join(sorted(splits))}{chosen}"

    def read(self, tree: Tree) -> list[SourceImage]:
        """The photographs of one version; the others are set aside by name."""
        placed = [(path, place) for path in tree.images if (place := _place(path)) is not None]
        there = {_version(path) for path, _ in placed}
        taken = next((version for version in _VERSIONS if version in there), "")
        return [
            SourceImage(
                path, label=label_of(path.parent.name) or Label.UNKNOWN, source_label=path.parent.name, split=split
            )
            for path, (split, _) in placed
            if _version(path) == taken
        ]

    def left_out(self, tree: Tree) -> Mapping[PurePosixPath, str]:
        """The other versions of the photographs."""
        taken = {image.source for image in self.read(tree)}
        return {path: "another version of a photograph that is taken" for path in tree.images if path not in taken}


def _place(path: PurePosixPath) -> tuple[Split, str] | None:
    """Split and class, where the two innermost folders are named so."""
    if len(path.parts) < 3 or path.parts[-2].casefold() not in _CLASSES:
        return None
    split = split_of(path.parts[-3])
    return None if split is None else (split, path.parts[-2].casefold())


def _version(path: PurePosixPath) -> str:
    """Which of the three versions a file is; empty for the dataset's second form."""
    return next((part.casefold() for part in path.parts if part.casefold() in _VERSIONS), "")
