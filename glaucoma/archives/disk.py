"""A full disk while writing, told apart from other I/O errors."""

from __future__ import annotations

import contextlib
import errno
import shutil
from collections.abc import Iterator
from pathlib import Path

from glaucoma.errors import DiskSpaceError


@contextlib.contextmanager
def full_disk_named(folder: Path, what: str) -> Iterator[None]:
    """Turns "no space left" and "quota exceeded" inside the block into `DiskSpaceError`; other errors pass."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        free = shutil.disk_usage(folder).free if folder.exists() else 0
        raise DiskSpaceError(
            f"The disk or the quota at {folder} filled up while {what} ({free / 1e9:.2f} GB free now)",
            consequence="What was written is removed",
            remedy="free some space there, or name another place with --workspace or ARC_WORKSPACE",
        ) from error
