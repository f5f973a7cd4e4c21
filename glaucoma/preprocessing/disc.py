"""Where the optic disc is in a photograph: from its mask, or from a model that marks it."""

from __future__ import annotations

from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
Box = tuple[int, int, int, int]
"""Left, top, width, height in whole pixels of the photograph."""

_FEWEST_PX = 8
"""A disc that is shorter than this is a speck: a crop around it would show nothing."""


class NoDiscError(Exception):
    """No disc is known in this photograph; the sentence is the reason for setting it aside."""


class DiscModel(Protocol):
    """Marks the disc in photographs; called from several threads at once."""

    @property
    def key(self) -> str:
        """Changes with the model's weights and with the code that uses them."""

    def __call__(self, photograph: Pixels) -> Pixels:
        """Not 0 on the disc, 0 elsewhere, (H, W) uint8, for an RGB photograph (H, W, 3); all 0 where none is found."""


def disc_box(mask: Pixels, source: str) -> Box:
    """The box around the largest piece of a mask (H, W) that is not 0.

    Args:
        source: What made the mask, for the message.

    Raises:
        NoDiscError: Nothing is marked, or a speck.
    """
    left, top, width, height = (int(side) for side in cv2.boundingRect(mask))
    if width and height:
        part = (mask[top : top + height, left : left + width] > 0).astype(np.uint8)
        _, _, stats, _ = cv2.connectedComponentsWithStats(part, connectivity=8)
        largest = stats[1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA]))]
        left, top = left + int(largest[cv2.CC_STAT_LEFT]), top + int(largest[cv2.CC_STAT_TOP])
        width, height = int(largest[cv2.CC_STAT_WIDTH]), int(largest[cv2.CC_STAT_HEIGHT])
    if max(width, height) == 0:
        raise NoDiscError(f"{source} marks no disc")
    if max(width, height) < _FEWEST_PX:
        raise NoDiscError(f"{source} marks a disc of {width} x {height} px, a speck")
    return left, top, width, height
