from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from monai.metrics import compute_average_surface_distance, compute_dice, compute_hausdorff_distance, compute_iou
from scipy.spatial.distance import cdist

from glaucoma.evaluation.segmentation import (
    Outcome,
    assd_px,
    dice_score,
    equivalent_diameter_px,
    hd95_px,
    iou_score,
    outcome,
    score_structure,
    surface_distances,
)


def ellipse(size: int, cy: float, cx: float, ry: float, rx: float) -> np.ndarray:
    y, x = np.mgrid[:size, :size]
    return ((y - cy) / ry) ** 2 + ((x - cx) / rx) ** 2 <= 1


def pairs() -> list[tuple[np.ndarray, np.ndarray]]:
    rng = np.random.default_rng(0)
    found = []
    for size in (24, 48, 64):
        for _ in range(4):
            a, b = (ellipse(size, *rng.uniform(0.2, 0.8, 2) * size, *rng.uniform(0.1, 0.4, 2) * size) for _ in "ab")
            found.append((a, b))
    found.append((ellipse(40, 0, 0, 12, 9), ellipse(40, 39, 39, 9, 12)))  # cut by the image's edge
    found.append((rng.random((30, 30)) > 0.7, rng.random((30, 30)) > 0.7))
    found.append((np.eye(9, dtype=bool), np.eye(9, dtype=bool)[::-1]))
    return found


@pytest.mark.filterwarnings("ignore:.*always_return_as_numpy:FutureWarning")  # MONAI of itself
@pytest.mark.parametrize(("predicted", "truth"), pairs())
def test_every_score_is_that_of_monai(predicted: np.ndarray, truth: np.ndarray) -> None:
    guess, real = (torch.from_numpy(np.ascontiguousarray(m))[None, None].float() for m in (predicted, truth))
    assert dice_score(predicted, truth) == pytest.approx(float(compute_dice(guess, real)), abs=1e-6)
    assert iou_score(predicted, truth) == pytest.approx(float(compute_iou(guess, real)), abs=1e-6)
    hausdorff = float(compute_hausdorff_distance(guess, real, include_background=True, percentile=95))
    assert hd95_px(predicted, truth) == pytest.approx(hausdorff, abs=1e-3)
    average = float(compute_average_surface_distance(guess, real, include_background=True, symmetric=True))
    assert assd_px(predicted, truth) == pytest.approx(average, abs=1e-3)


@pytest.mark.parametrize(("predicted", "truth"), pairs())
def test_torchmetrics_gives_the_same_overlap(predicted: np.ndarray, truth: np.ndarray) -> None:
    from torchmetrics.functional.classification import binary_f1_score, binary_jaccard_index

    guess, real = (torch.from_numpy(np.ascontiguousarray(m)).int() for m in (predicted, truth))
    assert dice_score(predicted, truth) == pytest.approx(float(binary_f1_score(guess, real)), abs=1e-6)
    assert iou_score(predicted, truth) == pytest.approx(float(binary_jaccard_index(guess, real)), abs=1e-6)


@pytest.mark.parametrize(("predicted", "truth"), pairs()[:4])
def test_surface_distances_are_the_nearest_of_all_pairs(predicted: np.ndarray, truth: np.ndarray) -> None:
    def outline(mask: np.ndarray) -> np.ndarray:
        padded = np.pad(mask, 1)
        inner = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
        return np.argwhere(mask & ~inner)

    distances = cdist(outline(predicted), outline(truth))
    there, back = surface_distances(predicted, truth)
    np.testing.assert_allclose(there, distances.min(axis=1), atol=1e-4)
    np.testing.assert_allclose(back, distances.min(axis=0), atol=1e-4)


def test_empty_masks_follow_the_rules() -> None:
    empty, disc = np.zeros((30, 40), bool), np.zeros((30, 40), bool)
    disc[5:10, 5:10] = True
    absent = score_structure(empty, empty)
    assert absent.outcome is Outcome.ABSENT
    assert all(math.isnan(v) for v in (absent.dice_score, absent.iou_score, absent.hd95_px, absent.assd_px))
    for found, expected in (
        (score_structure(empty, disc), Outcome.MISSED),
        (score_structure(disc, empty), Outcome.SPURIOUS),
    ):
        assert found.outcome is expected
        assert (found.dice_score, found.iou_score, found.hd95_px, found.assd_px) == (0, 0, 50, 50)
    assert outcome(disc, disc) is Outcome.FOUND


def test_equal_masks_are_perfect() -> None:
    disc = ellipse(32, 16, 16, 8, 7)
    found = score_structure(disc, disc)
    assert (found.dice_score, found.iou_score, found.hd95_px, found.assd_px) == (1, 1, 0, 0)


def test_a_shift_by_three_pixels_is_a_distance_of_three_for_a_square() -> None:
    a, b = np.zeros((40, 40), bool), np.zeros((40, 40), bool)
    a[10:30, 10:30], b[10:30, 13:33] = True, True
    assert hd95_px(a, b) == pytest.approx(3)


def test_masks_of_other_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="a prediction of"):
        dice_score(np.zeros((3, 3), bool), np.zeros((3, 4), bool))
    with pytest.raises(ValueError, match="no outline"):
        surface_distances(np.zeros((3, 3), bool), np.ones((3, 3), bool))


def test_the_diameter_of_a_circle_is_its_own() -> None:
    assert equivalent_diameter_px(ellipse(200, 100, 100, 60, 60)) == pytest.approx(120, rel=0.01)
    assert equivalent_diameter_px(np.zeros((5, 5), bool)) == 0
