"""The masks that a mapping describes: found by patterns, read by the values or the threshold that it gives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import PurePosixPath

import numpy as np
from numpy.typing import NDArray

from glaucoma.datasets.layouts.base import SourceMask
from glaucoma.datasets.layouts.mapping import HOW_TO, PLACES, STEM, MaskMapping, MaskValues
from glaucoma.datasets.layouts.patterns import Pattern, accept_known
from glaucoma.datasets.layouts.two_files import MATLAB_ENDING, disc_and_cup, one_file
from glaucoma.datasets.masks import CanonicalMask, from_parts, read_grey
from glaucoma.datasets.soft_maps import agreed
from glaucoma.datasets.tree import Tree, is_image
from glaucoma.errors import DatasetError, LayoutError
from glaucoma.schema import MaskValue

_Key = tuple[tuple[str, str], ...]
"""What a pattern's named places stand for, in one letter case: a photograph's and its mask's are the same."""


@dataclass(frozen=True)
class _Files:
    places: frozenset[str]
    by_key: Mapping[_Key, PurePosixPath]

    def of(self, path: PurePosixPath, places: Mapping[str, str]) -> PurePosixPath | None:
        known = {**places, STEM: path.stem}
        if not self.places <= set(known):
            return None
        return self.by_key.get(_key({place: known[place] for place in self.places}))


@dataclass(frozen=True)
class MappedMasks:
    """Finds a photograph's mask, and says how it is read."""

    _tree: Tree
    _mapping: MaskMapping
    _file: _Files | None
    _disc: _Files | None
    _cup: _Files | None

    @classmethod
    def read(
        cls, tree: Tree, mapping: MaskMapping, photographs: Sequence[tuple[PurePosixPath, Mapping[str, str]]]
    ) -> MappedMasks:
        """Finds all files that match; opens none.

        Raises:
            LayoutError: A pattern matches no file, or two files for one photograph.
        """
        known: dict[str, set[str]] = {place: set() for place in (*PLACES, STEM)}
        for path, places in photographs:
            for place, word in {**places, STEM: path.stem}.items():
                known[place].add(word.casefold())
        own = {path for path, _ in photographs}
        file, disc, cup = (
            _files(tree, text, known, own) if text else None for text in (mapping.file, mapping.disc, mapping.cup)
        )
        return cls(tree, mapping, file, disc, cup)

    def of(self, path: PurePosixPath, places: Mapping[str, str]) -> SourceMask | None:
        """The mask of a photograph, or None where it has none: where the disc's file is missing, too."""
        tree, mapping = self._tree, self._mapping
        if self._file is not None:
            found = self._file.of(path, places)
            if found is None:
                return None
            return one_file(tree, found) if mapping.values is None else _by_values(tree, found, mapping.values)
        disc = self._disc.of(path, places) if self._disc else None
        cup = self._cup.of(path, places) if self._cup else None
        if disc is None:
            return None
        if mapping.threshold is None:
            return disc_and_cup(tree, disc, cup)
        return _by_threshold(tree, disc, cup, mapping.threshold, inverted=mapping.inverted)


def _key(places: Mapping[str, str]) -> _Key:
    return tuple(sorted((place, word.casefold()) for place, word in places.items()))


def _files(tree: Tree, text: str, known: Mapping[str, set[str]], photographs: set[PurePosixPath]) -> _Files:
    """The files that match `text`, by what its named places stand for: only words that photographs have."""
    pattern = Pattern.of(text, {*PLACES, STEM})
    accept = accept_known({place: partial(_is_among, words) for place, words in known.items()})
    found: dict[_Key, PurePosixPath] = {}
    for path in tree.files:
        if path in photographs or not (is_image(path) or path.suffix.lower() == MATLAB_ENDING):
            continue
        if (places := pattern.match(path, accept)) is None:
            continue
        if (first := found.setdefault(_key(places), path)) != path:
            raise LayoutError(
                f"Two files match the mapping's masks pattern {text!r} for one photograph: {first} and {path}",
                expected="one each",
                remedy=f"name a folder, or a place that the photographs have, in the pattern ({HOW_TO})",
            )
    if not found:
        raise LayoutError(
            f"No file matches the mapping's masks pattern {text!r}. As they were seen: {tree.shown()}",
            expected="a mask for at least one photograph, {stem} being the photograph's name without its ending",
            remedy=f"correct the pattern ({HOW_TO})",
        )
    return _Files(pattern.places, found)


def _is_among(words: set[str], word: str) -> bool:
    return word.casefold() in words


def _by_values(tree: Tree, path: PurePosixPath, values: MaskValues) -> SourceMask:
    def read() -> CanonicalMask:
        if path.suffix.lower() == MATLAB_ENDING:
            raise DatasetError(
                f"{path} is a MATLAB file", expected="an image file, where the mapping gives grey values"
            )
        meaning = np.zeros(256, np.uint8)
        meaning[list(values.disc)] = MaskValue.DISC
        meaning[list(values.cup)] = MaskValue.CUP
        return CanonicalMask(meaning[read_grey(tree.full(path))], cup_stated=bool(values.cup))

    return SourceMask((path,), read)


def _by_threshold(
    tree: Tree, disc: PurePosixPath, cup: PurePosixPath | None, threshold: float, *, inverted: bool
) -> SourceMask:
    def marked(path: PurePosixPath) -> NDArray[np.bool_]:
        if inverted:
            return np.asarray(255 - read_grey(tree.full(path)) >= threshold * 255 - 1, np.bool_)
        return agreed(tree.full(path), threshold)

    def read() -> CanonicalMask:
        return from_parts(marked(disc), None if cup is None else marked(cup))

    return SourceMask((disc,) if cup is None else (disc, cup), read)
