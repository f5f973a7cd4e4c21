"""The optic disc: rim, cup, scleral ring, the crescent beside it, and the mask that says where they are."""

from __future__ import annotations

import math

import numpy as np

from glaucoma.schema import MaskValue
from glaucoma.synthetic.anatomy import Anatomy, Nerve, cup_radii, radius_at
from glaucoma.synthetic.texture import ByteArray, FloatArray, bump, layered_noise, rgb, smoothstep
from glaucoma.synthetic.view import View

_RIM_RGB = rgb(0.98, 0.52, 0.30)
_PALE_RIM_RGB = rgb(1.00, 0.66, 0.42)
_CUP_RGB = rgb(1.06, 0.78, 0.50)
_PALE_CUP_RGB = rgb(1.14, 0.98, 0.74)


def paint_nerve_head(
    rng: np.random.Generator, scene: FloatArray, anatomy: Anatomy, nerve: Nerve, view: View
) -> ByteArray:
    """Paints the disc into `scene` (H, W, 3), in place, and gives back its mask: uint8 (H, W) of `MaskValue`."""
    cup = cup_radii(rng, anatomy.disc_radii_deg, nerve)
    mask = np.full(view.shape, MaskValue.BACKGROUND, np.uint8)
    rows, columns = view.window(anatomy.disc_centre_deg, 1.5 * float(anatomy.disc_radii_deg.max()))
    x, y = view.grid_deg()
    dx, dy = x[:, columns] - anatomy.disc_centre_deg[0], y[rows] - anatomy.disc_centre_deg[1]
    angle, distance = np.arctan2(dy, dx), np.sqrt(dx**2 + dy**2)
    to_margin = distance / radius_at(anatomy.disc_radii_deg, angle)
    to_cup = distance / radius_at(cup, angle)
    temporal = 0.5 - 0.5 * np.cos(angle)
    patch = scene[rows, columns]
    _paint_crescent(patch, to_margin, temporal, anatomy.crescent)
    cover = smoothstep(1.07, 0.91, to_margin)[..., None]
    patch += (_disc_colour(rng, to_margin, to_cup, temporal, nerve, view.px_per_deg) - patch) * cover
    mask[rows, columns][to_margin <= 1] = MaskValue.DISC
    mask[rows, columns][to_cup <= 1] = MaskValue.CUP
    return mask


def mask_vertical_cdr(mask: ByteArray) -> float:
    """Rows that hold cup over rows that hold cup or rim; NaN where the mask holds neither."""
    disc_rows = int((mask >= MaskValue.DISC).any(axis=1).sum())
    return int((mask == MaskValue.CUP).any(axis=1).sum()) / disc_rows if disc_rows else math.nan


def _paint_crescent(patch: FloatArray, to_margin: FloatArray, temporal: FloatArray, strength: float) -> None:
    """Atrophy beside the disc: pale inside, a pigmented line outside, widest on the temporal side."""
    width = 0.04 + 0.24 * strength * temporal**3
    pale = smoothstep(1.0, 0.0, (to_margin - 1) / width) * temporal * strength
    patch *= 1 + pale[..., None] * rgb(0.14, 0.42, 0.50)
    line = bump((to_margin - 1 - width) ** 2, 0.04) * temporal**2 * (0.6 * strength)
    patch *= 1 - line[..., None] * rgb(0.30, 0.38, 0.38)


def _disc_colour(
    rng: np.random.Generator,
    to_margin: FloatArray,
    to_cup: FloatArray,
    temporal: FloatArray,
    nerve: Nerve,
    px_per_deg: float,
) -> FloatArray:
    """Reflectance of rim, scleral ring and cup, (h, w, 3); `to_margin` and `to_cup` are 1 on those two outlines."""
    paleness = nerve.pallor * 0.6 + temporal * 0.45
    ring = bump((to_margin - 0.94) ** 2, 0.06) * (0.01 + 0.05 * temporal)
    rim = _RIM_RGB + (_PALE_RIM_RGB - _RIM_RGB) * paleness[..., None] + ring[..., None]
    floor = _CUP_RGB + (_PALE_CUP_RGB - _CUP_RGB) * nerve.pallor
    depth = smoothstep(1.14, 0.62, to_cup)[..., None]
    grain = layered_noise(rng, to_margin.shape[:2], max(1.2, 0.5 * px_per_deg), 3)
    return (rim + (floor - rim) * depth) * (1 + 0.018 * grain[..., None])
