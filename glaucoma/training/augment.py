"""Augmentation of a batch where it lies (CPU or GPU): flips, rotation, scale, shift, brightness, contrast."""

from __future__ import annotations

import math

import torch
from torch.nn import functional as F  # noqa: N812  the name that everybody knows

ROTATION_DEG = 20.0
SCALE = 0.15
SHIFT = 0.05
LIGHT = 0.25
_DRAWS = 8


def augment_batch(
    images: torch.Tensor, masks: torch.Tensor | None, strength: float, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Each image changed in its own way; a mask follows its image exactly, by nearest neighbour.

    Args:
        images: (N, 3, H, W) float32 in 0..1; so is the result. What comes in from outside is black.
        masks: (N, H, W) uint8, or None; outside is 0.
        strength: 0 changes nothing; 1 is rotation by up to 20 degrees, scale by 15 %, shift by 5 %, light by 25 %.
            Flips are all or nothing, so they are on at any strength above 0.
        generator: Of the CPU; the draws are the same whatever the device.
    """
    if strength == 0:
        return images, masks
    draws = torch.rand(len(images), _DRAWS, generator=generator).to(images.device)
    grid = F.affine_grid(_matrices(draws, strength), list(images.shape), align_corners=False)
    moved = F.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    moved_masks = masks
    if masks is not None:
        sampled = F.grid_sample(masks[:, None].float(), grid, mode="nearest", padding_mode="zeros", align_corners=False)
        moved_masks = sampled[:, 0].to(masks.dtype)
    return _relight(moved, draws[:, 6:8], strength), moved_masks


def _matrices(draws: torch.Tensor, strength: float) -> torch.Tensor:
    """(N, 2, 3) from the output's normalised coordinates to the input's."""
    centred = 2 * draws - 1
    angle = centred[:, 0] * strength * math.radians(ROTATION_DEG)
    scale = 1 + centred[:, 1] * strength * SCALE
    shift = centred[:, 2:4] * strength * SHIFT * 2  # the coordinates run from -1 to 1
    flip_x, flip_y = torch.sign(centred[:, 4] + 1e-9), torch.sign(centred[:, 5] + 1e-9)
    cosine, sine = torch.cos(angle) * scale, torch.sin(angle) * scale
    first = torch.stack((cosine * flip_x, -sine * flip_y, shift[:, 0]), dim=1)
    second = torch.stack((sine * flip_x, cosine * flip_y, shift[:, 1]), dim=1)
    return torch.stack((first, second), dim=1)


def _relight(images: torch.Tensor, draws: torch.Tensor, strength: float) -> torch.Tensor:
    factors = 1 + (2 * draws - 1) * strength * LIGHT
    brightness, contrast = factors[:, 0].view(-1, 1, 1, 1), factors[:, 1].view(-1, 1, 1, 1)
    mean = images.mean(dim=(1, 2, 3), keepdim=True)
    return ((images - mean) * contrast + mean).mul(brightness).clamp(0, 1)
