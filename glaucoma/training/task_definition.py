"""What the two tasks differ in: what is noted of each validation image, and the scores that come of it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from glaucoma.schema import Task
from glaucoma.training.scores import area_under_roc, dice_of_counts

CHANNELS = ("disc", "cup")

Scores = dict[str, float]


@dataclass(frozen=True)
class TaskDefinition:
    """One task, as the loop sees it; its loss comes from the spec (`losses`), its targets from the feed.

    Args:
        score: Name of the score by which the best epoch is chosen; higher is better.
        facts: Logits and targets of n images to (n, k) float64 on the same device: all that the scores need of each.
        scores: The facts of all images, (n, k), to the scores by name; what is undefined is NaN.
    """

    score: str
    facts: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
    scores: Callable[[Any], Scores]

    def rank(self, scores: Scores) -> list[float]:
        """Higher is better, compared from left to right: the score, where defined, and then the loss."""
        main = scores[self.score]
        return [-math.inf if math.isnan(main) else main, -scores["loss"]]


def _classification_facts(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Target and logit."""
    return torch.cat((targets, logits), dim=1).double()


def _classification_scores(facts: Any) -> Scores:
    return {"auc": area_under_roc(facts[:, 0] > 0.5, facts[:, 1])}


def _segmentation_facts(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """By channel: pixels shared, then pixels of both together."""
    predicted, truth = logits > 0, targets > 0.5
    shared = (predicted & truth).sum(dim=(2, 3))
    total = predicted.sum(dim=(2, 3)) + truth.sum(dim=(2, 3))
    return torch.cat((shared, total), dim=1).double()


def _segmentation_scores(facts: Any) -> Scores:
    dice = dice_of_counts(facts[:, : len(CHANNELS)], facts[:, len(CHANNELS) :])
    means = {f"dice_{name}": _mean(dice[:, channel]) for channel, name in enumerate(CHANNELS)}
    return {**means, "dice_mean": _mean(np.array(list(means.values())))}


def _mean(values: Any) -> float:
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if len(defined) else math.nan


DEFINITIONS = {
    Task.CLASSIFICATION: TaskDefinition("auc", _classification_facts, _classification_scores),
    Task.SEGMENTATION: TaskDefinition("dice_mean", _segmentation_facts, _segmentation_scores),
}
