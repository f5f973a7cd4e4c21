"""LAG (Li et al. 2019): 500 x 500 photographs, each with an attention map and a label in a text file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath

from glaucoma.datasets.layouts.base import SourceImage
from glaucoma.datasets.tree import Tree
from glaucoma.errors import DatasetError
from glaucoma.schema import Label

_CLASSES = {"non_glaucoma": Label.NORMAL, "suspicious_glaucoma": Label.GLAUCOMA}
_STATED = {"0": Label.NORMAL, "1": Label.GLAUCOMA}
_PHOTOGRAPHS, _MAPS, _LABELS = "image", "attention_map", "label"
_MAX_LABEL_BYTES = 1024


class Lag:
    """`{non_glaucoma,suspicious_glaucoma}/image/0001.jpg`, its map in `attention_map/`, its label in `label/0001.txt`.

    What the folder calls suspicious the publication counts as glaucoma, confirmed by specialists, and the text files
    say 1. Where a text file contradicts its folder, the label is unknown. No patients, eyes or splits.
    """

    name = "lag"
    generic = False
    looks_like = "non_glaucoma/ and suspicious_glaucoma/, each with image/, attention_map/ and label/"

    def recognise(self, tree: Tree) -> str | None:
        """A class folder holds a folder `image`, and attention maps or label files stand beside."""
        photographs = _photographs(tree)
        beside = sum(_is_beside(path) for path in tree.files)
        if not photographs or not beside:
            return None
        return (
            f"{len(photographs)} photographs in non_glaucoma/image and suspicious_glaucoma/image, {beside} files beside"
        )

    def read(self, tree: Tree) -> list[SourceImage]:
        """The photographs; `source_label` is the folder's name, and the text file's word where that contradicts it."""
        texts = {_place(path): path for path in tree.files if _is_beside(path) and path.suffix.lower() == ".txt"}
        return [_image(tree, path, texts) for path in _photographs(tree)]

    def left_out(self, tree: Tree) -> Mapping[PurePosixPath, str]:
        """The attention maps."""
        return {path: "an attention map, no photograph" for path in tree.images if _is_beside(path)}


def _image(tree: Tree, path: PurePosixPath, texts: dict[tuple[str, str], PurePosixPath]) -> SourceImage:
    folder = path.parts[-3]
    label = _CLASSES[folder.casefold()]
    text = texts.get(_place(path))
    stated = "" if text is None else _word(tree, text)
    if not stated or _STATED.get(stated) is label:
        return SourceImage(path, label=label, source_label=folder)
    return SourceImage(path, label=Label.UNKNOWN, source_label=f"{folder}, label {stated}")


def _photographs(tree: Tree) -> list[PurePosixPath]:
    return [
        path
        for path in tree.images
        if len(path.parts) > 2 and path.parts[-2].casefold() == _PHOTOGRAPHS and path.parts[-3].casefold() in _CLASSES
    ]


def _is_beside(path: PurePosixPath) -> bool:
    """An attention map or a label file of the dataset."""
    parts = [part.casefold() for part in path.parts]
    return len(parts) > 2 and parts[-3] in _CLASSES and parts[-2] in (_MAPS, _LABELS)


def _place(path: PurePosixPath) -> tuple[str, str]:
    """What a photograph and its label file have in common: the class folder, wherever it lies, and the number."""
    return str(path.parent.parent).casefold(), path.stem.casefold()


def _word(tree: Tree, path: PurePosixPath) -> str:
    """What a label file says; `DatasetError` where it is no short text."""
    with tree.full(path).open("rb") as handle:
        content = handle.read(_MAX_LABEL_BYTES + 1)
    if len(content) > _MAX_LABEL_BYTES:
        raise DatasetError(f"The label file {path} is longer than {_MAX_LABEL_BYTES} bytes", expected="1 or 0")
    return content.decode("utf-8-sig", errors="replace").strip().removesuffix(".0")
