"""Augmentation of a batch where it lies, CPU or GPU: what is drawn for a step, and the change that it makes.

The draws are made in numpy, for the whole step at once, and then cut: an image is changed the same whatever the number
of processes, threads or workers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F  # noqa: N812  the name that everybody knows

from glaucoma.training.data import to_input
from glaucoma.training.settings import AugmentSettings

Floats = np.ndarray[Any, np.dtype[np.float32]]
_DRAWS = 16
"""Uniform numbers an image, each with its own meaning, so that no setting moves another's draws; four spare."""
_LEAST_SIGMA_PX = 1e-3
"""Below it a Gaussian is one pixel; kornia refuses 0."""


@dataclass(frozen=True)
class Draws:
    """What is changed on each of n images; None: on none of them.

    Args:
        matrices: (n, 2, 3) float32, from the result's coordinates in -1..1 to the source's.
        tones: (n, 256) float32 in 0..1, what each 8-bit value becomes: the gamma.
        light: (n, 2) float32, factors of contrast about the image's mean, and of brightness.
        sigma_px: (n, 1) float32 > 0, of the Gaussian blur.
        noise: (n, 1) float32, standard deviation as a share of white.
        noise_seeds: (n,) int64, of each image's noise.
        radius_px: Of the blur's kernel, the same for all.
    """

    matrices: Floats | None = None
    tones: Floats | None = None
    light: Floats | None = None
    sigma_px: Floats | None = None
    noise: Floats | None = None
    noise_seeds: Any = None
    radius_px: int = 0

    def cut(self, start: int, stop: int) -> Draws:
        """Those of the images from `start` to before `stop`."""
        values: dict[str, Any] = {field.name: getattr(self, field.name) for field in fields(self)}
        arrays: dict[str, Any] = {
            name: value[start:stop] for name, value in values.items() if isinstance(value, np.ndarray)
        }
        return replace(self, **arrays)


def draw(n: int, settings: AugmentSettings, strength: float, seed: int) -> Draws:
    """What becomes of the `n` images of a step: a function of the arguments alone.

    Args:
        strength: 0..1; 0 changes nothing, 1 goes as far as `settings` say. Flips are all or nothing, so on above 0.
    """
    if strength == 0:
        return Draws()
    uniform = np.random.default_rng(seed).random((n, _DRAWS))
    both_ways = 2 * uniform - 1
    moves = settings.flip or settings.rotation_deg or settings.scale or settings.shift
    reach = strength * np.array([settings.contrast, settings.brightness])
    sigma_px = uniform[:, 9:10] * strength * settings.blur_px
    return Draws(
        matrices=_matrices(both_ways, settings, strength) if moves else None,
        tones=_tones(both_ways[:, 8:9] * strength * settings.gamma) if settings.gamma else None,
        light=(1 + both_ways[:, 6:8] * reach).astype(np.float32) if reach.any() else None,
        sigma_px=np.maximum(sigma_px, _LEAST_SIGMA_PX).astype(np.float32) if settings.blur_px else None,
        noise=(uniform[:, 10:11] * strength * settings.noise).astype(np.float32) if settings.noise else None,
        noise_seeds=(uniform[:, 11] * 2**53).astype(np.int64) if settings.noise else None,
        radius_px=math.ceil(3 * strength * settings.blur_px),
    )


def augment(images: torch.Tensor, masks: torch.Tensor | None, draws: Draws) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Each image changed by its own draws; a mask follows its image exactly, by nearest neighbour.

    Args:
        images: (n, H, W, 3) uint8.
        masks: (n, H, W) uint8, or None; what comes in from outside is 0.

    Returns:
        Images (n, 3, H, W) float32 in 0..1, where what comes in from outside is black; masks like those given.
    """
    changed = to_input(images) if draws.tones is None else _toned(images, draws.tones)
    if draws.matrices is not None:
        grid = _grid(draws.matrices, images.shape[1], images.shape[2], images.device)
        changed = F.grid_sample(changed, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
        masks = None if masks is None else _moved_masks(masks, grid)
    if draws.light is not None:
        changed = _relit(changed, draws.light)
    if draws.sigma_px is not None:
        changed = _blurred(changed, draws.sigma_px, draws.radius_px)
    if draws.noise is not None:
        changed = _noisy(changed, draws.noise, draws.noise_seeds)
    return changed, masks


def _matrices(both_ways: Any, settings: AugmentSettings, strength: float) -> Floats:
    angle = both_ways[:, 0] * strength * math.radians(settings.rotation_deg)
    scale = 1 + both_ways[:, 1] * strength * settings.scale
    shift = both_ways[:, 2:4] * strength * settings.shift * 2  # the coordinates run from -1 to 1
    flip = np.where(both_ways[:, 4:6] < 0, -1.0, 1.0) if settings.flip else np.ones((len(both_ways), 2))
    cosine, sine = np.cos(angle) * scale, np.sin(angle) * scale
    first = np.stack((cosine * flip[:, 0], -sine * flip[:, 1], shift[:, 0]), axis=1)
    second = np.stack((sine * flip[:, 0], cosine * flip[:, 1], shift[:, 1]), axis=1)
    return np.stack((first, second), axis=1).astype(np.float32)


def _tones(change: Any) -> Floats:
    levels = np.arange(256) / 255
    return np.asarray(levels[None] ** (1 + change), dtype=np.float32)


def _on(values: Floats, device: torch.device) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(values)).to(device, non_blocking=True)


def _grid(matrices: Floats, height: int, width: int, device: torch.device) -> torch.Tensor:
    """(n, H, W, 2) of the source's coordinates, in single sums and products.

    A matrix product, as in `affine_grid`, may round differently with another number of threads, and takes longer.
    """
    matrix = _on(matrices, device)[:, :, :, None, None]
    x = ((2 * torch.arange(width, device=device) + 1) / width - 1).view(1, 1, width)
    y = ((2 * torch.arange(height, device=device) + 1) / height - 1).view(1, height, 1)
    grid = torch.empty(len(matrices), height, width, 2, device=device)
    for axis in (0, 1):
        torch.add(matrix[:, axis, 0] * x + matrix[:, axis, 2], matrix[:, axis, 1] * y, out=grid[..., axis])
    return grid


def _moved_masks(masks: torch.Tensor, grid: torch.Tensor) -> torch.Tensor:
    moved = F.grid_sample(masks[:, None].float(), grid, mode="nearest", padding_mode="zeros", align_corners=False)
    return moved[:, 0].to(masks.dtype)


def _toned(images: torch.Tensor, tones: Floats) -> torch.Tensor:
    """By a table of the 256 values: as exact as 8 bits are, and quicker on a CPU than a power of each pixel."""
    first = 256 * torch.arange(len(images), dtype=torch.int32, device=images.device).view(-1, 1, 1, 1)
    table = _on(tones, images.device).flatten()
    return table[(images.permute(0, 3, 1, 2).contiguous().int() + first).long()]


def _relit(images: torch.Tensor, light: Floats) -> torch.Tensor:
    """In place. The mean is taken by rows first, so that no sum is cut by the number of threads."""
    factors = _on(light, images.device).view(-1, 2, 1, 1, 1)
    contrast, brightness = factors[:, 0], factors[:, 1]
    mean = images.mean(dim=3, keepdim=True).mean(dim=(1, 2), keepdim=True)
    return images.mul_(contrast * brightness).add_(mean * (1 - contrast) * brightness).clamp_(0, 1)


def _blurred(images: torch.Tensor, sigma_px: Floats, radius_px: int) -> torch.Tensor:
    from kornia.filters import gaussian_blur2d  # a second or more to import: only where it is used

    radius_px = min(radius_px, min(images.shape[2:]) - 1)  # reflection at the border reaches no further
    sigma = _on(sigma_px, images.device).expand(-1, 2)
    return gaussian_blur2d(images.contiguous(), 2 * radius_px + 1, sigma)


def _noisy(images: torch.Tensor, deviation: Floats, seeds: Any) -> torch.Tensor:
    """In place. Each image has a generator of its own, on the device: GPUs and CPUs draw different grain."""
    noise = torch.empty_like(images)
    for target, seed in zip(noise, seeds, strict=True):
        target.normal_(generator=torch.Generator(images.device).manual_seed(int(seed)))
    return images.add_(noise.mul_(_on(deviation, images.device).view(-1, 1, 1, 1))).clamp_(0, 1)
