"""Which layout a tree follows: one special one, else one generic one; anything else is said and never guessed."""

from __future__ import annotations

from collections import Counter

from glaucoma.datasets import layouts
from glaucoma.datasets.layouts.base import Layout
from glaucoma.datasets.layouts.example import example_mapping
from glaucoma.datasets.layouts.mapped import Mapped
from glaucoma.datasets.layouts.mapping import LayoutMapping
from glaucoma.datasets.layouts.unlabelled import NAME as UNLABELLED
from glaucoma.datasets.settings import AUTO
from glaucoma.datasets.tree import Tree
from glaucoma.errors import DatasetError, LayoutError

_HOW_TO = "docs/how-to/add-a-dataset-layout.md"
_MAPPING = "docs/how-to/describe-your-own-layout.md"


def choose_layout(tree: Tree, name: str, mapping: LayoutMapping | None = None) -> tuple[Layout, str]:
    """The layout of `tree`, and the evidence for it.

    A special layout that matches wins over the generic ones, which are then not asked. With a name that layout is asked
    alone; a mapping is the layout.

    Args:
        name: A layout's name, or `auto`.
        mapping: What the setting `mapping` describes.

    Raises:
        DatasetError: There is no image file at all.
        LayoutError: No layout matches, or more than one does; the message shows the files as they were seen.
    """
    if not tree.images:
        raise _no_images(tree)
    if mapping is not None:
        return _mapped(tree, mapping)
    everywhere = [*layouts.LAYOUTS, *(layout for layout in layouts.ON_REQUEST if layout.name == name)]
    candidates = [layout for layout in everywhere if name in (AUTO, layout.name)]
    matches: list[tuple[Layout, str]] = []
    for generic in (False, True):
        asked = [layout for layout in candidates if layout.generic is generic]
        matches = matches or [(layout, said) for layout in asked if (said := layout.recognise(tree)) is not None]
    if len(matches) == 1:
        return matches[0]
    if matches:
        raise _ambiguous(tree, matches)
    raise _unknown(tree, candidates, name)


def _no_images(tree: Tree) -> DatasetError:
    endings = Counter(path.suffix.lower() or "(no ending)" for path in tree.files)
    archives = sum(endings[ending] for ending in (".zip", ".tar", ".gz", ".tgz", ".rar", ".7z"))
    seen = ", ".join(f"{count} {ending}" for ending, count in endings.most_common(8)) or "nothing"
    return DatasetError(
        f"The archive holds no photographs, only {seen}",
        expected="image files (.jpg, .png, .bmp, .tif, ..)",
        consequence="The dataset was not made",
        remedy="unpack the archives inside it and pack their files" if archives else "check what was packed",
    )


def _ambiguous(tree: Tree, matches: list[tuple[Layout, str]]) -> LayoutError:
    each = "; ".join(f"{layout.name} ({evidence})" for layout, evidence in matches)
    return LayoutError(
        f"The files follow {len(matches)} layouts: {each}. As they were seen: {tree.shown()}",
        expected="one",
        consequence="Nothing was guessed and the dataset was not made",
        remedy=f"set layout to one of {', '.join(layout.name for layout, _ in matches)}, or describe the files in a "
        f"mapping ({_MAPPING})",
    )


def _mapped(tree: Tree, mapping: LayoutMapping) -> tuple[Layout, str]:
    layout = Mapped(mapping)
    evidence = layout.recognise(tree)
    if evidence is None:
        raise LayoutError(
            f"No image matches the mapping's images {' or '.join(mapping.images)}. As they were seen: {tree.shown()}",
            expected="a pattern that the end of a path matches, such as photos/{patient}_{eye}.jpg",
            consequence="The dataset was not made",
            remedy=f"correct the pattern ({_MAPPING}); to begin with: {example_mapping(tree)}",
        )
    return layout, evidence


def _unknown(tree: Tree, asked: list[Layout], name: str) -> LayoutError:
    generic = [layout for layout in asked if layout.generic or len(asked) == 1]
    special = ", ".join(layout.name for layout in asked if layout not in generic)
    known = "; ".join(f"{layout.name}: {layout.looks_like}" for layout in generic)
    known = f"a public dataset's own files ({special}), or {known}" if special else known
    which = "no known layout" if name == AUTO else f"not the layout {name}"
    return LayoutError(
        f"The files follow {which}. As they were seen: {tree.shown()}",
        expected=known,
        consequence="Nothing was guessed and the dataset was not made",
        remedy="write what they are into a YAML file and name it with the setting mapping (--normalize.mapping); made "
        f"from what was seen, to be completed: {example_mapping(tree)} ({_MAPPING}). For photographs without labels or "
        f"masks set layout to {UNLABELLED}. Or arrange the files in one of these ways, or add a layout ({_HOW_TO})",
    )
