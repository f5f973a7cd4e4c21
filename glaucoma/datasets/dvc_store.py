"""DVC, called in one place: a folder's bytes go to the remote and come back, each object checked by its hash.

DVC works in the workspace's folder without Git. It leaves the folders that it stores as they are (no relinking), so a
killed process cannot take a file out of a dataset. Imported where a dataset is really stored or fetched.
"""

from __future__ import annotations

import errno
import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from glaucoma.errors import ArcError, DiskSpaceError, IntegrityError, SettingsError, TransientError
from glaucoma.provenance import remove_tree, write_bytes

REMOTE = "arc"

_IGNORED = ("/archives", "/cycles", "/experiments", "/registry", "/validations", "/weights", "/dvc-remote", "/.locks")
"""DVC walks the whole workspace for its own files; these folders can be large and hold none."""


class DvcStore:
    """The DVC repository in the workspace at `root`, with one remote."""

    def __init__(self, root: Path, remote_url: str) -> None:
        os.environ["DVC_NO_ANALYTICS"] = "1"
        self._root = root
        with _translated(f"DVC cannot set up {root}"):
            self._configure(remote_url)
        logging.getLogger("dvc").setLevel(logging.ERROR)  # DVC's import sets it lower; this silences its progress bars

    def add(self, folder: Path) -> str:
        """Takes `folder` into DVC's cache and writes `<folder>.dvc`; gives the folder's MD5 as DVC names it."""
        with _translated(f"DVC cannot take in {folder}"), self._repo() as repo:
            (stage,) = repo.add([str(folder)], relink=False)
            return str(stage.outs[0].hash_info.value)

    def push(self, folders: list[Path]) -> None:
        """Copies the stored folders to the remote; `TransientError` where it cannot be reached."""
        with _translated("DVC cannot push to the remote", transient=True), self._repo() as repo:
            repo.push(targets=[str(dvc_file(folder)) for folder in folders], remote=REMOTE)

    def pull(self, folder: Path) -> None:
        """Brings `folder` back; `IntegrityError` where an object in the remote is missing or damaged."""
        with _translated("DVC cannot pull from the remote", transient=True), self._repo() as repo:
            from dvc.exceptions import CheckoutError

            try:
                repo.pull(targets=[str(dvc_file(folder))], remote=REMOTE, force=True)
            except CheckoutError as error:
                raise IntegrityError(
                    f"The remote's copy of {folder.name} is damaged or incomplete ({_one_line(error)})",
                    consequence="The dataset was not restored",
                    remedy="restore it from another copy, or make it again from the archive",
                ) from error

    def drop_cache(self) -> None:
        """Empties DVC's cache: worth doing once everything in it is in the remote."""
        remove_tree(self._root / ".dvc" / "cache")

    def _configure(self, remote_url: str) -> None:
        """Writes DVC's settings by hand: its own `init` greets on stdout and writes outside the workspace."""
        from dvc.config import Config

        folder = self._root / ".dvc"
        if not (folder / "config").is_file():
            folder.mkdir(exist_ok=True)
            Config.init(str(folder))
            write_bytes(self._root / ".dvcignore", "".join(f"{line}\n" for line in _IGNORED).encode())
        with Config(str(folder), validate=False).edit("repo") as config:
            config["core"] |= {"no_scm": True, "analytics": False, "check_update": False, "remote": REMOTE}
            config["core"]["site_cache_dir"] = str(folder / "site-cache")
        # The URL may hold a password, so it goes where DVC keeps what is not shared. Without verify, a flipped bit in
        # the remote is pulled without a word.
        local = folder / "config.local"
        local.touch(mode=0o600)
        with Config(str(folder), validate=False).edit("local") as config:
            config["remote"][REMOTE] = {"url": remote_url, "verify": True}

    @contextmanager
    def _repo(self) -> Iterator[Any]:
        from dvc.repo import Repo

        with Repo(str(self._root)) as repo:
            yield repo


def dvc_file(folder: Path) -> Path:
    """The small file that stands for `folder` in DVC."""
    return folder.with_name(f"{folder.name}.dvc")


@contextmanager
def _translated(what: str, *, transient: bool = False) -> Iterator[None]:
    """DVC's many exceptions as ours: a full disk, a lock held by another, a wrong remote, a lost connection."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # DVC's own, about what it uses inside
        from dvc.config import ConfigError
        from dvc.exceptions import DvcException
        from dvc.lock import LockError
        from dvc_objects.fs.errors import RemoteMissingDepsError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            yield
    except ArcError:
        raise
    except LockError as error:
        raise TransientError(f"{what}: another process holds its lock ({_one_line(error)})") from error
    except (ConfigError, RemoteMissingDepsError) as error:
        raise SettingsError(f"{what}: {_one_line(error)}", remedy="check register.remote_url") from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskSpaceError(f"{what}: {_one_line(error)}", remedy="free some space") from error
        raise TransientError(f"{what}: {_one_line(error)}", remedy="check the remote and try again") from error
    except DvcException as error:
        kind = TransientError if transient else IntegrityError
        raise kind(f"{what}: {_one_line(error)}") from error


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300]
