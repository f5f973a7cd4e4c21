"""Dice and the 95th percentile Hausdorff distance of disc-like masks, against MONAI's, the values compared first."""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.harness import Candidate, Comparison, Skipped
from benchmarks.place import Place
from glaucoma.evaluation.segmentation import dice_score, hd95_px

_MASKS, _SIDE_PX = 16, 512


def benchmark(place: Place) -> Iterator[Comparison | Skipped]:
    """Both get what they like best: ours bool arrays, MONAI's a float tensor, made outside the measurement."""
    import torch
    from monai.metrics import compute_dice, compute_hausdorff_distance

    rng = np.random.default_rng(place.seed)
    predicted, truth = _ellipses(rng), _ellipses(rng)
    tensors = [torch.from_numpy(masks[:, None].astype(np.float32)) for masks in (predicted, truth)]

    def dice() -> list[float]:
        return [dice_score(one, other) for one, other in zip(predicted, truth, strict=True)]

    def monai_dice() -> NDArray[np.float32]:
        return np.asarray(compute_dice(*tensors, include_background=True)).ravel()

    def distance() -> list[float]:
        return [hd95_px(one, other) for one, other in zip(predicted, truth, strict=True)]

    def monai_distance() -> NDArray[np.float32]:
        return np.asarray(compute_hausdorff_distance(*tensors, include_background=True, percentile=95)).ravel()

    warnings.filterwarnings("ignore", category=FutureWarning, module="monai")
    np.testing.assert_allclose(dice(), monai_dice(), rtol=1e-5)
    np.testing.assert_allclose(distance(), monai_distance(), atol=1e-3)
    n = f"{_MASKS} masks of {_SIDE_PX} px"
    yield Comparison("Dice", _call("own", dice), (_call("MONAI", monai_dice),), n, rounds=15)
    yield Comparison("HD95", _call("own, with Dice, IoU, ASSD", distance), (_call("MONAI", monai_distance),), n)


def _call(name: str, function: object) -> Candidate:
    """A candidate whose value is not needed."""
    assert callable(function)

    def run() -> None:
        function()

    return Candidate(name, run)


def _ellipses(rng: np.random.Generator) -> NDArray[np.bool_]:
    """Upright ovals of a disc's size near the middle, (n, S, S)."""
    masks = np.zeros((_MASKS, _SIDE_PX, _SIDE_PX), np.uint8)
    for mask in masks:
        x, y = (int(v) for v in rng.integers(240, 272, 2))
        axes = (int(rng.integers(40, 50)), int(rng.integers(45, 60)))
        cv2.ellipse(mask, (x, y), axes, 0, 0, 360, 1, -1)
    return masks > 0
