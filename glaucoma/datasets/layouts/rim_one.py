"""What the releases of RIM-ONE have in common: a structure marked in a picture, or by sixteen points in a text file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import PurePosixPath

import numpy as np

from glaucoma.datasets.contours import CENTRE_AT_1, rasterise, read_sixteen_points, smooth_closed
from glaucoma.datasets.fusion import Marked
from glaucoma.datasets.masks import one_structure, read_grey
from glaucoma.datasets.tree import Tree, is_image


def marked(tree: Tree, path: PurePosixPath, shape: Callable[[], tuple[int, int]], *, header_lines: int = 1) -> Marked:
    """The structure that a file marks: a binary picture in either polarity, or the smooth curve through sixteen points.

    Args:
        shape: Gives height and width where the points lie on; asked for texts alone.
        header_lines: Of the text: 2 in r2, 1 in r3 and DL.

    Raises:
        DatasetError: The file cannot be understood.
    """
    if is_image(path):
        return one_structure(read_grey(tree.full(path)), path.name)
    points = read_sixteen_points(tree.full(path), header_lines=header_lines)
    return np.asarray(rasterise(smooth_closed(points), shape(), origin=CENTRE_AT_1), np.bool_)


def pictures_first(path: PurePosixPath) -> tuple[bool, str]:
    """A key that sorts a structure's picture before its text: the picture needs no drawing."""
    return not is_image(path), str(path)
