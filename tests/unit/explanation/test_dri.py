from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.functional import interpolate

from glaucoma.explanation.dri import (
    QUADRANTS,
    REGIONS,
    best_share,
    cell_mass,
    enlarge,
    regions,
    relevance,
    rim_quadrants,
)


def fundus(size: int = 96, cy: float = 50, cx: float = 30, radius: float = 12) -> tuple[np.ndarray, np.ndarray]:
    """A mask with a round disc and cup, and a round field of view."""
    y, x = np.mgrid[:size, :size]
    distance = np.hypot(y - cy, x - cx)
    mask = np.where(distance <= radius * 0.5, 2, np.where(distance <= radius, 1, 0)).astype(np.uint8)
    return mask, np.hypot(y - size / 2, x - size / 2) <= size * 0.48


def heat(shape: tuple[int, int] = (7, 7), seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0.2, 1, shape)


def written_out(cam: np.ndarray, region: np.ndarray, field: np.ndarray) -> float:
    """Enlarge with torch, sum over the region, divide by the sum over the field."""
    large = interpolate(torch.from_numpy(np.maximum(cam, 0))[None, None], size=region.shape, mode="bilinear")[0, 0]
    inside = large.numpy() * field
    return float((inside * region).sum() / inside.sum())


@pytest.mark.parametrize("shape", [(1, 1), (1, 4), (3, 3), (7, 5), (32, 32), (96, 96)])
def test_enlarging_is_that_of_torch(shape: tuple[int, int]) -> None:
    small = heat(shape)
    expected = interpolate(torch.from_numpy(small)[None, None], size=(96, 80), mode="bilinear", align_corners=False)
    np.testing.assert_allclose(enlarge(small, (96, 80)), expected[0, 0].numpy(), atol=1e-12)


@pytest.mark.parametrize("shape", [(3, 3), (7, 7), (10, 12), (96, 96)])
@pytest.mark.parametrize("seed", [0, 1])
def test_every_share_is_the_written_out_formula(shape: tuple[int, int], seed: int) -> None:
    mask, field = fundus()
    cam = heat(shape, seed)
    found = relevance(cam, mask, field, "OD")
    assert found.dri == pytest.approx(written_out(cam, mask >= 1, field), abs=1e-12)
    for name, part in regions(mask, field).items():
        assert getattr(found, name) == pytest.approx(written_out(cam, part, field), abs=1e-12)
    assert sum(getattr(found, name) for name in REGIONS) == pytest.approx(1)
    assert sum(found.quadrants.values()) == pytest.approx(found.rim)


def test_no_minimum_is_subtracted_and_what_is_negative_is_nothing() -> None:
    mask, field = fundus()
    cam = np.abs(heat()) + 5
    assert relevance(cam, mask, field).dri == pytest.approx(written_out(cam, mask >= 1, field))
    with_negative = heat()
    assert relevance(with_negative, mask, field).dri == relevance(np.maximum(with_negative, 0), mask, field).dri


def test_the_scale_of_a_map_says_nothing() -> None:
    mask, field = fundus()
    one, two = relevance(heat(), mask, field), relevance(heat() * 1e-6, mask, field)
    for name in (*REGIONS, "rank_accuracy", "pointing_hit", "hot_iou", "lift", "dri_of_ceiling"):
        assert getattr(one, name) == pytest.approx(getattr(two, name)), name


def test_a_map_that_is_the_same_everywhere_has_the_discs_share_and_lift_one() -> None:
    mask, field = fundus()
    found = relevance(np.ones((5, 5)), mask, field)
    assert found.dri == pytest.approx((mask[field] >= 1).mean())
    assert found.lift == pytest.approx(1)


def test_a_map_on_the_disc_alone_has_dri_one() -> None:
    mask, field = fundus()
    found = relevance((mask >= 1).astype(float), mask, field)
    assert (found.dri, found.rank_accuracy, found.pointing_hit, found.hot_iou) == (1, 1, 1, 1)
    assert found.ceiling == pytest.approx(1)


def test_no_map_of_that_size_exceeds_the_ceiling_and_one_reaches_it() -> None:
    mask, field = fundus()
    ceiling = relevance(np.ones((6, 6)), mask, field).ceiling
    shares = []
    for cell in range(36):
        single = np.zeros(36)
        single[cell] = 1
        shares.append(relevance(single.reshape(6, 6), mask, field).dri)
    assert max(s for s in shares if not math.isnan(s)) == pytest.approx(ceiling)
    for seed in range(20):
        assert relevance(heat((6, 6), seed), mask, field).dri <= ceiling + 1e-12


def test_a_finer_map_has_a_higher_ceiling() -> None:
    mask, field = fundus()
    ceilings = [relevance(np.ones((k, k)), mask, field).ceiling for k in (3, 6, 12, 48)]
    assert ceilings == sorted(ceilings)
    assert ceilings[0] < 0.6 < ceilings[-1]


def test_what_lies_outside_the_field_counts_for_nothing() -> None:
    mask, field = fundus()
    corner = np.zeros((96, 96))
    corner[:4, :4] = 100
    quiet = heat((96, 96))
    assert relevance(quiet + corner, mask, field).dri == pytest.approx(relevance(quiet, mask, field).dri)


def test_undefined_has_a_reason_and_is_never_zero() -> None:
    mask, field = fundus()
    cases: dict[str, tuple[Any, Any, Any]] = {
        "nowhere positive": (-np.ones((5, 5)), mask, field),
        "no disc": (np.ones((5, 5)), np.zeros_like(mask), field),
        "not finite": (np.full((5, 5), np.nan), mask, field),
    }
    for words, arguments in cases.items():
        found = relevance(*arguments)
        assert found.reason is not None
        assert words in found.reason
        assert math.isnan(found.dri)
        assert math.isnan(found.lift)
        assert math.isnan(found.pointing_hit)


def test_peripapillary_is_half_a_disc_diameter_wide() -> None:
    mask, field = fundus(200, 100, 100, 30)
    near = regions(mask, np.ones_like(field))["peripapillary"]
    rows, columns = np.nonzero(near)
    distance = np.hypot(rows - 100, columns - 100)
    assert distance.max() == pytest.approx(60, abs=1.5)
    assert distance.min() > 30


def test_the_regions_part_the_field_without_overlap() -> None:
    mask, field = fundus()
    parts = np.stack(list(regions(mask, field).values()))
    np.testing.assert_array_equal(parts.sum(axis=0), field.astype(int))


def test_nasal_is_to_the_right_in_a_right_eye_and_unknown_without_laterality() -> None:
    mask, field = fundus(cx=48)
    right, left, unknown = (rim_quadrants(mask, field, eye) for eye in ("OD", "OS", ""))
    assert right["nasal"] is not None
    assert right["temporal"] is not None
    assert np.nonzero(right["nasal"])[1].min() > 48
    np.testing.assert_array_equal(right["nasal"], left["temporal"])
    np.testing.assert_array_equal(right["temporal"], left["nasal"])
    assert unknown["nasal"] is unknown["temporal"] is None
    assert np.nonzero(right["inferior"])[0].min() > 50
    assert set(right) == set(QUADRANTS)
    without = relevance(heat(), mask, field)
    assert math.isnan(without.quadrants["nasal"])
    assert not math.isnan(without.quadrants["inferior"])


def test_a_mirrored_image_of_the_other_eye_has_the_same_relevance() -> None:
    mask, field = fundus()
    cam = heat((9, 9))
    one = relevance(cam, mask, field, "OD")
    two = relevance(cam[:, ::-1], np.ascontiguousarray(mask[:, ::-1]), np.ascontiguousarray(field[:, ::-1]), "OS")
    assert one.dri == pytest.approx(two.dri, abs=1e-9)
    for name in QUADRANTS:
        assert one.quadrants[name] == pytest.approx(two.quadrants[name], abs=0.02)  # pixels on the diagonals may change


def test_rank_accuracy_and_hot_overlap_are_the_written_out_ones() -> None:
    mask, field = fundus()
    cam = heat((8, 8), 4)
    full = np.where(field, enlarge(np.maximum(cam, 0), mask.shape), 0)
    disc = (mask >= 1) & field
    best = np.argsort(full.ravel())[::-1][: disc.sum()]
    found = relevance(cam, mask, field)
    assert found.rank_accuracy == pytest.approx(disc.ravel()[best].mean())
    hot = full >= 0.5 * full.max()
    assert found.hot_iou == pytest.approx((hot & disc).sum() / (hot | disc).sum())


def test_cell_masses_add_up_to_the_regions_area() -> None:
    _, field = fundus()
    assert cell_mass(field, (5, 7)).sum() == pytest.approx(field.sum())
    assert best_share(cell_mass(field, (5, 7)), cell_mass(field, (5, 7))) == pytest.approx(1)
