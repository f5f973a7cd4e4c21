"""The formulas of the losses, on logits; each is a mean, so that it does not grow with the batch.

Logits and targets have one shape and one floating dtype (`losses.make_loss` sees to it). Each is finite, with finite
gradients, for logits of +-1e4 and for masks without a pixel of the structure.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812  the name that everybody knows

FOCAL_GAMMA = 2.0
DICE_SMOOTH = 1.0
_LEAST_ERROR = 1e-7
"""The power of an error of exactly 0 has no finite slope where gamma is below 1."""


def cross_entropy_terms(logits: Tensor, targets: Tensor) -> Tensor:
    """Binary cross-entropy of each element; targets in 0..1."""
    return F.binary_cross_entropy_with_logits(logits, targets, reduction="none")


def focal_terms(logits: Tensor, targets: Tensor, gamma: float = FOCAL_GAMMA) -> Tensor:
    """The cross-entropy of each element times |target - probability| to the power of gamma; no class weight.

    For targets of 0 and 1 the factor is (1 - p_t)^gamma (Lin et al. 2017). For targets between them it is that of the
    quality focal loss (Li et al. 2020), which is least where the probability is the target: with (1 - p_t)^gamma the
    least would stay at 0 or 1, and smoothed labels would have no effect. Own code, since torchvision and
    segmentation_models_pytorch know only the former, and give NaN for a gamma below 1 and a sure right answer.
    """
    entropy = cross_entropy_terms(logits, targets)
    if gamma == 0:
        return entropy
    error = (targets - torch.sigmoid(logits)).abs().clamp_min(_LEAST_ERROR)
    weighted: Tensor = error**gamma * entropy
    return weighted


def cross_entropy_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean binary cross-entropy."""
    return cross_entropy_terms(logits, targets).mean()


def focal_loss(logits: Tensor, targets: Tensor, gamma: float = FOCAL_GAMMA) -> Tensor:
    """Mean of `focal_terms`."""
    return focal_terms(logits, targets, gamma).mean()


def dice_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """1 - soft Dice of each channel over the whole batch, smoothed by 1 pixel, averaged over channels.

    Over the batch, since one small structure alone gives a jumpy gradient. Own code: where a channel has no pixel in
    the batch, segmentation_models_pytorch counts nothing, however much was marked there; MONAI computes the same as
    this, and to import it would add seconds to each start of a training.

    Args:
        logits: (N, C, H, W).
        targets: (N, C, H, W) of 0 and 1.
    """
    return tversky_loss(logits, targets, beta=0.5)


def tversky_loss(logits: Tensor, targets: Tensor, beta: float) -> Tensor:
    """1 - soft Tversky index of each channel over the whole batch, averaged over channels (Salehi et al. 2017).

    The index is found / (found + beta * missed + (1 - beta) * wrongly found), half a pixel added above and below the
    line; at beta 1/2 it is Dice's. Own code for the same reasons.

    Args:
        logits: (N, C, H, W).
        targets: (N, C, H, W) of 0 and 1.
        beta: Weight of what is missed, between 0 and 1.
    """
    probability = torch.sigmoid(logits)
    found = (probability * targets).sum(dim=(0, 2, 3))
    missed = targets.sum(dim=(0, 2, 3)) - found
    wrong = probability.sum(dim=(0, 2, 3)) - found
    smooth = DICE_SMOOTH / 2
    return (1 - (found + smooth) / (found + beta * missed + (1 - beta) * wrong + smooth)).mean()


def lovasz_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Lovasz hinge (Berman et al. 2018) of each image and channel by itself, averaged.

    A convex stand-in for 1 - intersection over union; 0 where every logit is right by a margin of 1. By image, since
    the mean of what an image loses is what is reported, and since it is then the same however a batch is cut.

    Args:
        logits: (N, C, H, W), float32: the library computes in it.
        targets: (N, C, H, W) of 0 and 1. Without a pixel of the structure the largest error counts.
    """
    from segmentation_models_pytorch.losses import LovaszLoss

    loss: Tensor = LovaszLoss("binary", per_image=True)(logits.float().flatten(0, 1), targets.float().flatten(0, 1))
    return loss


def boundary_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """How far from the target's outline what is wrong lies (Kervadec et al. 2019): mean of map * (p - target).

    The paper's loss, mean of map * p, less what a perfect answer would have: the gradient is the same, and the loss is
    0 at best. In shares of the image's longer side, so that a weight means the same for every size of input.

    Args:
        logits: (N, C, H, W).
        targets: (N, C, H, W) of 0 and 1. On a GPU they are copied to the machine's memory for their maps, which waits
            for the GPU once a step; the logits stay where they are.
    """
    maps = distance_maps(targets).to(logits) / max(targets.shape[-2:])
    return (maps * (torch.sigmoid(logits) - targets)).mean()


def distance_maps(targets: Tensor) -> Tensor:
    """(N, C, H, W) float32 on the CPU: each pixel's signed distance to the target's outline, in pixels.

    Outside, the distance to the nearest pixel inside; inside, 1 less the distance to the nearest one outside. A mask
    that is empty or full has no outline: 0 everywhere, and the boundary loss has nothing to say of it. Own code: the
    transform of MONAI (SciPy's) takes six times as long as OpenCV's.
    """
    import cv2
    import numpy as np

    masks = (targets.detach() > 0.5).to("cpu", torch.uint8).numpy()
    maps = np.zeros(masks.shape, np.float32)
    for place in np.ndindex(*masks.shape[:2]):
        mask = np.ascontiguousarray(masks[place])
        if mask.min() != mask.max():
            inside = cv2.distanceTransform(mask, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
            outside = cv2.distanceTransform(1 - mask, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
            maps[place] = np.where(mask > 0, 1 - inside, outside)
    return torch.from_numpy(maps)
