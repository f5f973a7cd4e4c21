"""One photograph: the retina's colour, the disc, the vessels over both, then the light and the camera."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from glaucoma.synthetic.anatomy import Anatomy, Nerve
from glaucoma.synthetic.cameras import Camera
from glaucoma.synthetic.exposure import expose
from glaucoma.synthetic.nerve_head import mask_vertical_cdr, paint_nerve_head
from glaucoma.synthetic.retina import paint_retina
from glaucoma.synthetic.texture import ByteArray, FloatArray, rgb
from glaucoma.synthetic.vessels import VesselLayers, grow_vessels, paint_vessels
from glaucoma.synthetic.view import aim

_ARTERY_LOSS_RGB = rgb(0.10, 0.38, 0.36)
_VEIN_LOSS_RGB = rgb(0.25, 0.54, 0.50)
_REFLEX_RGB = rgb(0.05, 0.05, 0.04)


@dataclass(frozen=True)
class Photograph:
    """A picture with its truth.

    `image` is uint8 (H, W, 3) RGB; `mask` uint8 (H, W) of `MaskValue`; `vertical_cdr` the ratio of the mask's heights
    in pixel rows; `fovea_px` the fovea's column and row, which may lie outside the picture.
    """

    image: ByteArray
    mask: ByteArray
    vertical_cdr: float
    fovea_px: tuple[float, float]


def render_fundus(
    rng: np.random.Generator, camera: Camera, anatomy: Anatomy, nerve: Nerve, photo_height_px: int
) -> Photograph:
    """Photographs one eye; all that is random comes from `rng`, so the same state of it gives the same pixels.

    Args:
        photo_height_px: Height of the first camera's pictures; this camera's own follows from it.
    """
    view = aim(rng, camera, anatomy, photo_height_px)
    scene = paint_retina(rng, anatomy, view)
    mask = paint_nerve_head(rng, scene, anatomy, nerve, view)
    _lay_vessels(scene, paint_vessels(grow_vessels(rng, anatomy), view))
    image = expose(rng, scene, camera, view)
    return Photograph(image, mask, mask_vertical_cdr(mask), view.point_to_px((0.0, 0.0)))


def _lay_vessels(scene: FloatArray, layers: VesselLayers) -> None:
    """Dims `scene` by what the blood absorbs and adds the reflex along the vessels' middle."""
    scene *= 1 - layers.veins[..., None] * _VEIN_LOSS_RGB
    scene *= 1 - layers.arteries[..., None] * _ARTERY_LOSS_RGB
    scene += layers.reflex[..., None] * _REFLEX_RGB
