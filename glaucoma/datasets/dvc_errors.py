"""What DVC and the S3 libraries raise, as errors of ours: a full disk, a lost connection, keys that are refused."""

from __future__ import annotations

import errno
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from glaucoma.datasets.remote import Remote
from glaucoma.errors import ArcError, DiskSpaceError, IntegrityError, SettingsError, TransientError

_CHECK = "check remote_url, or the address and the keys in the block, and that they may read and write there"


@contextmanager
def quiet() -> Iterator[None]:
    """Keeps DVC's own deprecation warnings, about what it uses inside, off the terminal. For one thread at a time."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        yield


@contextmanager
def translated(what: str, remote: Remote, *, transient: bool = False) -> Iterator[None]:
    """Raises what happens inside as one of our errors, without the remote's credentials.

    Args:
        what: Begins the message: what could not be done.
        transient: Whether an error of DVC's that says no more is worth another attempt.
    """
    from dvc.exceptions import DvcException

    try:
        yield
    except ArcError:
        raise
    except (OSError, ImportError, DvcException, *_boto_errors()) as error:
        # Not "from error": a traceback would show what the libraries say, and they may quote keys.
        raise as_ours(what, error, remote, transient=transient) from None


def as_ours(what: str, error: BaseException, remote: Remote, *, transient: bool = False) -> ArcError:
    """The error of ours that `error` stands for."""
    from dvc.config import ConfigError
    from dvc.lock import LockError
    from dvc_objects.fs.errors import RemoteMissingDepsError

    said = f"{what}: {remote.redact(one_line(error))}"
    if isinstance(error, LockError):
        return TransientError(f"{said}; another process works with DVC here")
    if isinstance(error, (ConfigError, RemoteMissingDepsError, ImportError)):  # a kind of remote that needs a package
        return SettingsError(said, remedy=_CHECK)
    if isinstance(error, _boto_errors()):
        return _from_boto(said, error)
    if isinstance(error, OSError):
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return DiskSpaceError(said, remedy="free some space")
        if remote.is_s3 and isinstance(error, PermissionError | FileNotFoundError):  # s3fs says 403 and 404 so
            return SettingsError(f"{said} ({remote})", remedy=_CHECK)
        return TransientError(said, remedy="check the remote and try again")
    return (TransientError if transient else IntegrityError)(said)


def _boto_errors() -> tuple[type[Exception], ...]:
    from botocore.exceptions import BotoCoreError, ClientError

    return BotoCoreError, ClientError


def _from_boto(said: str, error: BaseException) -> ArcError:
    """S3's own errors: what the service refuses is a matter of settings, what it does not answer can pass."""
    from botocore.exceptions import ClientError, HTTPClientError
    from botocore.exceptions import ConnectionError as BotoConnectionError

    if isinstance(error, ClientError):
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        if status < 500 and status != 429:
            return SettingsError(said, remedy=_CHECK)
        return TransientError(said, remedy="try again later")
    if isinstance(error, (HTTPClientError, BotoConnectionError)):
        return TransientError(said, remedy="check the network and the endpoint's address, and try again")
    return SettingsError(said, remedy=_CHECK)


def one_line(error: BaseException) -> str:
    """What an error says, on one line of at most 300 characters."""
    return " ".join(str(error).split())[:300] or type(error).__name__
