"""The layouts that are known, special ones first. To add one: write its module and name it here; no more changes."""

from __future__ import annotations

from typing import Final

from glaucoma.datasets.layouts.acrima import Acrima
from glaucoma.datasets.layouts.airogs import Airogs
from glaucoma.datasets.layouts.airogs_light import AirogsLight
from glaucoma.datasets.layouts.base import Layout
from glaucoma.datasets.layouts.beh import Beh
from glaucoma.datasets.layouts.chaksu import Chaksu
from glaucoma.datasets.layouts.class_folders import ClassFolders
from glaucoma.datasets.layouts.drishti import Drishti
from glaucoma.datasets.layouts.fives import Fives
from glaucoma.datasets.layouts.g1020 import G1020
from glaucoma.datasets.layouts.grape import Grape
from glaucoma.datasets.layouts.hygd import Hygd
from glaucoma.datasets.layouts.images_masks import ImagesMasks
from glaucoma.datasets.layouts.lag import Lag
from glaucoma.datasets.layouts.origa import Origa
from glaucoma.datasets.layouts.papila import Papila
from glaucoma.datasets.layouts.refuge import Refuge
from glaucoma.datasets.layouts.refuge2 import Refuge2
from glaucoma.datasets.layouts.refuge_bundled import RefugeBundled
from glaucoma.datasets.layouts.rim_one_dl import RimOneDl
from glaucoma.datasets.layouts.rim_one_r2 import RimOneR2
from glaucoma.datasets.layouts.rim_one_r3 import RimOneR3
from glaucoma.datasets.layouts.smdg import Smdg
from glaucoma.datasets.layouts.unlabelled import Unlabelled

ON_REQUEST: Final[tuple[Layout, ...]] = (Unlabelled(),)
"""Layouts that are taken only where they are named: they would match anything."""

LAYOUTS: Final[tuple[Layout, ...]] = (
    Refuge(),
    RefugeBundled(),
    Refuge2(),
    Acrima(),
    Airogs(),
    AirogsLight(),
    Beh(),
    Chaksu(),
    Drishti(),
    Fives(),
    G1020(),
    Grape(),
    Hygd(),
    Lag(),
    Origa(),
    Papila(),
    RimOneR2(),
    RimOneR3(),
    RimOneDl(),
    Smdg(),
    ClassFolders(),
    ImagesMasks(),
)
