"""The remote, read back: every file of a stored folder, by the name that DVC gives its bytes.

DVC's own pull is not used. It fills the final folder file by file, so that a killed one leaves half a dataset there; it
does not say which file is damaged; and for 5,000 small files it takes ten times as long. Its file systems are used.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from glaucoma.datasets.dvc_errors import quiet, translated
from glaucoma.datasets.imagefile import ordered_map
from glaucoma.datasets.remote import CONNECT_TIMEOUT_S, READ_TIMEOUT_S, S3, Remote
from glaucoma.errors import IntegrityError
from glaucoma.progress import Progress, silent
from glaucoma.provenance import file_sha256

_LARGEST_LIST_BYTES = 512 * 2**20
_CHUNK_BYTES = 8 * 2**20
_MD5 = re.compile(r"[0-9a-f]{32}")
_LOCAL = "local"
_READERS = 8
"""Objects read at once: a remote answers slowly, and many can be asked."""


class RemoteObjects:
    """The objects of one remote. Makes no change there or in the workspace; used by many threads at once."""

    def __init__(self, remote: Remote) -> None:
        """Opens the remote.

        Raises:
            SettingsError: It refuses, or there is no such bucket.
            TransientError: It cannot be reached, within a few seconds.
        """
        self._remote = remote
        self._what = f"The remote {remote} cannot be read"
        with quiet(), translated(self._what, remote, transient=True):
            self._fs, path = opened(remote)
            self._base = self._fs.join(path, "files", "md5")

    def files(self, md5: str) -> dict[str, str] | None:
        """What a stored folder holds: path in it -> MD5; None where the remote's list is missing or damaged."""
        with translated(self._what, self._remote, transient=True):
            try:
                with self._fs.open(self.path(md5), "rb") as handle:
                    content = handle.read(_LARGEST_LIST_BYTES)
            except FileNotFoundError:
                return None
        if f"{hashlib.md5(content, usedforsecurity=False).hexdigest()}.dir" != md5:
            return None
        return _listed(content, md5)

    def read_folder(
        self, md5: str, read: Callable[[str, str], str | None], report: Progress = silent
    ) -> dict[str, str] | None:
        """`read(path, md5)` of every file of a stored folder, several at once: path in it -> what `read` gave.

        Without those for which it gave None; None in all where the remote's list is missing or damaged.
        """
        listed = self.files(md5)
        if listed is None:
            return None
        found: dict[str, str] = {}
        files = sorted(listed)
        values = ordered_map(lambda file: read(file, listed[file]), files, workers=_READERS)
        for number, (file, value) in enumerate(zip(files, values, strict=True), start=1):
            if value is not None:
                found[file] = value
            report(number / len(files), f"read {number} of {len(files)} files")
        return found

    def sha256(self, md5: str) -> str | None:
        """SHA-256 of an object's bytes, all of which are read; None where it is not there."""
        with translated(self._what, self._remote, transient=True):
            try:
                if self._fs.protocol == _LOCAL:
                    return file_sha256(Path(self.path(md5)))
                hasher = hashlib.sha256()
                with self._fs.open(self.path(md5), "rb", block_size=_CHUNK_BYTES) as handle:
                    while chunk := handle.read(_CHUNK_BYTES):
                        hasher.update(chunk)
            except FileNotFoundError:
                return None
            return hasher.hexdigest()

    def fetch(self, md5: str, target: Path) -> str | None:
        """Copies an object to `target` and gives the SHA-256 of what is there now; None where there is no object."""
        with translated(self._what, self._remote, transient=True):
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                if self._fs.protocol == _LOCAL:
                    shutil.copyfile(self.path(md5), target)
                else:
                    self._fs.get_file(self.path(md5), str(target))
            except FileNotFoundError:
                return None
            return file_sha256(target)

    def remove(self, md5: str) -> None:
        """Removes an object, so that a push writes it again."""
        with translated(f"The remote {self._remote} cannot be changed", self._remote, transient=True):
            if self._fs.isfile(self.path(md5)):
                self._fs.remove(self.path(md5))

    def path(self, md5: str) -> str:
        """Where an object lies, in the remote's own terms."""
        return str(self._fs.join(self._base, md5[:2], md5[2:]))


def opened(remote: Remote) -> tuple[Any, str]:
    """The remote's file system, as DVC opens it, and the remote's folder there; in `quiet()` and `translated()`."""
    from dvc.fs import get_cloud_fs

    reach(remote)
    kind, settings, path = get_cloud_fs({"remote": {"arc": remote.dvc_settings()}}, name="arc")
    return kind(**settings), path


def reach(remote: Remote) -> None:
    """One question to an S3 service, in one attempt: that it answers, that the keys are good, that the bucket is there.

    The libraries would each try again several times, for each of thousands of files, and say why only in their logs. A
    folder on this machine needs no question.
    """
    if not remote.is_s3:
        return
    from botocore.config import Config
    from botocore.session import Session

    bucket, _, prefix = remote.url.removeprefix(S3).partition("/")
    with translated(f"The remote {remote} does not answer as it should", remote):
        client = Session().create_client(
            "s3",
            region_name=remote.region,
            endpoint_url=remote.endpoint_url,
            aws_access_key_id=remote.access_key_id,
            aws_secret_access_key=remote.secret_access_key,
            config=Config(
                connect_timeout=CONNECT_TIMEOUT_S, read_timeout=READ_TIMEOUT_S / 2, retries={"total_max_attempts": 1}
            ),
        )
        try:
            client.list_objects_v2(Bucket=bucket, Prefix=prefix, MaxKeys=1)
        finally:
            client.close()


def _listed(content: bytes, md5: str) -> dict[str, str]:
    """DVC's list of a folder; its bytes are what was registered, its form is checked all the same."""
    try:
        found = {str(entry["relpath"]): str(entry["md5"]) for entry in json.loads(content)}
    except (ValueError, LookupError, TypeError) as error:
        raise IntegrityError(f"DVC's list {md5} is not one ({error})") from error
    if not all(_MD5.fullmatch(value) for value in found.values()):
        raise IntegrityError(f"DVC's list {md5} holds what is no MD5")
    if unsafe := sorted(file for file in found if {"", ".", ".."} & set(file.split("/")) or "\0" in file):
        raise IntegrityError(f"DVC's list {md5} names {unsafe[0]!r}, which is no file in a folder")
    return found
