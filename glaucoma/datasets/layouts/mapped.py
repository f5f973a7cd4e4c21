"""The layout that a mapping describes: a dataset that nobody has written an adapter for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Final

from glaucoma.datasets.layouts.base import SourceImage, SourceMask
from glaucoma.datasets.layouts.mapped_masks import MappedMasks
from glaucoma.datasets.layouts.mapped_table import MappedTable
from glaucoma.datasets.layouts.mapping import HOW_TO, PLACES, LayoutMapping
from glaucoma.datasets.layouts.patterns import Pattern, accept_known
from glaucoma.datasets.layouts.stated import stated_numbers
from glaucoma.datasets.layouts.words import eye_of, label_of, split_of
from glaucoma.datasets.tree import Tree
from glaucoma.errors import LayoutError
from glaucoma.schema import Column, Eye, Label, Split

NAME: Final = "mapped"
_COLUMN_OF: Final = {
    "label": Column.LABEL,
    "patient": Column.PATIENT_ID,
    "eye": Column.EYE,
    "site": Column.SITE,
    "split": Column.SPLIT,
}
_SHOWN = 8

_Photograph = tuple[PurePosixPath, dict[str, str]]
"""A photograph, and what the named places stand for in its path."""


class Mapped:
    """Photographs, labels, patients and masks as a mapping tells them; what it leaves out is set aside by name."""

    name = NAME
    generic = False
    looks_like = "whatever the setting mapping describes"

    def __init__(self, mapping: LayoutMapping) -> None:
        self._mapping = mapping
        self._labels = {word.casefold(): label for word, label in mapping.labels.items()}
        self._splits = {word.casefold(): split for word, split in mapping.splits.items()}

    def recognise(self, tree: Tree) -> str | None:
        """At least one image matches a pattern."""
        found = self._photographs(tree)
        if not found:
            return None
        return f"{len(found)} of {len(tree.images)} images match {' or '.join(self._mapping.images)}"

    def read(self, tree: Tree) -> list[SourceImage]:
        """The photographs that match; a table's value wins over a named place's, and that over a value for all.

        Raises:
            LayoutError: The mapping's table or a mask's pattern matches nothing, a heading is not there, two masks are
                of one photograph, or a word for a label, a split or an eye is not known.
        """
        photographs = self._photographs(tree)
        table = MappedTable.read(tree, self._mapping.table) if self._mapping.table else None
        masks = MappedMasks.read(tree, self._mapping.masks, photographs) if self._mapping.masks else None
        said = [self._said(path, places, table) for path, places in photographs]
        self._require_known(said, Column.LABEL, self._label, "labels: {%s: unknown}")
        self._require_known(said, Column.SPLIT, self._split, "splits: {%s: train}")
        _require_known_eyes(said)
        images = [
            self._image(path, cells, masks.of(path, places) if masks else None)
            for (path, places), cells in zip(photographs, said, strict=True)
        ]
        absent = table.without_photograph([path for path, _ in photographs]) if table else []
        return [*images, *(SourceImage(PurePosixPath(name)) for name in absent)]

    def _photographs(self, tree: Tree) -> list[_Photograph]:
        patterns = [Pattern.of(text, PLACES) for text in self._mapping.images]
        excluded = [Pattern.of(text, ()) for text in self._mapping.exclude]
        accept = accept_known(
            {"eye": lambda word: eye_of(word) is not Eye.UNKNOWN, "split": lambda word: self._split(word) is not None}
        )
        found = []
        for path in tree.images:
            if any(pattern.match(path) is not None for pattern in excluded):
                continue
            matches = (pattern.match(path, accept) for pattern in patterns)
            if (places := next((match for match in matches if match is not None), None)) is not None:
                found.append((path, places))
        return found

    def _said(self, path: PurePosixPath, places: Mapping[str, str], table: MappedTable | None) -> dict[Column, str]:
        """What is said of a photograph, by column; nothing for what is said of none."""
        mapping = self._mapping
        for_all = {Column.SITE: mapping.site, Column.LABEL: mapping.label or ""}
        by_place = {_COLUMN_OF[place]: word for place, word in places.items()}
        key = {**for_all, **by_place}
        cells = table.row_of(path, key.get(Column.PATIENT_ID, ""), key.get(Column.EYE, "")) if table else {}
        return {column: word for column, word in {**key, **cells}.items() if word}

    def _label(self, word: str) -> Label | None:
        return self._labels.get(word.casefold()) or label_of(word)

    def _split(self, word: str) -> Split | None:
        return self._splits.get(word.casefold()) or split_of(word)

    def _require_known(
        self,
        said: Sequence[Mapping[Column, str]],
        column: Column,
        meaning: Callable[[str], object | None],
        hint: str,
    ) -> None:
        words = Counter(cells[column] for cells in said if column in cells)
        unknown = [word for word in sorted(words) if meaning(word) is None and word != Label.UNKNOWN]
        if unknown:
            shown = ", ".join(f"{word!r} ({words[word]} photographs)" for word in unknown[:_SHOWN])
            raise LayoutError(
                f"The mapping does not say what these words for the {column} mean: {shown}",
                expected=f"each word in the mapping's {column}s, or one of the usual words",
                consequence="Nothing was guessed and the dataset was not made",
                remedy=f"add them, as in {hint % unknown[0]} ({HOW_TO})",
            )

    def _image(self, path: PurePosixPath, said: Mapping[Column, str], mask: SourceMask | None) -> SourceImage:
        word = said.get(Column.LABEL, "")
        return SourceImage(
            path,
            label=(self._label(word) if word else None) or Label.UNKNOWN,
            source_label=word,
            patient_id=said.get(Column.PATIENT_ID, ""),
            eye=eye_of(said.get(Column.EYE, "")),
            site=said.get(Column.SITE, ""),
            split=self._split(said[Column.SPLIT]) if Column.SPLIT in said else None,
            mask=mask,
            part=self._mapping.stereo_half,
            origin=self._mapping.origin,
            stated_quality=said.get(Column.STATED_QUALITY, ""),
            **stated_numbers(said),
        )


def _require_known_eyes(said: Sequence[Mapping[Column, str]]) -> None:
    words = Counter(cells[Column.EYE] for cells in said if Column.EYE in cells)
    unknown = [word for word in sorted(words) if eye_of(word) is Eye.UNKNOWN and word.casefold() != "unknown"]
    if unknown:
        shown = ", ".join(f"{word!r} ({words[word]} photographs)" for word in unknown[:_SHOWN])
        raise LayoutError(
            f"These words for the eye have no meaning: {shown}",
            expected="OD, OS, right, left, R or L; unknown or nothing where nobody knows",
            consequence="Nothing was guessed and the dataset was not made",
            remedy=f"correct the table, or leave the eye out of the mapping ({HOW_TO})",
        )
