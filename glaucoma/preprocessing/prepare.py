"""One photograph and its mask, from files to prepared arrays."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from glaucoma.datasets.imagefile import UnreadableImageError, read_mask_file, read_photograph
from glaucoma.preprocessing.field_of_view import FieldOfView, NoFieldError, find_field
from glaucoma.preprocessing.settings import PreprocessSettings
from glaucoma.preprocessing.steps import (
    Geometry,
    Pixels,
    cut,
    draw_field,
    enhance,
    resize_mask,
    resize_photograph,
    square_around,
)
from glaucoma.schema import MaskValue


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
        picture_png: The picture as PNG bytes.
        mask_png: The mask as PNG bytes, or None.
    """

    picture: Pixels
    mask: Pixels | None
    inside: Pixels
    geometry: Geometry
    round_field: bool
    disc_lost_share: float | None
    picture_png: bytes
    mask_png: bytes | None


@dataclass(frozen=True)
class SetAside:
    """A photograph that cannot be prepared, with the reason."""

    reason: str


def prepare_one(source: Source, settings: PreprocessSettings) -> Prepared | SetAside:
    """The prepared photograph, or the reason why there is none; one bad file never stops the others."""
    try:
        photograph = read_photograph(source.image)
        if photograph.sha256 != source.sha256:
            return SetAside(f"{source.image.name} has other bytes than the manifest says (SHA-256 differs)")
        mask = None if source.mask is None else read_mask_file(source.mask).pixels
        field = find_field(photograph.pixels)
    except (UnreadableImageError, NoFieldError) as error:
        return SetAside(str(error))
    height, width = photograph.pixels.shape[:2]
    if mask is not None and mask.shape != (height, width):
        return SetAside(f"the mask is {mask.shape[1]} x {mask.shape[0]} px, the photograph {width} x {height} px")
    if mask is not None and int(mask.max()) > max(MaskValue):
        return SetAside(f"the mask holds the value {int(mask.max())}; the largest known one is {int(max(MaskValue))}")
    return _prepare(photograph.pixels, mask, field, settings)


def _prepare(photograph: Pixels, mask: Pixels | None, field: FieldOfView, settings: PreprocessSettings) -> Prepared:
    size = settings.image_size_px
    geometry = _geometry(photograph, field, settings)
    inside = draw_field(field, geometry, size)
    picture = enhance(
        resize_photograph(cut(photograph, geometry), size),
        inside,
        settings.clahe,
        clip_limit=settings.clahe_clip_limit,
        tiles=settings.clahe_tiles,
    )
    prepared_mask, lost = None, None
    if mask is not None:
        square = cut(mask, geometry)
        prepared_mask = resize_mask(square, size)
        disc = cv2.countNonZero(mask)
        lost = 1.0 - cv2.countNonZero(np.ascontiguousarray(square)) / disc if disc else None
    return Prepared(
        picture=picture,
        mask=prepared_mask,
        inside=inside,
        geometry=geometry,
        round_field=field.is_round,
        disc_lost_share=lost,
        picture_png=_png(picture[..., ::-1]),
        mask_png=None if prepared_mask is None else _png(prepared_mask),
    )


def _geometry(photograph: Pixels, field: FieldOfView, settings: PreprocessSettings) -> Geometry:
    if settings.crop_to_field:
        return square_around(field, centre_crop_share=settings.centre_crop_share, size_px=settings.image_size_px)
    height, width = photograph.shape[:2]
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height]], dtype=np.float64)
    whole = FieldOfView(corners, has_border=False, share=1.0)
    return square_around(whole, centre_crop_share=0.0, size_px=settings.image_size_px)


def _png(picture: Pixels) -> bytes:
    """PNG bytes of a BGR picture or a mask, with OpenCV's fast defaults."""
    _, content = cv2.imencode(".png", picture)
    return content.tobytes()
