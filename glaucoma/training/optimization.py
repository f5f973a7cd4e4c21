"""The optimizer's schedule and its groups of parameters."""

from __future__ import annotations

import math
from typing import Any

from torch import nn

_LAST_SHARE = 0.01


def learning_rate(highest: float, step: int, steps: int, warm_up_share: float = 0.05) -> float:
    """Linear warm-up over that share of all steps, then a cosine down to a hundredth of the highest.

    Args:
        step: The first is 0, and has already a part of the highest rate; without warm-up the whole.
    """
    warm_up = max(1, round(warm_up_share * steps))
    if step < warm_up:
        return highest * (step + 1) / warm_up
    done = (step - warm_up) / max(1, steps - warm_up)
    return highest * (_LAST_SHARE + (1 - _LAST_SHARE) * (1 + math.cos(math.pi * done)) / 2)


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Weights decay; biases and the scales of normalisation do not."""
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return [
        {"params": [p for p in trainable if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in trainable if p.ndim <= 1], "weight_decay": 0.0},
    ]
