"""What can go wrong, said once: each message holds what was found, what was expected, and the remedy."""

from __future__ import annotations

from typing import ClassVar

from pydantic import ValidationError

_SHOWN_PROBLEMS = 3
_SHOWN_CHARACTERS = 200


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


class GpuMemoryError(TrainingError):
    """The GPU's memory does not hold a step of the training; the same batch size would end the same way."""


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


def is_outside_cause(error: BaseException) -> bool:
    """True where an error says nothing of the work itself: what can pass, a full disk, damaged files, I/O.

    The same work may succeed once that has passed or is mended.
    """
    return isinstance(error, TransientError | DiskSpaceError | IntegrityError | OSError)


def shown_bytes(count: float) -> str:
    """`count` with three digits and the unit that suits it, in powers of 1000: `12 bytes`, `4.5 kB`, `730 MB`."""
    if count < 1000:
        return f"{int(count)} bytes"
    for unit in ("kB", "MB", "GB", "TB"):
        count /= 1000
        if count < 999.5 or unit == "TB":
            break
    return f"{count:.0f} {unit}" if count >= 100 else f"{count:.3g} {unit}"


def problems(error: BaseException) -> str:
    """What a parser or a check says, in one line: of a long list of problems the first three, each with its field."""
    if not isinstance(error, ValidationError):
        return _cut(" ".join(str(error).split()) or type(error).__name__)
    found = error.errors(include_url=False, include_context=False, include_input=False)
    lines = [": ".join(filter(None, (".".join(map(str, one["loc"])), _cut(one["msg"])))) for one in found]
    more = f" and {len(lines) - _SHOWN_PROBLEMS} more" if len(lines) > _SHOWN_PROBLEMS else ""
    return "; ".join(lines[:_SHOWN_PROBLEMS]) + more


def _cut(text: str) -> str:
    return text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS].rstrip() + " ..."
