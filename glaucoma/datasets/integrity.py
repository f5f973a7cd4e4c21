"""Integrity: every registered byte read again, in the workspace and in the remote, against its registered SHA-256."""

from __future__ import annotations

from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field

from glaucoma.datasets.registry import (
    Registration,
    checked_sums,
    find_registration,
    registered_folders,
    stored_at,
)
from glaucoma.datasets.remote import Remote
from glaucoma.datasets.sums import Differences, compare_folder, compare_sums, part_of
from glaucoma.errors import IntegrityError
from glaucoma.progress import Progress, silent
from glaucoma.workspace import Workspace


class CheckPlace(StrEnum):
    """Where the bytes are read."""

    WORKSPACE = "workspace"
    REMOTE = "remote"
    BOTH = "both"


class Check(BaseModel):
    """What a check of one version found. Paths are relative to the workspace, for objects in the remote too."""

    model_config = ConfigDict(frozen=True)

    name: str
    version: str
    prepared_key: str | None
    checked: list[CheckPlace]
    files: int = Field(description="Files read, in all places together.")
    workspace: Differences | None = Field(description="Null where the workspace was not read.")
    remote: Differences | None = Field(description="Null where the remote was not read.")
    remote_url: str | None
    remote_option: str = Field(exclude=True, description="What names that remote on the command line.")

    @property
    def sound(self) -> bool:
        """Whether every byte that was read is as it was registered."""
        return all(found is None or found.none for found in (self.workspace, self.remote))


def check_registration(
    name: str,
    version: str | None,
    workspace: Workspace,
    place: CheckPlace = CheckPlace.WORKSPACE,
    *,
    remote: Remote | None = None,
    report: Progress = silent,
) -> Check:
    """Reads every registered file again, in the workspace, in the remote, or both, and names what differs.

    Changes nothing anywhere.

    Args:
        remote: With its keys; None for the one that the entry names.

    Raises:
        NotFoundError: No such version.
        IntegrityError: A list of sums is itself not what was registered.
        TransientError, SettingsError: The remote cannot be reached, or refuses.
    """
    entry = find_registration(name, version, workspace)
    places = [CheckPlace.WORKSPACE, CheckPlace.REMOTE] if place is CheckPlace.BOTH else [place]
    source = (remote or stored_at(entry, workspace)) if CheckPlace.REMOTE in places else None
    found: dict[CheckPlace, Differences] = {}
    for number, one in enumerate(places):
        part = part_of(report, number / len(places), 1 / len(places))
        if one is CheckPlace.REMOTE and source is not None:
            found[one] = _check_remote(entry, workspace, source, part)
        else:
            found[one] = _check_workspace(entry, workspace, part)
    return Check(
        name=entry.name,
        version=entry.version,
        prepared_key=entry.prepared_key,
        checked=places,
        files=sum(one.checked for one in found.values()),
        workspace=found.get(CheckPlace.WORKSPACE),
        remote=found.get(CheckPlace.REMOTE),
        remote_url=str(source) if source else None,
        remote_option=_option(entry),
    )


def require_sound(check: Check) -> None:
    """`IntegrityError` that names every file concerned (the first 20 of each kind), unless there is none."""
    if check.sound:
        return
    again = f"--name {check.name} --version {check.version}"
    said, remedies = [], []
    if check.workspace is not None and not check.workspace.none:
        said.append(f"in the workspace {check.workspace}")
        remedies.append(f"python -m flows.restore {again} --replace-damaged brings the registered bytes back")
    if check.remote is not None and not check.remote.none:
        said.append(f"in the remote {check.remote_url} {check.remote}")
        remedies.append(
            f"python -m flows.register {_registered(check)} --registry.push-again writes anew what is wrong there"
        )
    raise IntegrityError(
        f"{check.name} version {check.version} is not what was registered: {'; '.join(said)}",
        expected=f"{check.files} files as in the lists of sums",
        remedy="; ".join(remedies),
    )


def _check_workspace(entry: Registration, workspace: Workspace, report: Progress) -> Differences:
    folders = [folder for folder, _ in registered_folders(entry, workspace)]
    found = []
    for number, folder in enumerate(folders):
        part = part_of(report, number / len(folders), 1 / len(folders))
        sums = checked_sums(entry, folder, workspace)
        if not folder.is_dir():
            missing = (f"{folder.relative_to(workspace.root)} (the folder with all its {len(sums)} files)",)
            found.append(Differences(checked=len(sums), changed=(), missing=missing, extra=()))
            continue
        found.append(compare_folder(folder, workspace.root, sums, report=part))
    return _together(found)


def _check_remote(entry: Registration, workspace: Workspace, remote: Remote, report: Progress) -> Differences:
    from glaucoma.datasets.remote_objects import RemoteObjects

    objects = RemoteObjects(remote)
    folders = registered_folders(entry, workspace)
    found = []
    for number, (folder, md5) in enumerate(folders):
        part = part_of(report, number / len(folders), 1 / len(folders))
        sums, inside = checked_sums(entry, folder, workspace), folder.relative_to(workspace.root).as_posix()
        there = objects.read_folder(md5, lambda _, value: objects.sha256(value), part)
        if there is None:
            missing = (f"{inside} (DVC's list of it, {objects.path(md5)})",)
            found.append(Differences(checked=len(sums), changed=(), missing=missing, extra=()))
        else:
            found.append(compare_sums(sums, {f"{inside}/{file}": value for file, value in there.items()}))
    return _together(found)


def _together(found: list[Differences]) -> Differences:
    return Differences(
        checked=sum(one.checked for one in found),
        changed=tuple(path for one in found for path in one.changed),
        missing=tuple(path for one in found for path in one.missing),
        extra=tuple(path for one in found for path in one.extra),
    )


def _registered(check: Check) -> str:
    prepared = f" --prepared {check.prepared_key}" if check.prepared_key else ""
    return f"--name {check.name} --dataset {check.version}{prepared}{check.remote_option}"


def _option(entry: Registration) -> str:
    if entry.remote_block:
        return f" --registry.remote-block {entry.remote_block}"
    return f" --registry.remote-url {entry.remote}" if entry.remote else ""
