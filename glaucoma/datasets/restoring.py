"""Registered versions, brought back from the remote: every byte against its registered SHA-256."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field

from glaucoma.datasets.registry import (
    Registration,
    checked_sums,
    find_registration,
    heal_sums,
    registered_folders,
    registered_sum,
    stored_at,
    sums_path,
)
from glaucoma.datasets.remote import Remote
from glaucoma.datasets.sums import compare_sums, format_sums, part_of, sum_folder
from glaucoma.errors import IntegrityError
from glaucoma.progress import Progress, silent
from glaucoma.provenance import exclusive, read_record, remove_tree, require_disk_space, sync_folder, write_bytes
from glaucoma.workspace import Workspace

if TYPE_CHECKING:
    from glaucoma.datasets.remote_objects import RemoteObjects

_GONE = "gone"


class Restored(BaseModel):
    """What restoring a version did."""

    model_config = ConfigDict(frozen=True)

    entry: Registration
    folders: list[Path]
    restored: list[Path] = Field(description="Those that were brought back; the others were there.")


def restore_registration(
    name: str,
    version: str | None,
    workspace: Workspace,
    *,
    remote: Remote | None = None,
    replace_damaged: bool = False,
    report: Progress = silent,
) -> Restored:
    """Brings a registered version's folders back where they are missing, checked byte by byte.

    A folder is written aside and renamed into place when every file in it is as registered; a killed process leaves
    nothing that looks like a dataset. Lost or damaged lists of sums are written again.

    Args:
        remote: With its keys; None for the one that the entry names.
        replace_damaged: Also reads the folders that are there, and replaces one that is not as registered. Without it
            they are not touched.

    Raises:
        NotFoundError: No such version.
        IntegrityError: The remote's copy is not what was registered; nothing of it stays.
        TransientError, SettingsError: The remote cannot be reached, or refuses.
        DiskSpaceError: Too little space; nothing was written.
    """
    entry = find_registration(name, version, workspace)
    folders = registered_folders(entry, workspace)
    return restore_folders(entry, folders, workspace, remote=remote, replace_damaged=replace_damaged, report=report)


def restore_folders(
    entry: Registration,
    folders: list[tuple[Path, str]],
    workspace: Workspace,
    *,
    remote: Remote | None = None,
    replace_damaged: bool = False,
    report: Progress = silent,
) -> Restored:
    """The same for some of an entry's folders, each with DVC's hash of it (`registered_folders`)."""
    name, restored = entry.name, list[Path]()
    objects: RemoteObjects | None = None
    for number, (folder, md5) in enumerate(folders):
        part = part_of(report, number / len(folders), 1 / len(folders))
        with exclusive(workspace.locks / f"restore-{name}-{folder.name}.lock"):
            _put_back(folder)
            if folder.is_dir() and (not replace_damaged or _is_sound(entry, folder, workspace)):
                if not replace_damaged:
                    with exclusive(workspace.locks / "register.lock"):
                        heal_sums(entry, folder, workspace)
                continue
            from glaucoma.datasets.remote_objects import RemoteObjects

            objects = objects or RemoteObjects(remote or stored_at(entry, workspace))
            require_disk_space(workspace.root, entry.bytes, f"{name} version {entry.version}")
            _bring(entry, folder, md5, objects, workspace, part)
            restored.append(folder)
    report(1.0, f"restored {len(restored)} of {len(folders)} folders")
    return Restored(entry=entry, folders=[folder for folder, _ in folders], restored=restored)


def _is_sound(entry: Registration, folder: Path, workspace: Workspace) -> bool:
    sums = sum_folder(folder, workspace.root)
    with exclusive(workspace.locks / "register.lock"):
        return heal_sums(entry, folder, workspace, sums) and checked_sums(entry, folder, workspace) == sums


def _bring(
    entry: Registration, folder: Path, md5: str, objects: RemoteObjects, workspace: Workspace, report: Progress
) -> None:
    """Fetches one folder beside its place, checks it, and renames it there."""
    for leftover in folder.parent.glob(f".{folder.name}.restored-*"):
        remove_tree(leftover)
    staging = folder.with_name(f".{folder.name}.restored-{os.getpid()}")
    staging.mkdir(parents=True)
    try:
        there = objects.read_folder(md5, lambda file, value: objects.fetch(value, staging / file), report)
        _require_registered(entry, folder, there, objects.path(md5), workspace)
        _date_back(staging)
        _swap(staging, folder)
    finally:
        remove_tree(staging)


def _require_registered(
    entry: Registration, folder: Path, there: dict[str, str] | None, listed_at: str, workspace: Workspace
) -> None:
    """`IntegrityError` unless `there` is the very list that was registered; writes the list where it was lost."""
    inside = folder.relative_to(workspace.root).as_posix()
    named = {f"{inside}/{file}": value for file, value in (there or {}).items()}
    text = format_sums(named)
    if hashlib.sha256(text).hexdigest() == registered_sum(entry, folder, workspace):
        path = sums_path(entry.name, folder, workspace)
        if not path.is_file() or path.read_bytes() != text:
            with exclusive(workspace.locks / "register.lock"):
                write_bytes(path, text)
        return
    try:
        said = str(compare_sums(checked_sums(entry, folder, workspace), named))
    except IntegrityError:
        said = "which files cannot be told: its list of sums is damaged too"
    if there is None:
        said = f"DVC's list of it, {listed_at}, is missing or damaged"
    raise IntegrityError(
        f"The remote's copy of {folder.name} is damaged or incomplete ({said})",
        consequence="It was not restored",
        remedy="restore it from another copy of the remote, or make it again from the archive",
    )


def _date_back(staging: Path) -> None:
    """Gives the folder the time at which it was first made: without a key, a flow takes the newest folder."""
    for name in ("prepared.json", "dataset.json"):
        with contextlib.suppress(IntegrityError, FileNotFoundError):
            record = read_record(staging / name)
            made = record.started_at.timestamp() + record.duration_s
            os.utime(staging, (made, made))
            return


def _swap(staging: Path, folder: Path) -> None:
    """Renames `staging` into place; what was there before goes only after that."""
    before = folder.with_name(f".{folder.name}.{_GONE}")
    if folder.is_dir():
        folder.rename(before)
    try:
        staging.rename(folder)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):  # a stage made the same folder meanwhile
            raise
    sync_folder(folder.parent)
    remove_tree(before)


def _put_back(folder: Path) -> None:
    """Undoes a swap that was cut off between its two renames."""
    before = folder.with_name(f".{folder.name}.{_GONE}")
    if not before.is_dir():
        return
    if folder.is_dir():
        remove_tree(before)
    else:
        before.rename(folder)
