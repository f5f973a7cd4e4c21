"""From settings to places: the workspace, and the finished outputs that a flow starts from."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from blocks.dvc_remote import remote_in_block
from blocks.tracking import account_in_block
from blocks.workspace import default_workspace_path
from flows.configs import FlowConfig
from flows.elsewhere import bring_prepared
from glaucoma.datasets.registry import RegisterSettings, RemoteSettings, find_registration, read_registry
from glaucoma.datasets.remote import Remote
from glaucoma.errors import IntegrityError, NotFoundError
from glaucoma.provenance import StageOutput, digest, read_record
from glaucoma.training.tracking.account import Account
from glaucoma.training.tracking.settings import TrackingSettings
from glaucoma.workspace import Workspace


def workspace_of(config: FlowConfig) -> Workspace:
    """The workspace of the settings, else of `ARC_WORKSPACE`, else of the block, else `./workspace`."""
    workspace = Workspace.at(config.workspace or os.environ.get("ARC_WORKSPACE") or default_workspace_path())
    if workspace.rollback_note.is_file():  # cut off, or being done just now
        from glaucoma.planning.rollback import finish_rollback  # imports the ledger, for every flow

        if said := finish_rollback(workspace):
            logging.getLogger("prefect.arc").warning("%s", said)
    return workspace


def unpacked_output(workspace: Workspace, key: str | None) -> StageOutput:
    """The unpacked archive of that key; the newest without one."""
    folder = workspace.find(workspace.archives, key, "unpacked archive")
    return StageOutput(folder, read_record(folder / "archive.json"), reused=True)


def unpacked_for(workspace: Workspace, name: str, key: str | None) -> StageOutput:
    """The unpacked archive of that key; without one that of the newest dataset `name`, or else the newest.

    Raises:
        NotFoundError: The archive is not in the workspace, or the dataset is a merged one.
    """
    datasets = [*workspace.datasets(name).glob("[0-9a-f]*/dataset.json")]
    if key is not None or not datasets:
        return unpacked_output(workspace, key)
    dataset = dataset_folder(workspace, name, None)
    files = read_record(dataset / "dataset.json").inputs.get("files")
    for path in sorted(workspace.archives.glob("[0-9a-f]*/archive.json")):
        record = read_record(path)
        if digest({str(one["path"]): str(one["sha256"]) for one in record.details["files"]}) == files:
            return StageOutput(path.parent, record, reused=True)
    raise NotFoundError(
        f"The archive that dataset {name} version {dataset.name} was made from is not in {workspace.archives}",
        expected="an unpacked archive",
        remedy="give the archive's key, or unpack it again",
    )


def dataset_folder(workspace: Workspace, name: str, key: str | None) -> Path:
    """The dataset of that name and key; the newest without a key."""
    return workspace.find(workspace.datasets(name), key, f"dataset {name}")


def prepared_folder(workspace: Workspace, name: str, key: str | None) -> Path:
    """The prepared dataset of that name and key, fetched where it lies elsewhere; the newest without a key."""
    if key is not None:
        bring_prepared(workspace, name, key)
    return workspace.find(workspace.prepared(name), key, f"prepared dataset {name}")


def prepared_from(workspace: Workspace, name: str, dataset: Path, key: str | None) -> Path | None:
    """The prepared dataset of that key; without one the newest that was prepared from `dataset`, if there is any."""
    if key is not None:
        return prepared_folder(workspace, name, key)
    made = [path for path in workspace.prepared(name).glob("[0-9a-f]*/prepared.json") if _made_from(path, dataset)]
    return max((path.parent for path in made), key=lambda folder: (folder.stat().st_mtime, folder.name), default=None)


def _made_from(record: Path, dataset: Path) -> bool:
    try:
        return read_record(record).inputs.get("dataset") == dataset.name
    except IntegrityError:  # a damaged one is no choice; naming its key says what is wrong with it
        return False


def remote_of(settings: RemoteSettings) -> Remote | None:
    """The remote that the settings name, with the keys of its block; None where they name none."""
    if settings.remote_block:
        return remote_in_block(settings.remote_block)
    return Remote(settings.remote_url) if settings.remote_url else None


def kept_in_its_block(
    workspace: Workspace, name: str, version: str, prepared: str | None, settings: RegisterSettings
) -> RegisterSettings:
    """The settings; where they name no remote and there is something to push, with the one that the version lies in.

    That is the block or address of the version's newest entry that was pushed: a new prepared form goes where the
    dataset is. A version that is new, or was never pushed, has none, and what is registered already needs none.

    Args:
        prepared: Key of the prepared form that is to be registered with the version.

    Raises:
        NotFoundError: The version is to be pushed again and was never registered.
    """
    if not settings.push or settings.remote_url or settings.remote_block:
        return settings
    if settings.push_again:
        find_registration(name, version, workspace)
    entries = [one for one in read_registry(workspace).get(name, []) if one.version == version and one.remote]
    if not entries or (not settings.push_again and any(one.prepared_key == prepared for one in entries)):
        return settings
    entry = entries[-1]
    named = {"remote_block": entry.remote_block} if entry.remote_block else {"remote_url": entry.remote}
    return settings.model_copy(update=named)


def remote_of_version(workspace: Workspace, name: str, version: str | None, settings: RemoteSettings) -> Remote | None:
    """The remote of the settings, else the block that the version was registered with; None where there is neither."""
    entry = find_registration(name, version, workspace)
    if settings.remote_url is None and settings.remote_block is None and entry.remote_block is not None:
        return remote_in_block(entry.remote_block)
    return remote_of(settings)


def account_of(settings: TrackingSettings) -> Account | None:
    """The W&B account that runs are sent with while they train; None where they are not."""
    return account_in_block(settings.account_block) if settings.account_block else None
