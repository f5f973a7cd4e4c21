"""Disc Relevance Index: how much of what speaks for a decision lies on the optic disc, and how much could.

With L = ReLU(class activation map), no minimum subtracted, enlarged bilinearly (`align_corners=False`) to the mask's
grid, inside the field of view V, the share of a region R is DRI_R = (sum of L over R and V) / (sum of L over V):
relevance mass accuracy (Arras et al. 2022), also known as the energy-based pointing game. Where the sum is 0 it is
undefined.

Enlarging is linear, so the sums are taken on the small map: each of its cells has a mass on every region. The largest
share that any map of that size can have, the ceiling, is that of the cell with the largest share of its mass on R.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from glaucoma.evaluation.segmentation import Mask, equivalent_diameter_px
from glaucoma.schema import Eye, MaskValue

Floats = NDArray[np.float64]

REGIONS = ("cup", "rim", "peripapillary", "rest")
QUADRANTS = ("inferior", "superior", "nasal", "temporal")
_HOT = 0.5


@dataclass(frozen=True)
class Relevance:
    """Where one map lies; shares in 0 to 1, NaN where undefined, then `reason` says why."""

    cup: float
    rim: float
    peripapillary: float
    rest: float
    quadrants: dict[str, float]
    """Share of all relevance on each quadrant of the rim; nasal and temporal are NaN where the eye is not known."""
    disc_area_share: float
    """The disc's share of the field of view: the DRI of a map that is the same everywhere."""
    ceiling: float
    """The largest DRI that a map of this size can have here."""
    rank_accuracy: float
    """Share of the k most relevant pixels that lie on the disc, k being the disc's pixels."""
    pointing_hit: float
    """1 where the most relevant pixel lies on the disc, else 0."""
    hot_iou: float
    """Intersection over union of the disc with the map where it is at least half its maximum."""
    reason: str | None = None

    @property
    def dri(self) -> float:
        """The disc's share: cup and rim."""
        return self.cup + self.rim

    @property
    def lift(self) -> float:
        """DRI over the disc's share of the field of view: 1 is what chance gives."""
        return self.dri / self.disc_area_share if self.disc_area_share > 0 else float("nan")

    @property
    def dri_of_ceiling(self) -> float:
        """DRI over its ceiling."""
        return self.dri / self.ceiling if self.ceiling > 0 else float("nan")


def relevance(heat: NDArray[Any], mask: NDArray[np.uint8], field: Mask, eye: str = Eye.UNKNOWN) -> Relevance:
    """Where the relevance of `heat` lies.

    Args:
        heat: (h, w) float, a class activation map before or after ReLU, at the layer's own size.
        mask: (H, W) of `MaskValue`, with a disc.
        field: (H, W), true inside the field of view.
        eye: `OD` or `OS`; without it nasal and temporal cannot be told.
    """
    positive = np.maximum(np.asarray(heat, dtype=np.float64), 0)
    inside = field.astype(bool)
    disc = (mask >= MaskValue.DISC) & inside
    if not disc.any():
        return undefined("the mask shows no disc inside the field of view")
    area = float(disc.sum() / inside.sum())
    field_mass = cell_mass(inside, positive.shape)
    ceiling = best_share(cell_mass(disc, positive.shape), field_mass)
    total = float((positive * field_mass).sum())
    if not np.isfinite(total):
        return undefined("the map holds numbers that are not finite", area, ceiling)
    if total <= 0:
        return undefined("the map is nowhere positive inside the field of view", area, ceiling)

    def share(part: Mask) -> float:
        return float((positive * cell_mass(part, positive.shape)).sum() / total)

    parts = regions(mask, inside)
    quadrants = rim_quadrants(mask, inside, eye)
    full = np.where(inside, enlarge(positive, (mask.shape[0], mask.shape[1])), 0.0)
    return Relevance(
        cup=share(parts["cup"]),
        rim=share(parts["rim"]),
        peripapillary=share(parts["peripapillary"]),
        rest=share(parts["rest"]),
        quadrants={name: float("nan") if part is None else share(part) for name, part in quadrants.items()},
        disc_area_share=area,
        ceiling=ceiling,
        rank_accuracy=_rank_accuracy(full, disc),
        pointing_hit=float(disc.ravel()[int(np.argmax(full))]),
        hot_iou=_hot_iou(full, disc),
    )


def undefined(reason: str, area: float = float("nan"), ceiling: float = float("nan")) -> Relevance:
    """No relevance to speak of, and why."""
    nan = float("nan")
    return Relevance(nan, nan, nan, nan, dict.fromkeys(QUADRANTS, nan), area, ceiling, nan, nan, nan, reason)


def regions(mask: NDArray[np.uint8], field: Mask) -> dict[str, Mask]:
    """The four regions (H, W), which part the field of view without overlap.

    Peripapillary is what lies within half a disc diameter (of the circle of the disc's area) of the disc.
    """
    disc = mask >= MaskValue.DISC
    distance = cv2.distanceTransform((~disc).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    near = distance <= equivalent_diameter_px(disc) / 2
    return {
        "cup": field & (mask == MaskValue.CUP),
        "rim": field & (mask == MaskValue.DISC),
        "peripapillary": field & near & ~disc,
        "rest": field & ~near & ~disc,
    }


def rim_quadrants(mask: NDArray[np.uint8], field: Mask, eye: str) -> dict[str, Mask | None]:
    """The rim's four quadrants, parted by the diagonals through the disc's centre; None where the eye is not known.

    In a photograph of a right eye (OD) the nose is to the right of the disc, in one of a left eye (OS) to its left.
    """
    disc, rim = mask >= MaskValue.DISC, field & (mask == MaskValue.DISC)
    rows, columns = np.nonzero(disc)
    y, x = np.indices(mask.shape, dtype=np.float64)
    down, right = y - rows.mean(), x - columns.mean()
    vertical = np.abs(down) >= np.abs(right)
    sides = {"right": rim & ~vertical & (right > 0), "left": rim & ~vertical & (right <= 0)}
    nasal = {Eye.OD: "right", Eye.OS: "left"}.get(Eye(eye))
    temporal = {"right": "left", "left": "right"}[nasal] if nasal else None
    return {
        "inferior": rim & vertical & (down > 0),
        "superior": rim & vertical & (down <= 0),
        "nasal": sides[nasal] if nasal else None,
        "temporal": sides[temporal] if temporal else None,
    }


def enlarge(heat: Floats, shape: tuple[int, int]) -> Floats:
    """Bilinear enlargement of (h, w) to `shape`, pixel centres at half (`align_corners=False`), edges repeated."""
    result: Floats = interpolation(heat.shape[0], shape[0]) @ heat @ interpolation(heat.shape[1], shape[1]).T
    return result


def cell_mass(region: Mask, shape: tuple[int, ...]) -> Floats:
    """(h, w): how much one unit in each cell of a small map adds to the sum over `region` after enlargement."""
    rows, columns = interpolation(shape[0], region.shape[0]), interpolation(shape[1], region.shape[1])
    result: Floats = rows.T @ region.astype(np.float64) @ columns
    return result


def best_share(region_mass: Floats, field_mass: Floats) -> float:
    """The largest share of a region over all maps from 0 upwards: that of the best single cell."""
    reached = field_mass > 1e-12
    return float((region_mass[reached] / field_mass[reached]).max())


@cache
def interpolation(small: int, large: int) -> Floats:
    """(large, small): the weights by which bilinear enlargement makes each pixel from the cells."""
    centre = np.clip((np.arange(large) + 0.5) * small / large - 0.5, 0, small - 1)
    lower = np.minimum(centre.astype(int), max(small - 2, 0))
    part = centre - lower
    weights = np.zeros((large, small))
    weights[np.arange(large), lower] = 1 - part
    if small > 1:
        weights[np.arange(large), lower + 1] += part
    weights.setflags(write=False)  # shared by all callers
    return weights


def _rank_accuracy(full: Floats, disc: Mask) -> float:
    k = int(disc.sum())
    best = np.argpartition(full.ravel(), -k)[-k:]
    return float(disc.ravel()[best].mean())


def _hot_iou(full: Floats, disc: Mask) -> float:
    hot = full >= _HOT * full.max()
    return float((hot & disc).sum() / (hot | disc).sum())
