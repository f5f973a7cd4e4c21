"""Small trees that lie on disk as the public datasets do, traps included, and what a reader must find in them.

One module a dataset. To add one: write its `build(root) -> Expected` and name it in `LOOKALIKES`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

from tests.unit.datasets.lookalikes import clinics, gatherings, outlines, refuges, rim_ones
from tests.unit.datasets.lookalikes.base import Expected, ExpectedImage

__all__ = ["LOOKALIKES", "Expected", "ExpectedImage"]

LOOKALIKES: Final[dict[str, Callable[[Path], Expected]]] = {
    "acrima": clinics.acrima,
    "airogs": gatherings.airogs,
    "airogs_flat": gatherings.airogs_flat,
    "airogs_light_first": gatherings.airogs_light_first,
    "airogs_light_second": gatherings.airogs_light_second,
    "beh": clinics.beh,
    "chaksu": gatherings.chaksu,
    "drishti": outlines.drishti,
    "fives": clinics.fives,
    "g1020": outlines.g1020,
    "grape": clinics.grape,
    "hygd": clinics.hygd,
    "lag": clinics.lag,
    "origa": outlines.origa,
    "papila": outlines.papila,
    "refuge": refuges.refuge,
    "refuge2": refuges.refuge2,
    "refuge_bundled": refuges.bundled,
    "rim_one_dl": rim_ones.dl,
    "rim_one_dl_random_only": rim_ones.dl_random_only,
    "rim_one_r2": rim_ones.r2,
    "rim_one_r3": rim_ones.r3,
    "rim_one_r3_whole_width": rim_ones.r3_whole_width,
    "smdg": gatherings.smdg,
}
"""Name -> what writes the tree under an empty folder. Several trees may belong to one layout (`Expected.layout`)."""
