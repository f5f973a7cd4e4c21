"""A prepared dataset by its key, from a remote into a workspace that never heard of it.

A registration leaves its entry in the remote, under the keys of its folders. From an entry and the remote's objects a
workspace of another machine gets what it needs: every byte checked, once, however many runs want it at once.
"""

from __future__ import annotations

from pathlib import Path

from glaucoma.datasets.registry import (
    Registration,
    read_registry,
    registered_folders,
    write_registry,
)
from glaucoma.datasets.remote import Remote
from glaucoma.datasets.restoring import restore_folders
from glaucoma.errors import IntegrityError, NotFoundError, problems
from glaucoma.progress import Progress, silent
from glaucoma.provenance import exclusive
from glaucoma.workspace import Workspace, checked_name

_FOLDER = "arc/registry"
_LARGEST_BYTES = 2**20


def publish(entry: Registration, remote: Remote) -> None:
    """Leaves the entry in the remote, under the key of each of its folders; a later entry of a key takes its place.

    Raises:
        SettingsError, TransientError: The remote refuses, or cannot be reached.
    """
    from glaucoma.datasets.remote_files import RemoteFiles

    files, content = RemoteFiles(remote, _FOLDER), entry.model_dump_json(indent=2).encode()
    for key in filter(None, (entry.version, entry.prepared_key)):
        files.write(f"{entry.name}/{key}.json", content)


def registered_prepared(name: str, key: str, workspace: Workspace) -> Registration | None:
    """The newest entry of this workspace that has that prepared dataset; None where it has none."""
    entries = read_registry(workspace).get(checked_name(name), [])
    return next((one for one in reversed(entries) if one.prepared_key == key), None)


def fetch_prepared(
    name: str,
    key: str,
    workspace: Workspace,
    *,
    remote: Remote | None = None,
    remote_block: str | None = None,
    report: Progress = silent,
) -> Path:
    """The prepared dataset `name`/`key`, brought from the remote where it is not in the workspace; gives its folder.

    The entry becomes the workspace's own. Several that want it at once fetch it once.

    Args:
        remote: With its keys; None for the one that this workspace's entry names.
        remote_block: The block that the remote came from, to be kept with the entry.

    Raises:
        NotFoundError: Neither this workspace nor the remote knows that key.
        IntegrityError: The remote's entry or copy is damaged; nothing of it stays.
        TransientError, SettingsError: The remote cannot be reached, or refuses.
        DiskSpaceError: Too little space; nothing was written.
    """
    folder = workspace.prepared(name) / key
    entry = registered_prepared(name, key, workspace)
    if entry is None:
        entry = _adopt(_entry_at(name, key, folder, remote), remote, remote_block, workspace)
    wanted = [(path, md5) for path, md5 in registered_folders(entry, workspace) if path == folder]
    restore_folders(entry, wanted, workspace, remote=remote, report=report)
    return folder


def _entry_at(name: str, key: str, folder: Path, remote: Remote | None) -> Registration:
    """What the remote says of that key."""
    content = None
    if remote is not None:
        from glaucoma.datasets.remote_files import RemoteFiles

        content = RemoteFiles(remote, _FOLDER).read(f"{checked_name(name)}/{key}.json", _LARGEST_BYTES)
    if content is None:
        raise NotFoundError(
            f"No prepared dataset {name} {key} in {folder.parent}, nor at {remote or 'a remote: none is named'}",
            expected="one that was registered and pushed with flows.register",
            remedy="register it with push where it was made; let ARC_REMOTE_BLOCK name the block of that remote here",
        )
    try:
        entry = Registration.model_validate_json(content)
    except ValueError as error:
        raise IntegrityError(
            f"The entry of {name} {key} at {remote} is damaged ({problems(error)})", remedy="push it again"
        ) from error
    if (entry.name, entry.prepared_key) != (name, key):
        raise IntegrityError(f"The entry of {name} {key} at {remote} is of {entry.name} {entry.prepared_key}")
    return entry


def _adopt(entry: Registration, remote: Remote | None, block: str | None, workspace: Workspace) -> Registration:
    """Enters it here, as kept at that remote, in the order of registration; what is known already stays."""
    if remote is not None:
        place = {"remote": remote.url, "endpoint_url": remote.endpoint_url, "remote_block": block}
        entry = entry.model_copy(update=place)
    with exclusive(workspace.locks / "register.lock"):
        registry = read_registry(workspace)
        known = registry.get(entry.name, [])
        if not any(one.same_version(entry) for one in known):
            registry |= {entry.name: sorted([*known, entry], key=lambda one: one.registered_at)}
            write_registry(workspace, registry)
    return entry
