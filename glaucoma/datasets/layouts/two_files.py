"""Masks in files: one for disc and cup together, or one for each; images or MATLAB files."""

from __future__ import annotations

from pathlib import PurePosixPath

import numpy as np
from numpy.typing import NDArray

from glaucoma.datasets.layouts.base import SourceMask
from glaucoma.datasets.masks import CanonicalMask, canonical, from_parts, one_structure, read_grey
from glaucoma.datasets.tree import Tree

MATLAB_ENDING = ".mat"


def one_file(tree: Tree, mask: PurePosixPath) -> SourceMask:
    """The mask in a file of grey values that mean background, rim and cup, or in a MATLAB file."""

    def read() -> CanonicalMask:
        if mask.suffix.lower() == MATLAB_ENDING:
            from glaucoma.datasets.matlab import read_mask

            return read_mask(tree.full(mask))
        return canonical(read_grey(tree.full(mask)), str(mask))

    return SourceMask((mask,), read)


def disc_and_cup(tree: Tree, disc: PurePosixPath, cup: PurePosixPath | None) -> SourceMask:
    """The mask that a disc's file and a cup's make: each holds two grey values, of which the border's is background.

    Args:
        cup: None where the source marks no cup: the cup is then not visible, and not absent.
    """

    def read() -> CanonicalMask:
        return from_parts(_marked(tree, disc), None if cup is None else _marked(tree, cup))

    return SourceMask((disc,) if cup is None else (disc, cup), read)


def _marked(tree: Tree, path: PurePosixPath) -> NDArray[np.bool_]:
    """(H, W), true where the file marks its structure."""
    if path.suffix.lower() == MATLAB_ENDING:
        from glaucoma.datasets.matlab import read_mask

        return np.asarray(read_mask(tree.full(path)).values > 0, np.bool_)
    return one_structure(read_grey(tree.full(path)), str(path))
