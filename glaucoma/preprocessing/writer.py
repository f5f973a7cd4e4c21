"""A prepared dataset's folder while it is written: pictures, packed arrays, and what the manifest will say of them."""

from __future__ import annotations

import contextlib
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import pandas as pd

from glaucoma.preprocessing.geometry import Geometry
from glaucoma.preprocessing.packed import PackedWriter
from glaucoma.preprocessing.prepare import Prepared
from glaucoma.schema import Column

IMAGES_NAME = "images.npy"
MASKS_NAME = "masks.npy"
FIELDS_NAME = "fields.npy"

_CUT_SHARE = 0.001
"""A disc that lost more than this share of its pixels to the crop is named in the record."""
_SYNC_EVERY = 32
"""Photographs; 40 MB at 512 px."""


@dataclass(frozen=True)
class Kept:
    """What stays in memory of a photograph that was written."""

    geometry: Geometry
    has_mask: bool
    round_field: bool
    disc_lost_share: float | None
    no_disc: str | None


class PreparedWriter:
    """Takes prepared photographs; of each only its geometry and its path stay in memory.

    `write` is for the threads that prepare them: each puts its own into place, and none waits for another. `keep` is
    for the one that collects them, in the manifest's order.

    Attributes:
        disc_cut: Images whose crop removed part of the marked disc, with the share of its pixels.
        without_disc: Images that were to be cut around the disc and were not, with the reason.
        round_fields: How many photographs show a whole retina.
    """

    def __init__(self, folder: Path, size_px: int, *, rows_at_most: int) -> None:
        self.disc_cut: list[dict[str, Any]] = []
        self.without_disc: list[dict[str, str]] = []
        self.round_fields = 0
        self._folder = folder
        self._size_px = size_px
        self._rows_at_most = rows_at_most
        self._places: list[int] = []
        self._geometries: list[Geometry] = []
        self._has_mask: list[bool] = []
        self._no_mask = np.zeros((size_px, size_px), np.uint8)
        self._open = contextlib.ExitStack()
        self._packed: dict[str, PackedWriter] = {}
        self._syncing: Future[None] | None = None

    def __enter__(self) -> Self:
        (self._folder / "images").mkdir()
        (self._folder / "masks").mkdir()
        size = self._size_px
        for name, shape in ((IMAGES_NAME, (size, size, 3)), (MASKS_NAME, (size, size)), (FIELDS_NAME, (size, size))):
            writer = PackedWriter(self._folder / name, shape, rows_at_most=self._rows_at_most)
            self._packed[name] = self._open.enter_context(writer)
        self._background = self._open.enter_context(ThreadPoolExecutor(1, thread_name_prefix="sync"))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if self._syncing is not None:
                self._syncing.result()
            if error is None:
                for packed in self._packed.values():
                    packed.finish(self._places)
        finally:
            self._open.__exit__(kind, error, trace)

    def write(self, place: int, image_id: str, one: Prepared) -> Kept:
        """Writes the photograph that stands in row `place` of the dataset's manifest; from any thread."""
        (self._folder / _image(image_id)).write_bytes(one.picture_png)
        if one.mask_png is not None:
            (self._folder / _mask(image_id)).write_bytes(one.mask_png)
        self._packed[IMAGES_NAME].put(place, one.picture)
        self._packed[MASKS_NAME].put(place, self._no_mask if one.mask is None else one.mask)
        self._packed[FIELDS_NAME].put(place, one.inside)
        return Kept(one.geometry, one.mask is not None, one.round_field, one.disc_lost_share, one.no_disc)

    def keep(self, place: int, image_id: str, one: Kept) -> None:
        """Takes the photograph that was written at `place` into the manifest; the places ascend."""
        self._places.append(place)
        self._geometries.append(one.geometry)
        self._has_mask.append(one.has_mask)
        self.round_fields += one.round_field
        if one.disc_lost_share is not None and one.disc_lost_share > _CUT_SHARE:
            self.disc_cut.append({"image_id": image_id, "share_lost": round(one.disc_lost_share, 4)})
        if one.no_disc is not None:
            self.without_disc.append({"image_id": image_id, "reason": one.no_disc})
        if len(self._places) % _SYNC_EVERY == 0 and (self._syncing is None or self._syncing.done()):
            self._sync_meanwhile()

    def _sync_meanwhile(self) -> None:
        """Brings the arrays to the disk while more photographs are prepared: little is left for the end."""
        if self._syncing is not None:
            self._syncing.result()
        self._syncing = self._background.submit(self._sync)

    def _sync(self) -> None:
        for packed in self._packed.values():
            packed.sync()

    def manifest(self, dataset: pd.DataFrame) -> pd.DataFrame:
        """The rows of the dataset's manifest that were kept, with the prepared paths, the size, and the geometry."""
        kept = dataset.iloc[self._places].reset_index(drop=True)
        ids = [str(value) for value in kept[Column.IMAGE_ID]]
        geometry = pd.DataFrame([one.columns() for one in self._geometries])
        paths = {
            Column.IMAGE.value: [_image(name) for name in ids],
            Column.MASK.value: [_mask(name) if there else "" for name, there in zip(ids, self._has_mask, strict=True)],
        }
        sides = {Column.WIDTH.value: self._size_px, Column.HEIGHT.value: self._size_px}
        return pd.concat([kept.assign(**paths, **sides), geometry], axis=1)


def _image(image_id: str) -> str:
    return f"images/{image_id}.png"


def _mask(image_id: str) -> str:
    return f"masks/{image_id}.png"
