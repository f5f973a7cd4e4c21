"""Which layout a tree follows: one special one, else one generic one; anything else is said and never guessed."""

from __future__ import annotations

from collections import Counter

from glaucoma.datasets import layouts
from glaucoma.datasets.layouts.base import Layout
from glaucoma.datasets.settings import AUTO
from glaucoma.datasets.tree import Tree
from glaucoma.errors import DatasetError, LayoutError

_HOW_TO = "docs/how-to/add-a-dataset-layout.md"


def choose_layout(tree: Tree, name: str) -> tuple[Layout, str]:
    """The layout of `tree`, and the evidence for it.

    A special layout that matches wins over the generic ones. With a name that layout is asked alone.

    Args:
        name: A layout's name, or `auto`.

    Raises:
        DatasetError: There is no image file at all.
        LayoutError: No layout matches, or more than one does; the message shows the files as they were seen.
    """
    if not tree.images:
        raise _no_images(tree)
    candidates = [layout for layout in layouts.LAYOUTS if name in (AUTO, layout.name)]
    matches = [(layout, evidence) for layout in candidates if (evidence := layout.recognise(tree)) is not None]
    special = [match for match in matches if not match[0].generic]
    matches = special or matches
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
        remedy=f"set layout to one of {', '.join(layout.name for layout, _ in matches)}",
    )


def _unknown(tree: Tree, asked: list[Layout], name: str) -> LayoutError:
    known = "; ".join(f"{layout.name}: {layout.looks_like}" for layout in asked)
    which = "no known layout" if name == AUTO else f"not the layout {name}"
    return LayoutError(
        f"The files follow {which}. As they were seen: {tree.shown()}",
        expected=known,
        consequence="Nothing was guessed and the dataset was not made",
        remedy=f"arrange the files in one of these ways, or add a layout ({_HOW_TO})",
    )
