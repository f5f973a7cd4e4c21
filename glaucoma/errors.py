"""What can go wrong, said once: each message holds what was found, what was expected, and the remedy."""

from __future__ import annotations

from typing import ClassVar


class ArcError(Exception):
    """The base of every error that ARC raises on purpose.

    Args:
        found: What was seen, with the name of the file, column or setting concerned.
        expected: What would have been right.
        consequence: What was not done because of it.
        remedy: What the reader can do now.
    """

    exit_code: ClassVar[int] = 1
    retryable: ClassVar[bool] = False

    def __init__(self, found: str, *, expected: str = "", consequence: str = "", remedy: str = "") -> None:
        self.found = found
        parts = [found.rstrip(".") + "."]
        if expected:
            parts.append(f"Expected: {expected.rstrip('.')}.")
        if consequence:
            parts.append(consequence.rstrip(".") + ".")
        if remedy:
            parts.append(f"Remedy: {remedy.rstrip('.')}.")
        super().__init__(" ".join(parts))


class InputError(ArcError):
    """The data or the settings are wrong; running again changes nothing."""

    exit_code = 2


class SettingsError(InputError):
    """A setting is unknown, out of bounds, or contradicts another."""


class ArchiveError(InputError):
    """The archive is missing, damaged, hostile, encrypted or no archive at all."""


class LayoutError(InputError):
    """The unpacked files follow no known dataset layout, or more than one."""


class DatasetError(InputError):
    """The dataset is recognised but cannot serve: one class only, too few patients, too many unreadable images."""


class LeakageError(DatasetError):
    """A patient, or one and the same photograph, stands on both sides of a split."""


class ValidationFailedError(DatasetError):
    """Critical checks failed; the message lists all of them."""


class UnknownModelError(InputError):
    """No model of that name; the message gives the nearest known ones."""


class WeightsUnavailableError(InputError):
    """Pretrained weights are neither in the named file nor in the local cache, and cannot be fetched."""


class NotFoundError(InputError):
    """A dataset, experiment or cycle of that name is not in the workspace."""


class IntegrityError(ArcError):
    """Stored bytes differ from their recorded hash."""


class DiskSpaceError(ArcError):
    """Too little free disk space for what the stage would write."""


class TrainingError(ArcError):
    """Training ended without a model for a reason that another attempt would meet again (divergence, bad data)."""


class TransientError(ArcError):
    """Something that can pass: a lost process, a time limit, a CUDA error, an unreachable remote."""

    retryable = True


def is_retryable(error: BaseException) -> bool:
    """True for what another attempt may survive: transient errors, and I/O errors but for a full or read-only disk."""
    import errno

    if isinstance(error, ArcError):
        return error.retryable
    if isinstance(error, OSError):
        permanent = {errno.ENOSPC, errno.EROFS, errno.EACCES, errno.ENOENT, errno.EDQUOT, errno.ENOTDIR, errno.EISDIR}
        return error.errno not in permanent
    return isinstance(error, TimeoutError)
