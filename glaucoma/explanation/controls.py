"""Two questions that a relevance map cannot answer about itself.

An untrained network of the same architecture shows what share falls on the disc for no reason of glaucoma (Adebayo et
al. 2018). Hiding the disc shows whether the decision rests on it: the evidence must fall, and by more than when a place
of the same size and shape elsewhere is hidden.
"""

from __future__ import annotations

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from glaucoma.evaluation.segmentation import Mask, equivalent_diameter_px
from glaucoma.models.fusion import ClinicalFusion
from glaucoma.training.build import build_model
from glaucoma.training.spec import ExperimentSpec

_INSIDE = 0.9
_TURNS = ((-1, 0, 0, -1), (0, -1, 1, 0), (0, 1, -1, 0))
"""Half a turn about the centre of the field of view, then a quarter turn either way, as (yy, yx, xy, xx)."""


def untrained(spec: ExperimentSpec, seed: int, scaled_as: nn.Module | None = None) -> nn.Module:
    """The spec's network with fresh weights, in eval mode; the global random state is left as it was.

    Args:
        scaled_as: The trained network. Where it sees clinical values, the fresh one standardises them in the same way:
            years and mmHg as they come would drown the photograph.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = build_model(spec, pretrained=False).eval()
    if isinstance(model, ClinicalFusion) and isinstance(scaled_as, ClinicalFusion):
        model.clinical_mean.copy_(scaled_as.clinical_mean)
        model.clinical_std.copy_(scaled_as.clinical_std)
    return model


def hide(image: NDArray[np.uint8], place: Mask, field: Mask) -> NDArray[np.uint8]:
    """A copy of `image` (S, S, 3) with `place` (S, S) filled by the median colour of the ring around it.

    The ring is what lies in the field of view within a quarter of the place's diameter. Without one the colour is the
    field's own median.
    """
    distance = cv2.distanceTransform((~place).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    ring = field & ~place & (distance <= max(equivalent_diameter_px(place) / 4, 2))
    result = image.copy()
    result[place] = np.median(image[ring if ring.any() else field], axis=0).round().astype(np.uint8)
    return result


def elsewhere(disc: Mask, field: Mask) -> Mask | None:
    """The disc's shape at another place of the field of view, turned about the field's centre; None where none fits.

    A place fits when nine tenths of it lie inside the field and none of it on the disc.
    """
    rows, columns = np.nonzero(disc)
    if not rows.size:
        return None
    field_rows, field_columns = np.nonzero(field)
    offset = np.array([rows.mean() - field_rows.mean(), columns.mean() - field_columns.mean()])
    for yy, yx, xy, xx in _TURNS:
        shift = np.array([yy * offset[0] + yx * offset[1], xy * offset[0] + xx * offset[1]]) - offset
        y, x = rows + round(shift[0]), columns + round(shift[1])
        inside = (y >= 0) & (y < disc.shape[0]) & (x >= 0) & (x < disc.shape[1])
        moved = np.zeros_like(disc)
        moved[y[inside], x[inside]] = True
        moved &= field
        if moved.sum() >= _INSIDE * disc.sum() and not (moved & disc).any():
            return moved
    return None
