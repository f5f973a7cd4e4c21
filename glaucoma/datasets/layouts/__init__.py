"""The layouts that are known, special ones first. To add one: write its module and name it here; no more changes."""

from __future__ import annotations

from typing import Final

from glaucoma.datasets.layouts.acrima import Acrima
from glaucoma.datasets.layouts.base import Layout
from glaucoma.datasets.layouts.class_folders import ClassFolders
from glaucoma.datasets.layouts.images_masks import ImagesMasks
from glaucoma.datasets.layouts.refuge import Refuge

LAYOUTS: Final[tuple[Layout, ...]] = (
    Refuge(),
    Acrima(),
    ClassFolders(),
    ImagesMasks(),
)
