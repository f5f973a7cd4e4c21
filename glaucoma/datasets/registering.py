"""Registering: a dataset's version goes into DVC and into the registry, with the SHA-256 of every file."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from glaucoma.datasets.fetching import publish
from glaucoma.datasets.manifest import MANIFEST_NAME
from glaucoma.datasets.registry import (
    RegisterSettings,
    Registration,
    heal_sums,
    read_registry,
    registered_folders,
    write_registry,
)
from glaucoma.datasets.remote import Remote
from glaucoma.datasets.storing import Storing, default_remote
from glaucoma.datasets.versions import newest_judgement
from glaucoma.errors import DatasetError, NotFoundError, SettingsError
from glaucoma.progress import Progress, silent
from glaucoma.provenance import (
    StageRecord,
    exclusive,
    file_sha256,
    read_record,
)
from glaucoma.workspace import Workspace

DATASET_RECORD, PREPARED_RECORD = "dataset.json", "prepared.json"


def register(
    dataset: Path,
    prepared: Path | None,
    name: str,
    workspace: Workspace,
    settings: RegisterSettings,
    *,
    remote: Remote | None = None,
    report: Progress = silent,
) -> Registration:
    """Keeps the dataset (and its prepared form) with DVC and enters it in `data_registry.yaml`.

    All or nothing: the entry is written last, and what an error leaves behind is removed; what a killed process leaves
    is put right by the next call. The same version again is found in the registry, without DVC, in milliseconds. One
    registration at a time in a workspace: a second one waits.

    Args:
        dataset: `workspace.datasets(name)/<key>`.
        prepared: `workspace.prepared(name)/<key>`, or None.
        remote: Where to, with its keys. None for `settings.remote_url`; where that is empty too, a version that lies in
            some remote is left there, and any other goes to the folder `dvc-remote` in the workspace.

    Raises:
        NotFoundError: A folder is not where the workspace keeps such folders.
        DatasetError: What was prepared was not prepared from this dataset.
        IntegrityError: The registry, a record, or bytes handed to DVC are not what they should be, or a folder has
            changed since it was registered before.
        TransientError: The remote cannot be reached, or another process works with DVC here.
        SettingsError: The remote refuses.
    """
    if remote is None and settings.remote_block:
        raise SettingsError(f"The block {settings.remote_block!r} was not resolved", expected="its remote")
    if remote is None and settings.remote_url:
        remote = Remote(settings.remote_url)
    record = _record(dataset, workspace.datasets(name), DATASET_RECORD)
    if prepared is not None:
        _require_made_from(dataset, prepared, _record(prepared, workspace.prepared(name), PREPARED_RECORD))
    with exclusive(workspace.locks / "register.lock"):
        _remove_leftovers(workspace)
        registry = read_registry(workspace)
        entries = registry.get(name, [])
        found = None if settings.push_again else _find_same(entries, dataset, prepared, remote, workspace, settings)
        if found is not None:
            return found.model_copy(update={"reused": True})
        remote = remote or default_remote(workspace)
        call = Storing(name, [f for f in (dataset, prepared) if f is not None], workspace, settings, remote, report)
        sums, md5 = call.store(registry)
        entry = Registration(
            name=name,
            version=dataset.name,
            manifest_sha256=file_sha256(dataset / MANIFEST_NAME),
            dvc_md5=md5[0],
            prepared_key=prepared.name if prepared else None,
            prepared_dvc_md5=md5[1] if prepared else None,
            files=call.files,
            bytes=call.bytes,
            sums_sha256=sums,
            remote=remote.url if settings.push else None,
            endpoint_url=remote.endpoint_url if settings.push else None,
            remote_block=settings.remote_block if settings.push else None,
            source=record.inputs,
            validation=newest_judgement(name, dataset, workspace),
            registered_at=datetime.now(UTC),
        )
        if settings.push:
            publish(entry, remote)
        registry |= {name: [*(one for one in entries if not one.same_version(entry)), entry]}
        write_registry(workspace, registry)
        call.drop_cache_if_spare(registry)
    report(1.0, f"registered {entry.files} files of {name}")
    return entry


def _remove_leftovers(workspace: Workspace) -> None:
    """Removes what a process that was killed in the middle of writing left; nobody else writes these now."""
    for pattern in (".data_registry.yaml.partial-*", "registry/*/.*.partial-*", "*/*/.*.dvc.partial-*"):
        for leftover in workspace.root.glob(pattern):
            leftover.unlink(missing_ok=True)


def _record(folder: Path, parent: Path, record_name: str) -> StageRecord:
    """The record of a finished folder of this workspace."""
    if folder.resolve().parent == parent and all((folder / name).is_file() for name in (MANIFEST_NAME, record_name)):
        return read_record(folder / record_name)
    raise NotFoundError(
        f"{folder} is no finished dataset of this workspace",
        expected=f"a folder {parent}/<key> with {MANIFEST_NAME} and {record_name}",
        consequence="Nothing was registered",
    )


def _require_made_from(dataset: Path, prepared: Path, record: StageRecord) -> None:
    made_from = record.inputs.get("dataset"), record.inputs.get("manifest_sha256")
    if made_from == (dataset.name, file_sha256(dataset / MANIFEST_NAME)):
        return
    other = f"dataset {made_from[0]}" if made_from[0] != dataset.name else f"another manifest of dataset {made_from[0]}"
    raise DatasetError(
        f"{prepared} was prepared from {other}",
        expected=f"one that was prepared from {dataset.name}",
        consequence="Nothing was registered",
        remedy="give the keys of a dataset and of what was prepared from it, or preprocess the dataset first",
    )


def _find_same(
    entries: list[Registration],
    dataset: Path,
    prepared: Path | None,
    remote: Remote | None,
    workspace: Workspace,
    settings: RegisterSettings,
) -> Registration | None:
    """The entry that says all that this call would say, its lists of sums written again where they were damaged; None
    where there is none, or the folders do not give its lists any more."""
    wanted = (dataset.name, prepared.name if prepared else None, file_sha256(dataset / MANIFEST_NAME))
    for entry in reversed(entries):
        same_data = (entry.version, entry.prepared_key, entry.manifest_sha256) == wanted
        if same_data and (not settings.push or _lies_in(entry, remote)):
            folders = [folder for folder, _ in registered_folders(entry, workspace)]
            return entry if all(heal_sums(entry, folder, workspace) for folder in folders) else None
    return None


def _lies_in(entry: Registration, remote: Remote | None) -> bool:
    """Whether the version was pushed there; to any remote where none is named."""
    if remote is None:
        return entry.remote is not None
    return (entry.remote, entry.endpoint_url) == (remote.url, remote.endpoint_url)
