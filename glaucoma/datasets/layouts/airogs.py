"""AIROGS (de Vente et al. 2023): some 100,000 screening photographs with one table of labels, shipped in parts."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

from glaucoma.datasets.layouts.base import Published, SourceImage
from glaucoma.datasets.layouts.sheets import readable_sheets, records
from glaucoma.datasets.layouts.words import label_of
from glaucoma.datasets.tree import Tree
from glaucoma.errors import DatasetError
from glaucoma.schema import Label

_NAME = re.compile(r"^(?:TRAIN|DEV|TEST)\d{6}$", re.IGNORECASE)
_SHARE = 0.9
"""A stray picture or two make it no other dataset; they are set aside by name."""


class Airogs:
    """`0/TRAIN000000.jpg` to `5/..`, or all in one folder, and `train_labels.csv` with `challenge_id` and `class`.

    RG (referable glaucoma) is glaucoma, NRG normal. The source names no patients, although there are only some 60,000.
    The six parts are archives of their own beside the one table, so rows without a file are no loss and are not listed;
    the evidence says how many there are.
    """

    name = "airogs"
    generic = False
    looks_like = "photographs TRAIN000000.jpg and a table with the columns challenge_id and class (RG, NRG)"
    published = Published(101_442, {Label.GLAUCOMA: 3_270, Label.NORMAL: 98_172})

    def recognise(self, tree: Tree) -> str | None:
        """Nine in ten images are called TRAIN and six digits, and a table has both columns."""
        photographs = _photographs(tree)
        if not photographs or len(photographs) < _SHARE * len(tree.images):
            return None
        classes = _classes(tree)
        named = sum(path.stem.upper() in classes for path in photographs)
        if not named:
            return None
        return f"{len(photographs)} photographs called TRAIN<number>; the table of {len(classes)} names {named} of them"

    def read(self, tree: Tree) -> list[SourceImage]:
        """The photographs; one that the table does not name has the label unknown."""
        classes = _classes(tree)
        words = {path: classes.get(path.stem.upper(), "") for path in _photographs(tree)}
        return [
            SourceImage(path, label=label_of(word) or Label.UNKNOWN, source_label=word) for path, word in words.items()
        ]


def _photographs(tree: Tree) -> list[PurePosixPath]:
    return [path for path in tree.images if _NAME.match(path.stem)]


def _classes(tree: Tree) -> dict[str, str]:
    """Challenge id in capitals -> class."""
    return tree.once("airogs classes", lambda: _read_classes(tree))


def _read_classes(tree: Tree) -> dict[str, str]:
    found: dict[str, str] = {}
    for sheet in readable_sheets(tree):
        for row in records(sheet, ("challengeid", "class")):
            name, word = PurePosixPath(row["challengeid"]).stem.upper(), row.get("class", "")
            if found.setdefault(name, word) != word:
                raise DatasetError(
                    f"{sheet.path} calls the photograph {name} {word!r}, another row {found[name]!r}",
                    expected="one class a photograph",
                    remedy="correct the table and pack the archive again",
                )
    return found
