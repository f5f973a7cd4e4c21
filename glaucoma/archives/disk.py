"""Too little disk space: asked for before writing, and told apart from other I/O errors while writing."""

from __future__ import annotations

import contextlib
import errno
import shutil
from collections.abc import Iterator
from pathlib import Path

from glaucoma.errors import DiskSpaceError, shown_bytes

_MARGIN = 1.1
"""A file system needs more than the bytes of its files."""
_REMEDY = "free some space there, or name another place with --workspace or ARC_WORKSPACE"


def require_space(folder: Path, needed_bytes: int, what: str, final: Path) -> None:
    """`DiskSpaceError` unless `needed_bytes` and a tenth more are free where `folder` lies.

    Args:
        final: The place to name in the message, where `folder` is a hidden one on the way to it.
    """
    free = shutil.disk_usage(folder).free
    if free < needed_bytes * _MARGIN:
        raise DiskSpaceError(
            f"{shown_bytes(free)} free at {final}",
            expected=f"at least {shown_bytes(needed_bytes * _MARGIN)} for {what}",
            consequence="Nothing was written",
            remedy=_REMEDY,
        )


@contextlib.contextmanager
def full_disk_named(folder: Path, what: str) -> Iterator[None]:
    """Turns "no space left" and "quota exceeded" inside the block into `DiskSpaceError`; other errors pass.

    Args:
        folder: The place to name in the message: one that is still there afterwards.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        free = shutil.disk_usage(folder).free if folder.exists() else 0
        raise DiskSpaceError(
            f"The disk or the quota at {folder} filled up while {what} ({shown_bytes(free)} free now)",
            consequence="What was written is removed",
            remedy=_REMEDY,
        ) from error
