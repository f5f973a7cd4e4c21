"""From what the retina reflects to the picture: flash, lens, film, field stop, sensor."""

from __future__ import annotations

import math

import cv2
import numpy as np

from glaucoma.synthetic.cameras import Camera
from glaucoma.synthetic.texture import ByteArray, FloatArray, resize_to, rgb, smooth_noise, smoothstep
from glaucoma.synthetic.view import View

_KNEE = 0.78
"""Above this share of full scale the highlights are bent over, as in film, instead of cut off."""
_FLASH_DEG = 40.0
"""What the flash lights up at least; a crop shows only a part of it."""
_DETAIL_PX = 200


def expose(rng: np.random.Generator, scene: FloatArray, camera: Camera, view: View) -> ByteArray:
    """Takes the picture of `scene`, float32 (H, W, 3) of reflectances, which it changes: uint8 (H, W, 3) RGB."""
    scene *= _light(rng, camera, view)
    scene *= rgb(*camera.gain_rgb) * (camera.exposure * rng.normal(1, 0.06))
    blur_px = camera.blur_deg * view.px_per_deg * rng.uniform(0.7, 1.6)
    if blur_px > 0.25:
        scene = cv2.GaussianBlur(scene, (0, 0), blur_px)
    over = np.tanh(np.maximum(scene - _KNEE, 0) / (1 - _KNEE)) * (1 - _KNEE)
    scene = (np.clip(scene, 0, _KNEE) + over) * field_of_view(camera, view)[..., None]
    grain = rng.standard_normal(scene.shape, dtype=np.float32) * camera.noise
    scene += grain * (0.15 + np.sqrt(scene))  # some of the sensor, more of the light
    picture: ByteArray = np.clip(scene * 255 + 0.5, 0, 255).astype(np.uint8)
    return picture


def field_of_view(camera: Camera, view: View) -> FloatArray:
    """1 inside the field of view, 0 outside, with an edge of a pixel or two; (H, W)."""
    if math.isinf(view.radius_px):
        return np.ones(view.shape, np.float32)
    column, row = view.centre_px
    dx = (np.arange(view.width_px, dtype=np.float32) - column)[None, :]
    dy = (np.arange(view.height_px, dtype=np.float32) - row)[:, None]
    edge_px = max(0.7, view.radius_px * 0.004)
    inside = np.clip((view.radius_px - np.sqrt(dx**2 + dy**2)) / edge_px + 0.5, 0, 1)
    if camera.tab:
        outward, along = (dx - dy) / math.sqrt(2), (dx + dy) / math.sqrt(2)
        tab = (np.abs(outward - view.radius_px) < 0.035 * view.radius_px) & (np.abs(along) < 0.028 * view.radius_px)
        inside = np.maximum(inside, tab.astype(np.float32))
    return inside


def _light(rng: np.random.Generator, camera: Camera, view: View) -> FloatArray:
    """The flash on the retina: strongest near the middle, uneven, redder outwards, at times with haze; (H, W, 3)."""
    shape = view.at_most(_DETAIL_PX)
    x, y = view.grid_deg(shape)
    half = max(camera.field_deg, _FLASH_DEG) / 2
    u = (x - view.gaze_deg[0]) / half - rng.normal(0, 0.22)
    v = (y - view.gaze_deg[1]) / half - rng.normal(0, 0.22)
    squared = u**2 + v**2
    strength = 1.05 - camera.vignetting * rng.uniform(0.5, 1.3) * squared
    strength += 0.03 * smooth_noise(rng, shape, shape[0] / 3)
    light = strength[..., None] * (1 - squared[..., None] * rgb(0.0, 0.07, 0.09))
    return resize_to(np.maximum(light + _haze(rng, u, v), 0.12), view.shape)


def _haze(rng: np.random.Generator, u: FloatArray, v: FloatArray) -> FloatArray:
    """A pale crescent along part of the field's edge, in one photograph of three; (h, w, 3)."""
    strength, side = max(0.0, rng.normal(-0.08, 0.18)), rng.uniform(0, 2 * math.pi)
    rim = smoothstep(0.55, 1.05, np.sqrt(u**2 + v**2))
    toward = smoothstep(0.1, 1.0, u * math.cos(side) + v * math.sin(side))
    return (rim * toward)[..., None] * rgb(0.6, 1.0, 1.2) * strength
