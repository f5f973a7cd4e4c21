"""The moving average of a network's weights, which is validated and kept in their place."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn

_FIRST, _RAMP = 1, 10


def decay_at(decay: float, step: int) -> float:
    """The decay of step `step` (the first is 0): `decay`, but less at first, so that the random start is forgotten.

    (1 + step) / (10 + step), as in TensorFlow's ExponentialMovingAverage, until `decay` is reached.
    """
    return min(decay, (_FIRST + step) / (_RAMP + step))


class Average:
    """A copy of `model` that follows it: average = decay * average + (1 - decay) * weights, after each step.

    Running means and variances are averaged like the weights, so that they belong together; counters are copied.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.model = copy.deepcopy(model).eval().requires_grad_(requires_grad=False)
        own, theirs = self.model.state_dict(keep_vars=True), model.state_dict(keep_vars=True)
        floating = {name: None for name, value in own.items() if value.is_floating_point()}
        self._own = [own[name].detach() for name in floating]
        self._theirs = [theirs[name] for name in floating]  # the weights themselves: an engine may move their memory
        self._copied = [(own[name], theirs[name]) for name in own if name not in floating]

    @torch.no_grad()
    def follow(self, step: int) -> None:
        """Takes in the weights after step `step` of the whole run (the first is 0)."""
        torch._foreach_lerp_(self._own, self._theirs, 1 - decay_at(self.decay, step))
        for mine, value in self._copied:
            mine.copy_(value)

    def state_dict(self) -> dict[str, Any]:
        """Under the names of the model's own weights."""
        return self.model.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.model.load_state_dict(state)
