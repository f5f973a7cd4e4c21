"""Files of our own in a remote, beside DVC's objects: by name, written whole or not at all, read back as hashes."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path
from typing import Any

from glaucoma.datasets.dvc_errors import quiet, translated
from glaucoma.datasets.remote import Remote
from glaucoma.datasets.remote_objects import opened
from glaucoma.provenance import file_sha256, sync_folder

_LOCAL = "local"
_CHUNK_BYTES = 8 * 2**20


class RemoteFiles:
    """The files below one folder of a remote. Names are the caller's own, never a stranger's."""

    def __init__(self, remote: Remote, folder: str) -> None:
        """Opens the remote.

        Raises:
            SettingsError: It refuses, or there is no such bucket.
            TransientError: It cannot be reached, within a few seconds.
        """
        self._remote = remote
        with quiet(), translated(f"The remote {remote} cannot be opened", remote, transient=True):
            self._fs: Any
            self._fs, path = opened(remote)
            self._base = self._fs.join(path, *folder.split("/"))

    def read(self, name: str, limit_bytes: int) -> bytes | None:
        """The first `limit_bytes` of a file; None where it is not there."""
        with translated(f"{name} at {self._remote} cannot be read", self._remote, transient=True):
            try:
                with self._fs.open(self._path(name), "rb") as handle:
                    content: bytes = handle.read(limit_bytes)
            except FileNotFoundError:
                return None
            return content

    def write(self, name: str, content: bytes) -> None:
        """Puts a small file in place."""
        with translated(f"{name} cannot be written to {self._remote}", self._remote, transient=True):
            if self._fs.protocol != _LOCAL:
                self._fs.pipe_file(self._path(name), content)
                return
            with _beside(Path(self._path(name))) as temporary:
                temporary.write_bytes(content)

    def send(self, source: Path, name: str) -> None:
        """Copies a file there."""
        with translated(f"{name} cannot be sent to {self._remote}", self._remote, transient=True):
            if self._fs.protocol != _LOCAL:
                self._fs.put_file(str(source), self._path(name))
                return
            with _beside(Path(self._path(name))) as temporary:
                shutil.copyfile(source, temporary)

    def sha256(self, name: str) -> str | None:
        """SHA-256 of a file's bytes, all of which are read; None where it is not there."""
        with translated(f"{name} at {self._remote} cannot be read", self._remote, transient=True):
            hasher = hashlib.sha256()
            try:
                with self._fs.open(self._path(name), "rb") as handle:
                    while chunk := handle.read(_CHUNK_BYTES):
                        hasher.update(chunk)
            except FileNotFoundError:
                return None
            return hasher.hexdigest()

    def fetch(self, name: str, target: Path) -> str | None:
        """Copies a file to `target` and gives the SHA-256 of what is there now; None where there is no such file."""
        with translated(f"{name} at {self._remote} cannot be fetched", self._remote, transient=True):
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                if self._fs.protocol == _LOCAL:
                    shutil.copyfile(self._path(name), target)
                else:
                    self._fs.get_file(self._path(name), str(target))
            except FileNotFoundError:
                return None
            return file_sha256(target)

    def _path(self, name: str) -> str:
        return str(self._fs.join(self._base, *name.split("/")))


class _beside:  # noqa: N801  a context, used like one
    """A temporary name beside a file on this machine, which takes the file's place at the end."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._temporary = path.with_name(f".{path.name}.partial-{os.getpid()}")

    def __enter__(self) -> Path:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        return self._temporary

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                with self._temporary.open("rb") as handle:
                    os.fsync(handle.fileno())
                self._temporary.replace(self._path)
                sync_folder(self._path.parent)
        finally:
            self._temporary.unlink(missing_ok=True)
