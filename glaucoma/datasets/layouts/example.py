"""A first mapping for files that follow no known layout, made from what was seen: people complete it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any, Final

import yaml

from glaucoma.datasets.layouts.mapping import PLACES
from glaucoma.datasets.layouts.patterns import Pattern, accept_known
from glaucoma.datasets.layouts.sheets import Sheet, readable_sheets
from glaucoma.datasets.layouts.tables import columns_in
from glaucoma.datasets.layouts.words import eye_of, label_of
from glaucoma.datasets.masks import read_grey
from glaucoma.datasets.tree import Tree, stem_key
from glaucoma.errors import DatasetError
from glaucoma.schema import Column, Eye, Label

_FEW: Final = 6
"""So many folders or words may be classes."""
_HEADER_ROWS: Final = 6
_NAMES: Final = ("{patient}_{eye}", "{patient}-{eye}", "{patient}_{eye}_*", "{patient}-{eye}-*")


def example_mapping(tree: Tree) -> str:
    """A mapping for `tree` on one line of YAML, complete as far as names tell; `unknown` stands where they do not."""
    folders: dict[PurePosixPath, list[PurePosixPath]] = {}
    for path in tree.images:
        folders.setdefault(path.parent, []).append(path)
    main = min(folders, key=lambda folder: (-len(folders[folder]), str(folder)))
    photographs = folders[main]
    mapping: dict[str, Any] = {"images": _pattern(photographs, _tail(main.parts))}
    siblings = {folder: files for folder, files in folders.items() if folder.parent == main.parent and folder != main}
    if len(siblings) >= _FEW:  # too many for classes: a folder a patient, or a visit
        everywhere = [*photographs, *(path for files in siblings.values() for path in files)]
        by_name = "{patient}" in _pattern(everywhere, "")
        mapping["images"] = _pattern(everywhere, "*" if by_name else "{patient}")
    masks = _mask_folder(tree, photographs, siblings)
    table = _table(tree, photographs)
    if table:
        mapping |= table
    elif siblings and not masks and len(siblings) < _FEW:
        mapping["images"] = _pattern(photographs, "{label}")
        mapping["labels"] = {folder.name: _meaning(folder.name) for folder in sorted([main, *siblings])}
    if masks:
        mapping["masks"] = {"file": f"{_plain(masks.parent.name)}/{{stem}}{masks.suffix}"}
    return yaml.safe_dump(mapping, default_flow_style=True, width=10**9, sort_keys=False).strip()


def _pattern(photographs: Sequence[PurePosixPath], folder: str) -> str:
    """A pattern of all of them, with patient and eye where every name holds both: what is lost here is a leak later."""
    endings = {path.suffix.lower() for path in photographs}
    ending = endings.pop() if len(endings) == 1 else ".*"
    names = (name for name in _NAMES if all(_matches(name + ending, path) for path in photographs))
    name = next(names, "*") + ending
    return f"{folder}/{name}" if folder else name


def _matches(pattern: str, path: PurePosixPath) -> bool:
    accept = accept_known({"eye": lambda word: eye_of(word) is not Eye.UNKNOWN})
    return Pattern.of(pattern, PLACES).match(PurePosixPath(path.name), accept) is not None


def _tail(parts: Sequence[str]) -> str:
    return _plain(parts[-1]) if parts else ""


def _plain(name: str) -> str:
    """A name as a pattern that matches it: what would have a meaning there becomes a star."""
    return "".join("*" if letter in "{}*" else letter for letter in name)


def _meaning(word: str) -> str:
    return str(label_of(word) or Label.UNKNOWN)


def _mask_folder(
    tree: Tree, photographs: Sequence[PurePosixPath], siblings: Mapping[PurePosixPath, Sequence[PurePosixPath]]
) -> PurePosixPath | None:
    """A file of a folder beside, most of whose files are called as photographs are and are grey; None without one."""
    names = {stem_key(path) for path in photographs}
    for _, files in sorted(siblings.items()):
        if 2 * sum(stem_key(path) in names for path in files) > len(files) and _is_grey(tree, files[0]):
            return files[0]
    return None


def _is_grey(tree: Tree, path: PurePosixPath) -> bool:
    """Opens the one file that decides: photographs of two classes may have the same names, too."""
    try:
        return read_grey(tree.full(path)).size > 0
    except DatasetError:
        return False


def _table(tree: Tree, photographs: Sequence[PurePosixPath]) -> dict[str, Any]:
    """The first table that names photographs, the column that does so, and one of few words beside it."""
    names = {stem_key(path) for path in photographs}
    for sheet in readable_sheets(tree):
        for number, header in enumerate(sheet.rows[:_HEADER_ROWS]):
            rows = sheet.rows[number + 1 :]
            for place, heading in enumerate(header):
                cells = [row[place] for row in rows if place < len(row)]
                if heading and 2 * len(names & {stem_key(cell) for cell in cells}) > len(names):
                    return _described(sheet, header, rows, place)
    return {}


def _described(sheet: Sheet, header: Sequence[str], rows: Sequence[Sequence[str]], image: int) -> dict[str, Any]:
    columns = {"image": header[image]}
    found: dict[str, Any] = {"table": {"file": _plain(sheet.path.name), "columns": columns}}
    known = columns_in(header)
    if known.get(Column.PATIENT_ID, image) != image:
        columns["patient"] = header[known[Column.PATIENT_ID]]
    few = {
        place: words
        for place, heading in enumerate(header)
        if heading
        and place not in (image, known.get(Column.PATIENT_ID))
        and 1 < len(words := {row[place] for row in rows if place < len(row) and row[place]}) <= _FEW
    }
    eye = next((place for place, words in few.items() if all(eye_of(word) is not Eye.UNKNOWN for word in words)), None)
    if eye is not None:
        columns["eye"] = header[eye]
        del few[eye]
    label = known.get(Column.LABEL)
    if few:
        place = label if label is not None and label in few else min(few)
        columns["label"] = header[place]
        found["labels"] = {word: _meaning(word) for word in sorted(few[place])}
    return found
