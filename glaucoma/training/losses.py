"""From an experiment to its loss: which formulas, with which options, summed by which weights."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from glaucoma.schema import Task
from glaucoma.training.loss_settings import ClassificationLoss, LossOptions, SegmentationLoss
from glaucoma.training.loss_terms import (
    boundary_loss,
    cross_entropy_loss,
    cross_entropy_terms,
    dice_loss,
    focal_loss,
    focal_terms,
    lovasz_loss,
    tversky_loss,
)

if TYPE_CHECKING:
    from glaucoma.training.spec import ExperimentSpec

Loss = Callable[[Tensor, Tensor], Tensor]


def make_loss(spec: ExperimentSpec, labels: np.ndarray[Any, np.dtype[np.uint8]] | None = None) -> Loss:
    """The experiment's loss: from logits and targets of one shape to a mean, a number of 0 or more.

    Targets are 0 and 1; (n, 1) for classification, (n, 2, H, W) for segmentation. Logits of half precision are computed
    in 32 bits, under autocast too.

    Args:
        labels: (n,) of 0 and 1, those of the training split; only `class_weighted` needs them.

    Raises:
        ValueError: `class_weighted`, and the labels are missing or of one class.
    """
    options = spec.loss_options
    if spec.task is Task.CLASSIFICATION:
        weights = class_weights(labels) if options.class_weighted else (1.0, 1.0)
        return partial(_in_full_precision, _classification(ClassificationLoss(spec.loss), options, weights))
    return partial(_in_full_precision, _segmentation(SegmentationLoss(spec.loss), options))


def class_weights(labels: np.ndarray[Any, np.dtype[np.uint8]] | None) -> tuple[float, float]:
    """Weights of normal and glaucoma: the inverse of their shares, halved, so that the images' mean weight is 1."""
    counts = np.bincount(labels, minlength=2) if labels is not None else np.zeros(2, np.int64)
    if len(counts) != 2 or not counts.all():
        raise ValueError(f"class weights need labels of 0 and 1, both of them; found {counts.tolist()}")
    normal, glaucoma = (float(counts.sum() / (2 * count)) for count in counts)
    return normal, glaucoma


def _in_full_precision(loss: Loss, logits: Tensor, targets: Tensor) -> Tensor:
    wide = logits if logits.dtype in (torch.float32, torch.float64) else logits.float()
    with torch.autocast(logits.device.type, enabled=False):
        return loss(wide, targets.to(wide.dtype))


def _classification(name: ClassificationLoss, options: LossOptions, weights: tuple[float, float]) -> Loss:
    terms: dict[ClassificationLoss, Loss] = {
        ClassificationLoss.FOCAL: partial(focal_terms, gamma=options.focal_gamma),
        ClassificationLoss.CROSS_ENTROPY: cross_entropy_terms,
    }
    of_each = terms[name]
    normal, glaucoma = weights

    def loss(logits: Tensor, targets: Tensor) -> Tensor:
        smoothed = targets + options.label_smoothing * (1 - 2 * targets)
        found = of_each(logits, smoothed)
        if options.class_weighted:
            found = found * torch.where(targets > 0.5, glaucoma, normal)
        return found.mean()  # not over the sum of the weights: a batch cut into parts then has the same mean

    return loss


def _segmentation(name: SegmentationLoss, options: LossOptions) -> Loss:
    tversky = partial(tversky_loss, beta=options.tversky_beta)
    focal = partial(focal_loss, gamma=options.focal_gamma)
    terms: dict[SegmentationLoss, tuple[Loss, ...]] = {
        SegmentationLoss.DICE: (dice_loss,),
        SegmentationLoss.DICE_FOCAL: (dice_loss, focal),
        SegmentationLoss.DICE_CE: (dice_loss, cross_entropy_loss),
        SegmentationLoss.TVERSKY: (tversky,),
        SegmentationLoss.TVERSKY_FOCAL: (tversky, focal),
        SegmentationLoss.LOVASZ: (lovasz_loss,),
        SegmentationLoss.LOVASZ_CE: (lovasz_loss, cross_entropy_loss),
        SegmentationLoss.DICE_BOUNDARY: (dice_loss, boundary_loss),
    }
    first, *second = terms[name]
    if not second:
        return first

    def loss(logits: Tensor, targets: Tensor) -> Tensor:
        return first(logits, targets) + options.second_weight * second[0](logits, targets)

    return loss
