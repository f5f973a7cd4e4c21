"""BEH (Bangladesh Eye Hospital, Islam et al. 2021): two class folders, and cases photographed several times."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

from glaucoma.datasets.layouts.base import Published, SourceImage
from glaucoma.datasets.layouts.paths import class_of
from glaucoma.datasets.layouts.words import patient_and_eye
from glaucoma.datasets.tree import Tree
from glaucoma.schema import Eye, Label

_NAME = re.compile(r"^(?P<case>IM\d{6})(?P<side>[ _-]*[LR])?(?: *\(\d+\))?$", re.IGNORECASE)
_SHARE = 0.9
"""A stray picture or two make it no other dataset; they are set aside by name."""


class Beh:
    """`normal/IM000000_L.JPG`, `glaucoma/IM000165 (3).JPG`: files of one number are one case, whatever follows.

    No masks, no splits. The case stands for the patient.
    """

    name = "beh"
    generic = False
    looks_like = "normal/ and glaucoma/ with photographs IM000000_L.JPG or IM000165 (3).JPG"
    published = Published(634, {Label.NORMAL: 463, Label.GLAUCOMA: 171})

    def recognise(self, tree: Tree) -> str | None:
        """Nine in ten images have such a name and lie in a folder named for a class."""
        photographs = _photographs(tree)
        if not photographs or len(photographs) < _SHARE * len(tree.images):
            return None
        cases = len({_case(path) for path in photographs})
        return f"{len(photographs)} photographs of {cases} cases are called IM<six digits> in folders named for classes"

    def read(self, tree: Tree) -> list[SourceImage]:
        """The photographs; `source_label` is the folder's name, the eye as the name tells it."""
        images = []
        for path in _photographs(tree):
            label, word = class_of(path)
            images.append(
                SourceImage(
                    path,
                    label=label or Label.UNKNOWN,
                    source_label=word,
                    patient_id=_case(path),
                    eye=_eye(path),
                    patient_from_name=True,
                )
            )
        return images


def _photographs(tree: Tree) -> list[PurePosixPath]:
    return [path for path in tree.images if _NAME.match(path.stem) and class_of(path)[0] is not None]


def _case(path: PurePosixPath) -> str:
    match = _NAME.match(path.stem)
    return match["case"].upper() if match else ""


def _eye(path: PurePosixPath) -> Eye:
    return patient_and_eye(path.stem)[1]
