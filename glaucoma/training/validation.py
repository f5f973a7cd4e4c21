"""One pass over the validation images: the loss, and the score by which the best epoch is chosen."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

from glaucoma.schema import Task
from glaucoma.training.batching import Batches
from glaucoma.training.losses import Loss
from glaucoma.training.scores import area_under_roc, dice_per_image

CHANNELS = ("disc", "cup")


def validate(
    model: nn.Module, images: Batches, task: Task, loss: Loss, batch_size: int, after_batch: Callable[[], None]
) -> dict[str, float]:
    """`loss` and `auc`, or `loss`, `dice_disc`, `dice_cup`, `dice_mean`; what is undefined is NaN.

    Args:
        after_batch: Called after each batch; may raise, to stop.
    """
    model.eval()
    n = len(images.images)
    losses: list[float] = []
    found: list[Any] = []
    with torch.inference_mode():
        for start in range(0, n, batch_size):
            indices = np.arange(start, min(start + batch_size, n))
            inputs, targets = images.gather(indices)
            logits = model(inputs).float()
            losses.append(float(loss(logits, targets)) * len(indices))
            found.append(_facts(task, logits, targets))
            after_batch()
    scores = {"loss": sum(losses) / n}
    joined = np.concatenate(found)
    if task is Task.CLASSIFICATION:
        return {**scores, "auc": area_under_roc(joined[:, 0] > 0, joined[:, 1])}
    means = {f"dice_{name}": _mean(joined[:, channel]) for channel, name in enumerate(CHANNELS)}
    return {**scores, **means, "dice_mean": _mean(np.array(list(means.values())))}


def rank(scores: dict[str, float]) -> list[float]:
    """Higher is better, compared from left to right: the score, where defined, and then the loss."""
    main = scores.get("auc", scores.get("dice_mean", math.nan))
    return [-math.inf if math.isnan(main) else main, -scores["loss"]]


def _facts(task: Task, logits: torch.Tensor, targets: torch.Tensor) -> Any:
    if task is Task.CLASSIFICATION:
        return torch.cat((targets, logits), dim=1).cpu().numpy()
    return dice_per_image((logits > 0).cpu().numpy(), (targets > 0.5).cpu().numpy())


def _mean(values: Any) -> float:
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if len(defined) else math.nan
