"""What the exit code of a training process means: one number for each way that it can end by itself."""

from __future__ import annotations

import errno
from enum import IntEnum
from pathlib import Path

from glaucoma.errors import ArcError, DiskSpaceError, GpuMemoryError, InputError, SettingsError

ERROR_FILE = "error.json"
"""In `logs/`: the error that a training process has to tell; `error-<rank>.json` of ranks after the first."""

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_LOCKED = (errno.EROFS, errno.EACCES, errno.EPERM)


class Exit(IntEnum):
    """Exit codes of `python -m glaucoma.training.child`. Any other, and any signal, means that the process was lost."""

    COMPLETE = 0
    """The model is there. Without one it counts as lost."""
    INPUT = 2
    """Wrong data, model or weights; told in `ERROR_FILE`."""
    TOLD = 3
    """Another error that has a name; told in `ERROR_FILE`."""
    DISK_FULL = 4
    """The disk, the quota or the limit of a file's size is reached, so that nothing can be told."""
    SETTING_REFUSED = 5
    """A setting that cannot work here or with another; told in `ERROR_FILE`."""
    MEMORY = 6
    """A step does not fit the memory; told in `ERROR_FILE`. Another attempt with fewer images at once may fit."""
    NOT_WRITABLE = 7
    """The experiment's folder cannot be written, so that nothing can be told."""
    STOPPED = 75
    """Asked to stop, and saved."""
    STOPPED_UNSAVED = 76
    """Asked to stop at once; what was learned after the last checkpoint is learned again."""


STOPPED = (Exit.STOPPED, Exit.STOPPED_UNSAVED)
TOLD = (Exit.INPUT, Exit.TOLD, Exit.SETTING_REFUSED, Exit.MEMORY)
NAMED = (*TOLD, Exit.DISK_FULL, Exit.NOT_WRITABLE)
"""Those with a cause of their own; where several processes end, a cause is told before what it caused."""


def exit_of(error: ArcError) -> Exit:
    """The exit code that tells `error`."""
    kinds = (
        (SettingsError, Exit.SETTING_REFUSED),
        (InputError, Exit.INPUT),
        (GpuMemoryError, Exit.MEMORY),
        (DiskSpaceError, Exit.DISK_FULL),
    )
    return next((code for kind, code in kinds if isinstance(error, kind)), Exit.TOLD)


def exit_of_storage(error: OSError, root: Path) -> Exit | None:
    """The exit code for a full disk, or for a file below `root` that may not be written; None for any other error."""
    if error.errno in _FULL:
        return Exit.DISK_FULL
    names = [name for name in (error.filename, error.filename2) if isinstance(name, str | Path)]
    below = any(Path(name).is_relative_to(root) for name in names)
    return Exit.NOT_WRITABLE if error.errno in _LOCKED and below else None
