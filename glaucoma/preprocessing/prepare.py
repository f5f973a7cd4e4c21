"""One photograph and its mask, from files to prepared arrays."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from glaucoma.datasets.field_of_view import NoFieldError, find_field
from glaucoma.datasets.imagefile import UnreadableImageError, read_mask_file, read_photograph
from glaucoma.datasets.png import mask_png, photograph_png
from glaucoma.preprocessing.chain import StepError, run_chain
from glaucoma.preprocessing.disc import Box, DiscModel, NoDiscError, disc_box
from glaucoma.preprocessing.geometry import Geometry, cut
from glaucoma.preprocessing.resample import resize_mask
from glaucoma.preprocessing.settings import PreprocessSettings
from glaucoma.schema import MaskValue

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Source:
    """What the manifest says of one photograph; paths are absolute."""

    image_id: str
    image: Path
    sha256: str
    mask: Path | None


@dataclass(frozen=True)
class Prepared:
    """One prepared photograph.

    Attributes:
        picture: RGB uint8 (S, S, 3), black outside the field.
        mask: `MaskValue` uint8 (S, S), or None.
        inside: 1 in the field of view, 0 outside, uint8 (S, S).
        geometry: The way back to the photograph's pixels.
        round_field: Whether the photograph shows a whole retina.
        disc_lost_share: Share of the mask's disc that the crop removed; None without a mask or disc.
        no_disc: Why the crop around the disc that the settings ask for was not made; None where it was.
        picture_png: The picture as PNG bytes.
        mask_png: The mask as PNG bytes, or None.
    """

    picture: Pixels
    mask: Pixels | None
    inside: Pixels
    geometry: Geometry
    round_field: bool
    disc_lost_share: float | None
    no_disc: str | None
    picture_png: bytes
    mask_png: bytes | None


@dataclass(frozen=True)
class SetAside:
    """A photograph that cannot be prepared, with the reason."""

    reason: str


def prepare_one(source: Source, settings: PreprocessSettings, disc_model: DiscModel | None) -> Prepared | SetAside:
    """The prepared photograph, or the reason why there is none; one bad file never stops the others.

    Args:
        disc_model: Marks the disc where the settings name a model; else the mask does.
    """
    try:
        photograph = read_photograph(source.image)
        if photograph.sha256 != source.sha256:
            return SetAside(f"{source.image.name} has other bytes than the manifest says (SHA-256 differs)")
        mask = None if source.mask is None else read_mask_file(source.mask).pixels
        if mask is not None and (wrong := _wrong_mask(mask, photograph.pixels)):
            return SetAside(wrong)
        return _prepare(photograph.pixels, mask, settings, disc_model)
    except (UnreadableImageError, NoFieldError, NoDiscError, StepError) as error:
        return SetAside(str(error))


def _wrong_mask(mask: Pixels, photograph: Pixels) -> str | None:
    height, width = photograph.shape[:2]
    if mask.shape != (height, width):
        return f"the mask is {mask.shape[1]} x {mask.shape[0]} px, the photograph {width} x {height} px"
    if int(mask.max()) > max(MaskValue):
        return f"the mask holds the value {int(mask.max())}; the largest known one is {int(max(MaskValue))}"
    return None


def _prepare(
    photograph: Pixels, mask: Pixels | None, settings: PreprocessSettings, disc_model: DiscModel | None
) -> Prepared:
    def locate_disc() -> Box:
        if disc_model is not None:
            return disc_box(disc_model(photograph), "the model")
        if mask is None:
            raise NoDiscError("there is no mask to find the disc by")
        return disc_box(mask, "the mask")

    field = find_field(photograph)
    made = run_chain(photograph, field, settings, locate_disc)
    prepared_mask, lost = None, None
    if mask is not None:
        square = cut(mask, made.geometry)
        prepared_mask = resize_mask(square, settings.image_size_px)
        disc = cv2.countNonZero(mask)
        lost = 1.0 - cv2.countNonZero(square) / disc if disc else None
    return Prepared(
        picture=made.picture,
        mask=prepared_mask,
        inside=made.inside,
        geometry=made.geometry,
        round_field=field.is_round,
        disc_lost_share=lost,
        no_disc=made.no_disc,
        picture_png=photograph_png(made.picture),
        mask_png=None if prepared_mask is None else mask_png(prepared_mask),
    )
