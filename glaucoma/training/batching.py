"""Batches on the device: gathered in one go from 8-bit arrays, turned to float there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from glaucoma.schema import MaskValue
from glaucoma.training.augment import augment_batch
from glaucoma.training.data import Arrays, normalise, to_input
from glaucoma.training.device import fits


@dataclass(frozen=True)
class Batches:
    """The images of one split, ready to be gathered: on the device where they fit, else in the machine's memory."""

    images: torch.Tensor
    masks: torch.Tensor | None
    labels: torch.Tensor | None
    device: torch.device

    @classmethod
    def of(cls, arrays: Arrays, device: torch.device) -> Batches:
        """Places `arrays`."""
        home = device if fits(device, arrays.images.nbytes) else torch.device("cpu")
        return cls(
            images=torch.from_numpy(arrays.images).to(home),
            masks=None if arrays.masks is None else torch.from_numpy(arrays.masks).to(home),
            labels=None if arrays.labels is None else torch.from_numpy(arrays.labels).to(home),
            device=device,
        )

    def gather(
        self, indices: Any, augment: float = 0.0, generator: torch.Generator | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Normalised images (n, 3, px, px) float32, and targets: (n, 1) or (n, 2, px, px) float32 of 0 and 1."""
        chosen = torch.as_tensor(indices, device=self.images.device)
        images = to_input(self.images[chosen].to(self.device, non_blocking=True))
        masks = None if self.masks is None else self.masks[chosen].to(self.device, non_blocking=True)
        if generator is not None:
            images, masks = augment_batch(images, masks, augment, generator)
        if masks is not None:
            return normalise(images), mask_targets(masks)
        if self.labels is None:
            raise ValueError("a split without masks has labels")
        return normalise(images), self.labels[chosen].to(self.device).float()[:, None]


def mask_targets(masks: torch.Tensor) -> torch.Tensor:
    """(n, H, W) of `MaskValue` to (n, 2, H, W) float32: the whole disc, cup included, and the cup."""
    disc = masks >= int(MaskValue.DISC)
    cup = masks == int(MaskValue.CUP)
    return torch.stack((disc, cup), dim=1).float()
