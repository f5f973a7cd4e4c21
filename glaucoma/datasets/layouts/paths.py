"""What the folders above a file say of it: its class and its split."""

from __future__ import annotations

from pathlib import PurePosixPath

from glaucoma.datasets.layouts.words import is_mask_folder, label_of, split_of
from glaucoma.schema import Label, Split


def class_of(path: PurePosixPath) -> tuple[Label | None, str]:
    """Label and folder name of the innermost folder named for a class; none for a file inside a folder of masks."""
    for folder in reversed(path.parent.parts):
        if is_mask_folder(folder):
            return None, ""
        if (label := label_of(folder, folder=True)) is not None:
            return label, folder
    return None, ""


def split_in(path: PurePosixPath) -> Split | None:
    """The split of the innermost folder named for one."""
    found = (split_of(folder) for folder in reversed(path.parent.parts))
    return next((split for split in found if split is not None), None)
