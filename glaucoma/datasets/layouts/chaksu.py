"""Chaksu IMAGE (Kumar et al. 2023, CC BY 4.0): three cameras, five experts, and their consensus."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Final

from glaucoma.datasets.layouts.base import Published, SourceImage, SourceMask
from glaucoma.datasets.layouts.paths import split_in
from glaucoma.datasets.layouts.sheets import heading_key, readable_sheets
from glaucoma.datasets.layouts.two_files import disc_and_cup
from glaucoma.datasets.tree import Tree, is_image
from glaucoma.schema import Label, Split

_PHOTOGRAPHS = re.compile(r"^1\.0[ _-]*original", re.IGNORECASE)
_FUSED = re.compile(r"^5\.0(?![0-9])")
_DECISIONS = re.compile(r"^6\.0(?![0-9])")
_CAMERAS: Final = {"bosch": "Bosch", "forus": "Forus", "remidio": "Remidio", "remedio": "Remidio"}
_CONSENSUS: Final = "majority"
"""Of the four fusions of the experts' outlines (majority, mean, median, STAPLE) the one whose decision is published."""
_DECISION_HEADINGS = ("majoritydecision", "glaucomadecision")
_IMAGE_HEADINGS = ("images", "image", "imagename", "filename")
_HEADER_ROWS = 5

_Place = tuple[Split | None, str, str]
"""Split, camera and name: what a photograph, its masks and its row of a table have in common."""


class Chaksu:
    """`{Train,Test}/1.0_Original_Fundus_Images/{Bosch,Forus,Remidio}`, fused masks in `5.0_..`, decisions in `6.0_..`.

    Masks and decisions are those of the majority. A decision is normal or glaucoma suspect (written `SUSUPECT` by
    some): nobody is diagnosed with glaucoma. The source names no patients.
    """

    name = "chaksu"
    generic = False
    looks_like = "1.0_Original_Fundus_Images/ with Bosch/, Forus/ and Remidio/, and 5.0_.. or 6.0_.. beside"
    published = Published(1_345)

    def recognise(self, tree: Tree) -> str | None:
        """Photographs of a camera lie in 1.0_Original.., and a folder 5.0_.. or 6.0_.. is there."""
        photographs = [path for path in tree.images if _place(path, _PHOTOGRAPHS)]
        beside = any(_inside(path, _FUSED) or _inside(path, _DECISIONS) for path in tree.files)
        if not photographs or not beside:
            return None
        cameras = ", ".join(sorted({_camera(path) for path in photographs}))
        return f"{len(photographs)} photographs in 1.0_Original.. of {cameras}, with masks or decisions beside"

    def read(self, tree: Tree) -> list[SourceImage]:
        """The photographs, the camera as site; masks need a disc of the majority, and say of the cup what there is."""
        discs, cups = _masks(tree, "disc"), _masks(tree, "cup")
        decisions = dict(_decisions(tree))
        images = []
        for path in tree.images:
            if (place := _place(path, _PHOTOGRAPHS)) is None:
                continue
            word = decisions.get(place, "")
            images.append(
                SourceImage(
                    path,
                    label=_label(word),
                    source_label=word,
                    site=place[1],
                    split=place[0],
                    mask=_mask(tree, discs.get(place), cups.get(place)),
                )
            )
        return images

    def left_out(self, tree: Tree) -> Mapping[PurePosixPath, str]:
        """The masks that are not the majority's, and whatever else is in the numbered folders."""
        reason = "another outline of the experts' than the majority's"
        return {path: reason for path in tree.images if not _inside(path, _PHOTOGRAPHS)}


def _mask(tree: Tree, disc: PurePosixPath | None, cup: PurePosixPath | None) -> SourceMask | None:
    return None if disc is None else disc_and_cup(tree, disc, cup)


def _label(word: str) -> Label:
    key = word.casefold()
    if "sus" in key:
        return Label.SUSPECT
    return Label.NORMAL if key.startswith("normal") else Label.UNKNOWN


def _inside(path: PurePosixPath, folder: re.Pattern[str]) -> bool:
    return any(folder.match(part) for part in path.parent.parts)


def _camera(path: PurePosixPath) -> str:
    """The camera that a folder is named for; empty where none is."""
    return next((_CAMERAS[part.casefold()] for part in path.parent.parts if part.casefold() in _CAMERAS), "")


def _name(file: str) -> str:
    """A photograph's name in any of its forms: `Image101.jpg-Image101-1.jpg` and `Image101-1.tif` mean `Image101`."""
    first = PurePosixPath(file.strip().split("-", 1)[0].strip())
    return str(first.with_suffix("") if is_image(first) else first).casefold()


def _place(path: PurePosixPath, folder: re.Pattern[str]) -> _Place | None:
    """Where a file of the numbered folder belongs, or None for a file elsewhere or of no known camera."""
    camera = _camera(path)
    return (split_in(path), camera, _name(path.name)) if camera and _inside(path, folder) else None


def _masks(tree: Tree, structure: str) -> dict[_Place, PurePosixPath]:
    found = {}
    for path in tree.images:
        folders = {part.casefold() for part in path.parent.parts}
        if structure in folders and _CONSENSUS in folders and (place := _place(path, _FUSED)):
            found[place] = path
    return found


def _decisions(tree: Tree) -> Iterator[tuple[_Place, str]]:
    """The majority's word for each photograph, from the tables that are called so."""
    for sheet in readable_sheets(tree):
        if not _inside(sheet.path, _DECISIONS) or _CONSENSUS not in sheet.path.name.casefold():
            continue
        camera = _camera(sheet.path) or _camera_in(sheet.path.stem)
        for name, word in _named_decisions(sheet.rows):
            yield (split_in(sheet.path), camera, _name(name)), word


def _camera_in(text: str) -> str:
    return next((camera for word, camera in _CAMERAS.items() if word in text.casefold()), "")


def _named_decisions(rows: Sequence[Sequence[str]]) -> Iterator[tuple[str, str]]:
    """Name and decision of each row below the first header with a decision; names stand first if no heading tells."""
    for number, header in enumerate(rows[:_HEADER_ROWS]):
        keys = [heading_key(cell) for cell in header]
        decision = next((keys.index(key) for key in _DECISION_HEADINGS if key in keys), None)
        if decision is None:
            continue
        name = next((keys.index(key) for key in _IMAGE_HEADINGS if key in keys), 0)
        for row in rows[number + 1 :]:
            if len(row) > max(name, decision) and row[name]:
                yield row[name], row[decision]
        return
