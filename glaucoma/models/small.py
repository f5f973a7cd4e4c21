"""Two small plain networks of this project: they need torch alone, and learn something within seconds on a CPU."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import nn


def _stage(channels_in: int, channels_out: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels_in, channels_out, 3, stride=stride, padding=1, bias=False),
        nn.BatchNorm2d(channels_out),
        nn.ReLU(inplace=True),
    )


class SmallCnn(nn.Module):
    """Four strided stages, average pooling, one logit: (N, 3, H, W) -> (N, 1). About 100,000 weights."""

    classifier: nn.Module

    def __init__(self, widths: Sequence[int] = (16, 32, 64, 96)) -> None:
        super().__init__()
        stages: list[nn.Module] = []
        previous = 3
        for width in widths:
            stages.append(_stage(previous, width, stride=2))
            previous = width
        self.features = nn.Sequential(*stages)
        self.num_features = previous
        self.classifier = nn.Linear(previous, 1)

    def reset_classifier(self, num_classes: int) -> None:
        """A new head of so many outputs; 0: none, and the network gives its pooled features (N, num_features)."""
        self.classifier = nn.Linear(self.num_features, num_classes) if num_classes else nn.Identity()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        features: torch.Tensor = self.features(images)
        logits: torch.Tensor = self.classifier(features.mean(dim=(2, 3)))
        return logits


class SmallUnet(nn.Module):
    """A U-Net with as many levels as `widths`, deepest first: (N, 3, H, W) -> (N, 2, H, W) logits of disc and cup."""

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        down = list(reversed(widths))
        self.encoder = nn.ModuleList(
            _stage(3 if level == 0 else down[level - 1], width, stride=1 if level == 0 else 2)
            for level, width in enumerate(down)
        )
        self.decoder = nn.ModuleList(_stage(deep + skip, skip) for deep, skip in pairwise(widths))
        self.head = nn.Conv2d(widths[-1], 2, 1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        skips: list[torch.Tensor] = []
        features = images
        for stage in self.encoder:
            features = stage(features)
            skips.append(features)
        skips.pop()
        for stage in self.decoder:
            grown = nn.functional.interpolate(features, scale_factor=2.0, mode="nearest")
            features = stage(torch.cat((grown, skips.pop()), dim=1))
        logits: torch.Tensor = self.head(features)
        return logits


def build_small_cnn() -> nn.Module:
    """The small classifier."""
    return SmallCnn()


def build_small_unet(decoder_channels: Sequence[int]) -> nn.Module:
    """The small segmenter; `decoder_channels` are its widths, deepest first."""
    return SmallUnet(tuple(decoder_channels))
