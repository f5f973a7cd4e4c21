"""Soft maps: grey values that say which share of the readers marked a pixel."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from glaucoma.datasets.fusion import Marked
from glaucoma.datasets.masks import read_grey

THREE_OF_FOUR = 0.75
"""What the makers of DRISHTI-GS take for the truth: three of the four readers."""
_WHOLE = 255
_ROUNDING = 1
"""Three quarters of 255 is 191.25, and lies in files as 191: a threshold in full would lose all of it."""


def agreed(path: Path, share: float = THREE_OF_FOUR) -> Marked:
    """(H, W): where at least `share` of the readers marked the structure; one grey value is allowed for rounding.

    Raises:
        DatasetError: No readable grey image.
    """
    return np.asarray(read_grey(path) >= share * _WHOLE - _ROUNDING, np.bool_)
