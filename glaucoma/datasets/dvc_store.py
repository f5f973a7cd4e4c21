"""DVC, called in one place: a folder's bytes go into DVC's cache and from there to the remote.

DVC works in the workspace's folder without Git. It leaves the folders that it stores as they are (no relinking), so a
killed process cannot take a file out of a dataset. Imported where a dataset is really stored.
"""

from __future__ import annotations

import fcntl
import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from glaucoma.datasets.dvc_errors import as_ours, one_line, quiet, translated
from glaucoma.datasets.remote import Remote
from glaucoma.provenance import remove_tree, write_bytes

REMOTE = "arc"
_ONLY_DATA = b"/*\n!/datasets\n!/prepared\n"
"""DVC walks the whole workspace for its own files; they lie in these two folders."""


class DvcStore:
    """The DVC repository in the workspace at `root`, with one remote.

    To be used by one process at a time (`register.lock` in the workspace). What a killed process left is put right
    here, when the store is opened.
    """

    def __init__(self, root: Path, remote: Remote, registered: Mapping[Path, str]) -> None:
        """Opens the store.

        Args:
            registered: Every registered folder, with DVC's hash of it; any other folder's `.dvc` file is a leftover.
        """
        self._root, self._remote = root, remote
        with quiet(), translated(f"DVC cannot set up {root}", remote):
            self._configure()
            self._free_dead_locks()
            self._put_right(registered)
        logging.getLogger("dvc").setLevel(logging.ERROR)  # DVC's import sets it lower; this silences its progress bars

    def add(self, folder: Path) -> str:
        """Takes `folder` into DVC's cache and writes `<folder>.dvc`; gives the folder's MD5 as DVC names it."""
        with quiet(), translated(f"DVC cannot take in {folder}", self._remote), self._repo() as repo:
            (stage,) = repo.add([str(folder)], relink=False)
            return str(stage.outs[0].hash_info.value)

    def push(self, folders: list[Path]) -> None:
        """Copies the stored folders to the remote.

        Raises:
            TransientError: The remote cannot be reached, or not all went through.
            SettingsError: The remote refuses.
        """
        what = f"DVC cannot push to the remote {self._remote}"
        with (
            quiet(),
            translated(what, self._remote, transient=True),
            _first_failure() as failures,
            self._repo() as repo,
        ):
            from dvc.exceptions import UploadError

            try:
                repo.push(targets=[str(dvc_file(folder)) for folder in folders], remote=REMOTE)
            except UploadError as error:  # says only how many files; why stands in DVC's log
                if not failures:
                    raise
                raise as_ours(f"{what} ({one_line(error)})", failures[0], self._remote, transient=True) from None

    def drop_cache(self) -> None:
        """Empties DVC's cache: worth doing once everything in it is in the remote."""
        remove_tree(self._root / ".dvc" / "cache")

    def _configure(self) -> None:
        """Writes DVC's settings by hand: its own `init` greets on stdout and writes outside the workspace.

        Only what may be read by everyone; keys are handed to DVC as it is opened and lie in no file.
        """
        from configobj import ConfigObj

        folder = self._root / ".dvc"
        folder.mkdir(exist_ok=True)
        # DVC would make it writable for everyone on the machine, and loads pickles from it.
        (folder / "site-cache").mkdir(mode=0o700, exist_ok=True)
        core = {"no_scm": True, "analytics": False, "check_update": False, "remote": REMOTE}
        settings = {
            "core": core | {"site_cache_dir": str(folder / "site-cache")},
            f'remote "{REMOTE}"': {"url": self._remote.url, "verify": True},
        }
        lines = ConfigObj(settings).write()
        _write_if_other(folder / "config", "".join(f"{line}\n" for line in lines).encode())
        _write_if_other(self._root / ".dvcignore", _ONLY_DATA)

    def _free_dead_locks(self) -> None:
        """Removes DVC's list of readers and writers where no DVC is at work here.

        DVC's own lock is the kernel's and ends with its holder. The list is a file: a killed process stays on it, which
        blocks everyone as soon as its number belongs to another process, and a half-written one is an error for good.
        """
        folder = self._root / ".dvc" / "tmp"
        folder.mkdir(exist_ok=True)
        with (folder / "lock").open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return  # a DVC that somebody runs by hand; it is waited for
            (folder / "rwlock").unlink(missing_ok=True)

    def _put_right(self, registered: Mapping[Path, str]) -> None:
        """Makes `<folder>.dvc` what the registry says; one damaged file stops every command of DVC's."""
        for path in [*self._root.glob("datasets/*/*.dvc"), *self._root.glob("prepared/*/*.dvc")]:
            if path.with_suffix("") not in registered:
                path.unlink()
        for folder, md5 in registered.items():
            if _stated_md5(dvc_file(folder)) != md5:
                write_bytes(dvc_file(folder), f"outs:\n- md5: {md5}\n  hash: md5\n  path: {folder.name}\n".encode())

    @contextmanager
    def _repo(self) -> Iterator[Any]:
        from dvc.repo import Repo

        with _no_settings_from_elsewhere(self._root / ".dvc"):
            repo = Repo(str(self._root), config={"remote": {REMOTE: self._remote.dvc_settings()}})
            _ = repo.config  # read now: it is kept
        with repo:
            yield repo


def dvc_file(folder: Path) -> Path:
    """The small file that stands for `folder` in DVC."""
    return folder.with_name(f"{folder.name}.dvc")


def _stated_md5(path: Path) -> str | None:
    """The hash in a `.dvc` file; None where there is no such file or it is damaged."""
    try:
        return str(yaml.safe_load(path.read_text(encoding="utf-8"))["outs"][0]["md5"])
    except (OSError, UnicodeDecodeError, yaml.YAMLError, LookupError, TypeError):
        return None


def _write_if_other(path: Path, content: bytes) -> None:
    if not path.is_file() or path.read_bytes() != content:
        write_bytes(path, content)


@contextmanager
def _no_settings_from_elsewhere(folder: Path) -> Iterator[None]:
    """A person's or a machine's own DVC settings (another cache, other remotes) must not reach into the workspace."""
    names = ("DVC_GLOBAL_CONFIG_DIR", "DVC_SYSTEM_CONFIG_DIR", "DVC_SITE_CACHE_DIR")
    before = {name: os.environ.get(name) for name in names}
    os.environ |= {names[0]: str(folder / "no-global"), names[1]: str(folder / "no-system")}
    os.environ.pop(names[2], None)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextmanager
def _first_failure() -> Iterator[list[BaseException]]:
    """Why single files did not go through: DVC writes it to its log only, one line a file."""
    failures: list[BaseException] = []

    def note(record: logging.LogRecord) -> bool:
        if record.exc_info and record.exc_info[1] is not None:
            del failures[1:]
            failures.append(record.exc_info[1])
            return False  # said once, by our own error
        return True

    logger = logging.getLogger("dvc_data.hashfile.transfer")
    logger.addFilter(note)
    try:
        yield failures
    finally:
        logger.removeFilter(note)
