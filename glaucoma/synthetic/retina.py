"""The back of the eye without its vessels and its disc: pigment, choroid, macula, nerve fibres.

Every function gives a change of the reflectance, about 0, of the shape of the grid that it is asked for.
"""

from __future__ import annotations

import numpy as np

from glaucoma.synthetic.anatomy import Anatomy
from glaucoma.synthetic.texture import FloatArray, bump, layered_noise, resize_to, rgb, smooth_noise, smoothstep
from glaucoma.synthetic.view import View

_FAIR_RGB = rgb(0.90, 0.43, 0.28)
_AVERAGE_RGB = rgb(0.82, 0.34, 0.20)
_DARK_RGB = rgb(0.66, 0.255, 0.145)
_DETAIL_PX = 400
"""Nothing here is finer than what a picture of this height shows; larger ones are enlarged from it."""


def paint_retina(rng: np.random.Generator, anatomy: Anatomy, view: View) -> FloatArray:
    """Reflectance of the retina in RGB: float32 (H, W, 3)."""
    shape = view.at_most(_DETAIL_PX)
    px_per_deg = view.px_per_deg * shape[0] / view.height_px
    x, y = view.grid_deg(shape)
    mottling = layered_noise(rng, shape, 9 * px_per_deg, 6)
    choroid = _choroid(rng, anatomy, x, y, px_per_deg)
    macula = _macula(rng, anatomy, x, y, px_per_deg)
    sheen = _nerve_fibres(rng, anatomy, x, y) + _foveal_reflex(rng, anatomy, x, y)
    colour = _pigment_rgb(anatomy.pigment) * (1 + mottling[..., None] * rgb(0.013, 0.028, 0.032))
    colour *= 1 + choroid[..., None] * rgb(0.07, 0.22, 0.16)
    colour *= 1 - macula[..., None] * rgb(0.24, 0.56, 0.62)
    colour *= 1 + sheen[..., None] * rgb(0.45, 1.00, 1.20)
    return resize_to(colour, view.shape)


def _pigment_rgb(pigment: float) -> FloatArray:
    end = _DARK_RGB if pigment > 0 else _FAIR_RGB
    return _AVERAGE_RGB + (end - _AVERAGE_RGB) * abs(pigment)


def _choroid(rng: np.random.Generator, anatomy: Anatomy, x: FloatArray, y: FloatArray, px_per_deg: float) -> FloatArray:
    """The choroid's vessels, pale bands that shine through in patches, away from the macula."""
    shape = (y.shape[0], x.shape[1])
    bands = np.zeros(shape, np.float32)
    for size_deg in (2.4, 1.7):
        upright = smooth_noise(rng, (round(shape[0] / 2.5), shape[1]), size_deg * px_per_deg)
        course = resize_to(upright, shape) + 0.25 * smooth_noise(rng, shape, px_per_deg)
        bands += bump(course**2, 0.5)
    patches = smoothstep(-0.6, 1.6, smooth_noise(rng, shape, 13 * px_per_deg))
    away = 1 - 0.9 * bump(x**2 + y**2, 6.0)
    change: FloatArray = anatomy.tessellation * (bands - 0.7) * patches * away
    return change


def _macula(rng: np.random.Generator, anatomy: Anatomy, x: FloatArray, y: FloatArray, px_per_deg: float) -> FloatArray:
    """Darkness of the macula, uneven, deepest in the fovea."""
    squared = x**2 + y**2
    shape = (y.shape[0], x.shape[1])
    cloud = 1 + 0.16 * smooth_noise(rng, shape, 1.8 * px_per_deg)
    darkness: FloatArray = anatomy.fovea_depth * (0.45 * bump(squared, 2.8) * cloud + 0.55 * bump(squared, 1.1))
    return darkness


def _nerve_fibres(rng: np.random.Generator, anatomy: Anatomy, x: FloatArray, y: FloatArray) -> FloatArray:
    """The sheen of the fibre bundles above and below the disc."""
    dx, dy = x - anatomy.disc_centre_deg[0], y - anatomy.disc_centre_deg[1]
    squared = dx**2 + dy**2
    poles = np.abs(dy) / np.sqrt(squared + 1)
    streaks = 1 + 0.10 * np.sin(np.arctan2(dy, dx) * 55 + rng.uniform(0, 6))
    sheen: FloatArray = (0.08 + 0.22 * anatomy.youth) * bump(squared, 5.5) * poles * streaks
    return sheen


def _foveal_reflex(rng: np.random.Generator, anatomy: Anatomy, x: FloatArray, y: FloatArray) -> FloatArray:
    """The bright dot that young foveas show."""
    return max(0.0, anatomy.youth - 0.4) * 0.5 * bump((x - rng.normal(0, 0.1)) ** 2 + y**2, 0.14)
