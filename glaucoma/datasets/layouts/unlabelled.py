"""Photographs and nothing else: taken only where the setting `layout` asks for it, never recognised by itself."""

from __future__ import annotations

from typing import Final

from glaucoma.datasets.layouts.base import SourceImage
from glaucoma.datasets.layouts.mask_pairs import photographs_in
from glaucoma.datasets.layouts.paths import split_in
from glaucoma.datasets.layouts.words import patient_and_eye
from glaucoma.datasets.tree import Tree

NAME: Final = "unlabelled"


class Unlabelled:
    """Every image is a photograph whose label is unknown: for looking at, for models to be applied to, for merging."""

    name = NAME
    generic = True
    looks_like = "photographs without labels or masks; only if asked for by this name"

    def recognise(self, tree: Tree) -> str | None:
        """Any image will do: whoever names this layout says that there is nothing to be read from the rest."""
        return f"asked for by name: {len(photographs_in(tree))} photographs without labels"

    def read(self, tree: Tree) -> list[SourceImage]:
        """All images outside folders of masks, with patient and eye as names tell them."""
        images = []
        for path in photographs_in(tree):
            patient, eye = patient_and_eye(path.stem)
            images.append(
                SourceImage(path, patient_id=patient, eye=eye, split=split_in(path), patient_from_name=bool(patient))
            )
        return images
