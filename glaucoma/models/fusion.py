"""A classifier that sees clinical values beside the photograph: two evidences in one logit."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from glaucoma.errors import DatasetError, SettingsError

_WIDTH = 16
"""Of the clinical embedding: a few values against the hundreds of features of a photograph."""


class ClinicalFusion(nn.Module):
    """An image network's pooled features joined with an embedding of clinical values, then one linear logit.

    The logit is the photograph's evidence plus the clinical values' evidence plus a bias, so that a class activation
    map, which shows the former, is the same whatever the latter. Each value enters standardised by the training
    split's mean and deviation, beside an indicator of whether it is missing; a missing one stands at the mean.

    Args:
        image: A classifier of timm, or an own one with `num_features` and `reset_classifier` as timm's have; its head
            is taken off.
        values: Names of the clinical values, in the order of their columns.

    Raises:
        SettingsError: The network's head cannot be taken off.
    """

    clinical_mean: Tensor
    clinical_std: Tensor

    def __init__(self, image: nn.Module, values: Sequence[str]) -> None:
        super().__init__()
        self.values = tuple(str(value) for value in values)
        features = _without_head(image)
        self.image = image
        self.clinical = nn.Sequential(nn.Linear(2 * len(self.values), _WIDTH), nn.ReLU())
        self.classifier = nn.Linear(features + _WIDTH, 1)
        self.register_buffer("clinical_mean", torch.zeros(len(self.values)))
        self.register_buffer("clinical_std", torch.ones(len(self.values)))

    def set_clinical_scale(self, values: NDArray[np.float32]) -> None:
        """Sets mean and deviation from the training split's values (n, k), NaN where missing; once, before training.

        A value that never differs keeps a deviation of 1. The scale travels in the state dict.

        Raises:
            DatasetError: A value is missing from every image: the network could learn nothing of it.
        """
        empty = [self.values[place] for place in np.flatnonzero(np.isnan(values).all(axis=0))]
        if empty:
            raise DatasetError(
                f"None of the {len(values)} training photographs has a value for {', '.join(empty)}",
                expected="some in the manifest",
                consequence="The network could learn nothing of them",
                remedy="leave them out of clinical, or take a dataset that states them",
            )
        wide = values.astype(np.float64)
        mean, std = np.nanmean(wide, axis=0), np.nanstd(wide, axis=0)
        self.clinical_mean.copy_(torch.from_numpy(mean))
        self.clinical_std.copy_(torch.from_numpy(np.where(std > 0, std, 1.0)))

    def forward(self, images: Tensor, clinical: Tensor) -> Tensor:
        """Logits (N, 1) of images (N, 3, H, W) and clinical values (N, k) float32, NaN where missing."""
        missing = clinical.isnan()
        scaled = torch.where(missing, 0.0, (clinical - self.clinical_mean) / self.clinical_std)
        embedded = self.clinical(torch.cat((scaled, missing.to(scaled.dtype)), dim=1))
        pooled = self.image(images)
        logits: Tensor = self.classifier(torch.cat((pooled, embedded.to(pooled.dtype)), dim=1))
        return logits


def logits_of(model: nn.Module, images: Tensor, clinical: Tensor | None) -> Tensor:
    """What `model` says of a batch: of the images alone, or, for a `ClinicalFusion`, of both."""
    logits: Tensor = model(images) if clinical is None else model(images, clinical)
    return logits


def _without_head(image: nn.Module) -> int:
    """Takes the classifier's last layer off, in place; returns the number of pooled features that are left."""
    reset = getattr(image, "reset_classifier", None)
    features = getattr(image, "head_hidden_size", None) or getattr(image, "num_features", None)
    if not callable(reset) or not isinstance(features, int):
        raise SettingsError(
            f"{type(image).__name__} cannot be joined with clinical values",
            expected="a network with num_features and reset_classifier(0), as timm's have",
            remedy="choose another model, give it the two, or leave clinical empty",
        )
    reset(0)
    return features
