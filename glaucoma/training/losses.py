"""The losses, on logits; each is a mean, so that it does not grow with the batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.nn import functional as F  # noqa: N812  the name that everybody knows

from glaucoma.training.settings import ClassificationLoss, SegmentationLoss
from glaucoma.training.spec import ExperimentSpec

Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]

FOCAL_GAMMA = 2.0
DICE_SMOOTH = 1.0


def cross_entropy_loss(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Mean binary cross-entropy of logits and 0/1 targets of the same shape."""
    return F.binary_cross_entropy_with_logits(logits, targets)


def focal_loss(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Mean focal loss, gamma 2, no class weight: (1 - p_t)^2 times the cross-entropy (Lin et al. 2017)."""
    entropy = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    right = torch.sigmoid(logits) * targets + (1 - torch.sigmoid(logits)) * (1 - targets)
    return ((1 - right) ** FOCAL_GAMMA * entropy).mean()


def dice_loss(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """1 - soft Dice of each channel over the whole batch, smoothed by 1 pixel, averaged over channels.

    Args:
        logits: (N, C, H, W).
        targets: (N, C, H, W) of 0 and 1. Over the batch, since one small structure alone gives a jumpy gradient.
    """
    probability = torch.sigmoid(logits)
    shared = (probability * targets).sum(dim=(0, 2, 3))
    total = probability.sum(dim=(0, 2, 3)) + targets.sum(dim=(0, 2, 3))
    return (1 - (2 * shared + DICE_SMOOTH) / (total + DICE_SMOOTH)).mean()


def _dice_focal(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return dice_loss(logits, targets) + focal_loss(logits, targets)


def _dice_ce(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return dice_loss(logits, targets) + cross_entropy_loss(logits, targets)


LOSSES: dict[str, Loss] = {
    ClassificationLoss.FOCAL.value: focal_loss,
    ClassificationLoss.CROSS_ENTROPY.value: cross_entropy_loss,
    SegmentationLoss.DICE.value: dice_loss,
    SegmentationLoss.DICE_FOCAL.value: _dice_focal,
    SegmentationLoss.DICE_CE.value: _dice_ce,
}


def make_loss(spec: ExperimentSpec, labels: Any | None) -> Loss:
    """The spec's loss; `labels` are those of the training images."""
    return LOSSES[spec.loss]
