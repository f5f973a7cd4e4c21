"""What a disk's error means to a training: full, not writable, or something that can pass."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

from glaucoma.errors import ArcError, DiskSpaceError, InputError, problems, shown_bytes
from glaucoma.training.exits import Exit, exit_of_storage


@contextlib.contextmanager
def storage_errors_told(folder: Path, root: Path) -> Iterator[None]:
    """Raises what says that the disk is full or `root` cannot be written as the error for it, all others as they are.

    Args:
        folder: Of the experiment that is concerned.
        root: The workspace's folder.
    """
    try:
        yield
    except OSError as error:
        code = exit_of_storage(error, root)
        if code is None:
            raise
        raise storage_error(code, folder, problems(error)) from error


def storage_error(code: Exit, folder: Path, seen: str = "") -> ArcError:
    """The error of a training whose folder is full (`DISK_FULL`) or cannot be written (`NOT_WRITABLE`)."""
    detail = f" ({seen})" if seen else ""
    if code is Exit.NOT_WRITABLE:
        return InputError(
            f"The experiment's folder {folder} cannot be written{detail}",
            expected="a folder that this user may write, on a disk that is not read-only",
            consequence="Nothing was trained; what is there is kept",
            remedy="mount it for writing or correct its owner and mode, then start it again: it resumes",
        )
    return DiskSpaceError(
        f"The disk or the quota at {folder} filled up while {folder.name} was trained "
        f"({_free(folder)} free now){detail}",
        consequence="Its last checkpoint is kept",
        remedy="free some space there and start it again: it resumes",
    )


def _free(folder: Path) -> str:
    place = folder
    while not place.exists() and place != place.parent:
        place = place.parent
    return shown_bytes(shutil.disk_usage(place).free)
