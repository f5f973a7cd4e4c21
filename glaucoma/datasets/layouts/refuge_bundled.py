"""REFUGE as others have packed it again: three splits, an index of JSON each, every photograph three times."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Any

from glaucoma.datasets.contours import read_json
from glaucoma.datasets.layouts.base import SourceImage, SourceMask
from glaucoma.datasets.layouts.lookup import by_stem, in_folder
from glaucoma.datasets.layouts.paths import split_in
from glaucoma.datasets.layouts.refuge import PUBLISHED
from glaucoma.datasets.layouts.words import label_of
from glaucoma.datasets.masks import CanonicalMask, canonical, inverted_three_level, read_grey
from glaucoma.datasets.tree import Tree, stem_key
from glaucoma.errors import DatasetError
from glaucoma.schema import Label, Split

_INDEX = "index.json"
_VERSIONS = ("images_cropped", "images_square", "masks_cropped", "masks_square", "gts")
_CAMERAS = {Split.TRAIN: "Zeiss Visucam 500", Split.VAL: "Canon CR-2", Split.TEST: "Canon CR-2"}


class RefugeBundled:
    """`train/Images/g0001.jpg`, `train/Masks/g0001.png` (0, 1, 2), `train/gts/g0001.bmp` (inverted), an index each.

    `Images_Cropped` and `Images_Square` hold the same photographs again and are left out.
    """

    name = "refuge_bundled"
    generic = False
    looks_like = "train/, val/ and test/, each with Images/, Masks/ and index.json (ImgName, Label)"
    published = PUBLISHED

    def recognise(self, tree: Tree) -> str | None:
        """An index.json of entries with ImgName stands beside a folder Images, and masks are in Masks or gts."""
        indexes = _indexes(tree)
        photographs = _photographs(tree)
        masks = [path for path in tree.images if in_folder(path, "masks", "gts")]
        if not indexes or not photographs or not masks or not all(_is_index(tree, index) for index in indexes):
            return None
        return f"{len(photographs)} photographs in folders Images with index.json beside, in {len(indexes)} splits"

    def read(self, tree: Tree) -> list[SourceImage]:
        """Labels from the index, else from the first letter of training photographs; splits from the folders."""
        images = []
        for index in _indexes(tree):
            bundle = index.parent
            stated = _labels(tree, index)
            beside = [path for path in tree.images if path.parent.parent == bundle]
            masks = by_stem(path for path in beside if in_folder(path, "masks"))
            inverted = by_stem(path for path in beside if in_folder(path, "gts"))
            for path in beside:
                if in_folder(path, "images"):
                    key = path.stem.casefold()
                    mask = _mask(tree, masks.get(key), inverted.get(key))
                    images.append(_image(path, stated.get(stem_key(path), ""), mask))
        return images

    def left_out(self, tree: Tree) -> dict[PurePosixPath, str]:
        """The cropped and square versions, and the inverted masks where there are others."""
        return {path: "another version of a photograph or mask" for path in tree.images if in_folder(path, *_VERSIONS)}


def _indexes(tree: Tree) -> list[PurePosixPath]:
    folders = {path.parent.parent for path in tree.images if in_folder(path, "images")}
    return [path for path in tree.files if path.name.casefold() == _INDEX and path.parent in folders]


def _photographs(tree: Tree) -> list[PurePosixPath]:
    bundles = {index.parent for index in _indexes(tree)}
    return [path for path in tree.images if in_folder(path, "images") and path.parent.parent in bundles]


def _is_index(tree: Tree, index: PurePosixPath) -> bool:
    try:
        return bool(_labels(tree, index))
    except DatasetError:
        return False


def _labels(tree: Tree, index: PurePosixPath) -> dict[str, str]:
    """Photograph -> the label as the index writes it.

    Raises:
        DatasetError: The index is no JSON of entries with a name each, or contradicts itself.
    """
    content = read_json(tree.full(index))
    entries: list[Any] = list(content.values()) if isinstance(content, dict) else content
    if not isinstance(entries, list) or not all(isinstance(entry, dict) and "ImgName" in entry for entry in entries):
        raise DatasetError(f"{index} is no index of photographs", expected="entries with ImgName and Label")
    labels: dict[str, str] = {}
    for entry in entries:
        name, label = stem_key(str(entry["ImgName"])), str(entry.get("Label", ""))
        if labels.setdefault(name, label) != label:
            raise DatasetError(f"{index} names {name} twice, with the labels {labels[name]} and {label}")
    return labels


def _image(path: PurePosixPath, word: str, mask: SourceMask | None) -> SourceImage:
    if not word and path.stem[:1] in ("g", "n"):
        word = path.stem[:1]
    split = split_in(path)
    return SourceImage(
        path,
        label=label_of(word) or Label.UNKNOWN,
        source_label=word,
        site="" if split is None else _CAMERAS[split],
        split=split,
        mask=mask,
    )


def _mask(tree: Tree, mask: PurePosixPath | None, inverted: PurePosixPath | None) -> SourceMask | None:
    """From `Masks`, else from `gts`."""
    if mask is not None:
        path = mask

        def read() -> CanonicalMask:
            return canonical(read_grey(tree.full(path)), path.name)

    elif inverted is not None:
        path = inverted

        def read() -> CanonicalMask:
            return inverted_three_level(read_grey(tree.full(path)), path.name)

    else:
        return None
    return SourceMask((path,), read)
