"""DRISHTI-GS1 (Sivaswamy et al. 2014): four readers' agreement as soft maps, diagnoses in a workbook with titles."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

from glaucoma.datasets.layouts.base import Published, SourceImage, SourceMask
from glaucoma.datasets.layouts.lookup import by_image, rows_with
from glaucoma.datasets.layouts.paths import split_in
from glaucoma.datasets.layouts.words import label_of
from glaucoma.datasets.masks import CanonicalMask, from_parts
from glaucoma.datasets.soft_maps import agreed
from glaucoma.datasets.tree import Tree
from glaucoma.schema import Label

PUBLISHED = Published(101, {Label.NORMAL: 31, Label.GLAUCOMA: 70})

_NAME = re.compile(r"^drishtiGS_\d{3}$", re.IGNORECASE)
_MAP = re.compile(r"^(?P<stem>drishtiGS_\d{3})_(?P<structure>ODseg|cupseg)Softmap$", re.IGNORECASE)
_DISC, _CUP = "odseg", "cupseg"
_COLUMNS = ("drishtigsfile", "total")
_SHARE = 0.9
"""A stray picture or two make it no other dataset; they are set aside by name."""


class Drishti:
    """`Training/Images/drishtiGS_002.png`, `Training/GT/drishtiGS_002/SoftMap/drishtiGS_002_ODsegSoftmap.png`.

    A pixel belongs to a structure where three of the four readers marked it. The workbook's names end in a quotation
    mark, and its header stands below titles. A patient may stand in both splits; the patient's id tells.
    """

    name = "drishti_gs1"
    generic = False
    looks_like = "drishtiGS_002.png in Training/Images/ and Test/Images/, with drishtiGS_002_ODsegSoftmap.png"
    published = PUBLISHED

    def recognise(self, tree: Tree) -> str | None:
        """Nine in ten images have a photograph's or a soft map's name of this dataset."""
        photographs = [path for path in tree.images if _NAME.match(path.stem)]
        maps = [path for path in tree.images if _MAP.match(path.stem)]
        if not photographs or len(photographs) + len(maps) < _SHARE * len(tree.images):
            return None
        return f"{len(photographs)} photographs are called drishtiGS_ and three digits, with {len(maps)} soft maps"

    def read(self, tree: Tree) -> list[SourceImage]:
        """Labels (`Total`) and patients from the workbook, splits from the folders, masks from the soft maps."""
        rows = by_image(rows_with(tree, *_COLUMNS), _COLUMNS[0])
        maps: dict[str, dict[str, PurePosixPath]] = {}
        for path in tree.images:
            if match := _MAP.match(path.stem):
                maps.setdefault(match["stem"].casefold(), {}).setdefault(match["structure"].casefold(), path)
        images = []
        for path in tree.images:
            if _NAME.match(path.stem):
                row = rows.get(path.stem.casefold(), {})
                images.append(_image(tree, path, row, maps.get(path.stem.casefold(), {})))
        return images


def _image(tree: Tree, path: PurePosixPath, row: dict[str, str], maps: dict[str, PurePosixPath]) -> SourceImage:
    stated = row.get("total", "")
    return SourceImage(
        path,
        label=label_of(stated) or Label.UNKNOWN,
        source_label=stated,
        patient_id=row.get("patientid", "").strip("'\" "),
        site="DRISHTI-GS1",
        split=split_in(path),
        mask=_mask(tree, maps) if _DISC in maps else None,
    )


def _mask(tree: Tree, maps: dict[str, PurePosixPath]) -> SourceMask:
    def read() -> CanonicalMask:
        return from_parts(agreed(tree.full(maps[_DISC])), agreed(tree.full(maps[_CUP])) if _CUP in maps else None)

    return SourceMask(tuple(maps.values()), read)
