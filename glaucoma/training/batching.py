"""A batch: images as the network takes them, what it is to say of them, and which images they are."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from glaucoma.schema import MaskValue
from glaucoma.training.sampling import Indices


@dataclass(frozen=True)
class Batch:
    """One process's share of a step.

    Args:
        inputs: (n, 3, px, px) float32, normalised, on the device; channels_last on a GPU.
        clinical: (n, k) float32, NaN where a value is missing; None where the spec names none.
        targets: Classification (n, 1), segmentation (n, 2, px, px), float32 of 0 and 1.
        indices: (n,) int64 into the split.
        n_step: Images of the step over all processes.
    """

    inputs: torch.Tensor
    clinical: torch.Tensor | None
    targets: torch.Tensor
    indices: Indices
    n_step: int

    def __len__(self) -> int:
        return len(self.indices)

    def micro(self, size: int | None) -> Iterator[Batch]:
        """The batch in parts of at most `size` images, as equal as they can be; None: in one.

        No part is of one image, since batch normalisation needs two, unless the batch is: with `size` 2 an odd batch
        has one part of three.
        """
        n = len(self)
        parts = 1 if size is None else min(-(-n // size), max(n // 2, 1))
        for part in np.array_split(np.arange(n), parts):
            here = slice(int(part[0]), int(part[-1]) + 1)
            yield Batch(
                inputs=self.inputs[here],
                clinical=None if self.clinical is None else self.clinical[here],
                targets=self.targets[here],
                indices=self.indices[here],
                n_step=self.n_step,
            )


def mask_targets(masks: torch.Tensor) -> torch.Tensor:
    """(n, H, W) of `MaskValue` to (n, 2, H, W) float32: the whole disc, cup included, and the cup."""
    disc = masks >= int(MaskValue.DISC)
    cup = masks == int(MaskValue.CUP)
    return torch.stack((disc, cup), dim=1).float()
