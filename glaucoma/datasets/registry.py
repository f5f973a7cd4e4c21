"""The data registry: which versions of which dataset there are, where their bytes are kept, and what each byte was.

`data_registry.yaml` in the workspace maps a dataset's name to its registered versions, oldest first.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import yaml
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from glaucoma.datasets.manifest import MANIFEST_NAME
from glaucoma.datasets.sums import Differences, compare_folder, format_sums, parse_sums, sum_folder
from glaucoma.errors import IntegrityError, NotFoundError
from glaucoma.progress import Progress, silent
from glaucoma.provenance import exclusive, file_sha256, read_record, remove_tree, require_disk_space, write_bytes
from glaucoma.settings import Settings
from glaucoma.workspace import Workspace


class RegisterSettings(Settings):
    """Where registered datasets are kept."""

    remote_url: str | None = Field(
        default=None,
        description="A DVC remote: a folder, s3://, ssh:// and so on. Empty: the folder dvc-remote in the workspace.",
    )
    push: bool = Field(default=True, description="Copy the data to the remote; false leaves it in DVC's cache only.")


class Registration(BaseModel):
    """One registered version of a dataset: an entry of `data_registry.yaml`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    version: str = Field(description="The dataset's key.")
    manifest_sha256: str
    dvc_md5: str = Field(description="DVC's hash of the dataset's folder.")
    prepared_key: str | None = None
    prepared_dvc_md5: str | None = None
    files: int = Field(description="Files of the dataset and of its prepared form together.")
    bytes: int
    sums_sha256: dict[str, str] = Field(description="Lists of sums, relative to the workspace -> their own SHA-256.")
    remote: str | None = Field(description="Without user and password; null where nothing was pushed.")
    source: dict[str, str] = Field(description="What the dataset was made from: name -> hash or key.")
    registered_at: datetime
    reused: bool = Field(default=False, exclude=True, description="Whether the entry was there already.")


_REGISTRY = TypeAdapter(dict[str, list[Registration]])


def register(
    dataset: Path,
    prepared: Path | None,
    name: str,
    workspace: Workspace,
    settings: RegisterSettings,
    *,
    report: Progress = silent,
) -> Registration:
    """Keeps the dataset (and its prepared form) with DVC and enters it in `data_registry.yaml`.

    All or nothing: the entry is written last, and what an error leaves behind is removed. The same version again is
    found in the registry, without DVC, in milliseconds.

    Args:
        dataset: `workspace.datasets(name)/<key>`.
        prepared: `workspace.prepared(name)/<key>`, or None.

    Raises:
        NotFoundError: A folder is not where the workspace keeps such folders.
        IntegrityError: The registry, a record, or bytes handed to DVC are not what they should be.
        TransientError: The remote cannot be reached, or another process works with DVC here.
    """
    _require_place(dataset, workspace.datasets(name))
    if prepared is not None:
        _require_place(prepared, workspace.prepared(name))
    remote_url = settings.remote_url or str(workspace.root / "dvc-remote")
    with exclusive(workspace.locks / "register.lock"):
        registry = read_registry(workspace)
        found = _find_same(registry.get(name, []), dataset, prepared, remote_url, settings)
        if found is not None:
            return found.model_copy(update={"reused": True})
        entry = _store(dataset, prepared, name, workspace, settings, remote_url, report)
        kept = [one for one in registry.get(name, []) if not _same_version(one, entry)]
        _write_registry(workspace, registry | {name: [*kept, entry]})
    return entry


def read_registry(workspace: Workspace) -> dict[str, list[Registration]]:
    """All entries by dataset name, oldest first; empty where nothing is registered yet."""
    if not workspace.registry.is_file():
        return {}
    try:
        return _REGISTRY.validate_python(yaml.safe_load(workspace.registry.read_text()) or {})
    except (yaml.YAMLError, ValidationError, UnicodeDecodeError) as error:
        raise IntegrityError(
            f"{workspace.registry} is no valid registry ({str(error).splitlines()[0]})",
            consequence="Nothing was registered",
            remedy="restore it from a copy, or move it away and register the datasets again",
        ) from error


def find_registration(name: str, version: str | None, workspace: Workspace) -> Registration:
    """The newest entry of that version, or of the newest version; `NotFoundError` lists what is there."""
    entries = read_registry(workspace).get(name, [])
    for entry in reversed(entries):
        if version in (None, entry.version):
            return entry
    raise NotFoundError(
        f"No version {version or ''} of {name!r} is registered in {workspace.registry}".replace("  ", " "),
        expected=f"one of: {', '.join(sorted({one.version for one in entries})) or 'none is registered'}",
    )


def verify_registration(name: str, version: str | None, workspace: Workspace) -> Differences:
    """Reads every registered file again and names those that changed, are missing, or are new.

    Raises:
        NotFoundError: No such version.
        IntegrityError: A list of sums is itself not what was registered.
    """
    entry = find_registration(name, version, workspace)
    folders = _folders(entry, workspace)
    found = [compare_folder(folder, workspace.root, _checked_sums(entry, folder, workspace)) for folder in folders]
    return Differences(
        checked=sum(one.checked for one in found),
        changed=tuple(path for one in found for path in one.changed),
        missing=tuple(path for one in found for path in one.missing),
        extra=tuple(path for one in found for path in one.extra),
    )


def restore_registration(
    name: str, version: str | None, workspace: Workspace, settings: RegisterSettings
) -> Registration:
    """Brings missing folders of a registered version back from the remote, checked byte by byte.

    Folders that are there are not touched. `IntegrityError` where what came back is not what was registered; nothing of
    it stays.
    """
    entry = find_registration(name, version, workspace)
    missing = [folder for folder in _folders(entry, workspace) if not folder.exists()]
    if not missing:
        return entry
    from glaucoma.datasets.dvc_store import DvcStore

    with exclusive(workspace.locks / "register.lock"):
        store = DvcStore(workspace.root, settings.remote_url or str(workspace.root / "dvc-remote"))
        for folder in missing:
            try:
                store.pull(folder)
                _require_unchanged(folder, _checked_sums(entry, folder, workspace), workspace)
            except BaseException:
                remove_tree(folder)
                raise
    return entry


def _require_unchanged(folder: Path, sums: dict[str, str], workspace: Workspace) -> None:
    differences = compare_folder(folder, workspace.root, sums)
    if not differences.none:
        raise IntegrityError(
            f"{folder.name} is not what was registered ({differences})",
            consequence="It was not restored",
            remedy="restore it from another copy, or make it again from the archive",
        )


def _require_place(folder: Path, parent: Path) -> None:
    if folder.resolve().parent != parent or not (folder / MANIFEST_NAME).is_file():
        raise NotFoundError(
            f"{folder} is no finished dataset of this workspace",
            expected=f"a folder {parent}/<key> with a {MANIFEST_NAME}",
            consequence="Nothing was registered",
        )


def _find_same(
    entries: list[Registration], dataset: Path, prepared: Path | None, remote_url: str, settings: RegisterSettings
) -> Registration | None:
    manifest_sha256 = file_sha256(dataset / MANIFEST_NAME)
    remote = _without_credentials(remote_url) if settings.push else None
    for entry in reversed(entries):
        same_data = (entry.version, entry.prepared_key) == (dataset.name, prepared.name if prepared else None)
        if same_data and entry.manifest_sha256 == manifest_sha256 and (remote is None or entry.remote == remote):
            return entry
    return None


def _same_version(one: Registration, other: Registration) -> bool:
    return (one.version, one.prepared_key) == (other.version, other.prepared_key)


def _store(
    dataset: Path,
    prepared: Path | None,
    name: str,
    workspace: Workspace,
    settings: RegisterSettings,
    remote_url: str,
    report: Progress,
) -> Registration:
    """Hashes, stores and pushes the folders; on an error removes what this call wrote."""
    from glaucoma.datasets.dvc_store import DvcStore, dvc_file

    record = read_record(dataset / "dataset.json")
    folders = [folder for folder in (dataset, prepared) if folder is not None]
    size = sum(path.stat().st_size for folder in folders for path in folder.rglob("*") if path.is_file())
    copies = 1 + (settings.push and settings.remote_url is None)
    require_disk_space(workspace.root, size * copies, f"DVC's copies of {name}")
    written: list[Path] = []
    try:
        sums_sha256: dict[str, str] = {}
        files = 0
        for place, folder in enumerate(folders):
            sums = sum_folder(folder, workspace.root, report=_part(report, 0.3 * place, 0.3))
            files += len(sums)
            path = _sums_path(name, folder, workspace)
            written += [] if path.exists() else [path]
            write_bytes(path, format_sums(sums))
            sums_sha256[path.relative_to(workspace.root).as_posix()] = file_sha256(path)
        report(0.6, "DVC takes in the files")
        store = DvcStore(workspace.root, remote_url)
        written += [dvc_file(folder) for folder in folders if not dvc_file(folder).exists()]
        md5 = [store.add(folder) for folder in folders]
        if settings.push:
            report(0.8, "DVC pushes to the remote")
            store.push(folders)
            if all(entry.remote for entries in read_registry(workspace).values() for entry in entries):
                store.drop_cache()
    except BaseException:
        for path in written:
            path.unlink(missing_ok=True)
        raise
    report(1.0, f"registered {files} files of {name}")
    return Registration(
        name=name,
        version=dataset.name,
        manifest_sha256=file_sha256(dataset / MANIFEST_NAME),
        dvc_md5=md5[0],
        prepared_key=prepared.name if prepared else None,
        prepared_dvc_md5=md5[1] if prepared else None,
        files=files,
        bytes=size,
        sums_sha256=sums_sha256,
        remote=_without_credentials(remote_url) if settings.push else None,
        source=record.inputs,
        registered_at=datetime.now(UTC),
    )


def _folders(entry: Registration, workspace: Workspace) -> list[Path]:
    folders = [workspace.datasets(entry.name) / entry.version]
    return folders + ([workspace.prepared(entry.name) / entry.prepared_key] if entry.prepared_key else [])


def _sums_path(name: str, folder: Path, workspace: Workspace) -> Path:
    return workspace.root / "registry" / name / f"{folder.name}.sha256"


def _checked_sums(entry: Registration, folder: Path, workspace: Workspace) -> dict[str, str]:
    """The list of sums of `folder`, after its own sum was checked against the registry."""
    path = _sums_path(entry.name, folder, workspace)
    sums = parse_sums(path)
    if file_sha256(path) != entry.sums_sha256.get(path.relative_to(workspace.root).as_posix()):
        raise IntegrityError(f"The list of sums {path} is not the one that was registered")
    return sums


def _part(report: Progress, start: float, length: float) -> Progress:
    """A reporter whose 0 to 1 is a part of `report`'s."""
    return lambda share, line: report(start + length * share, line)


def _without_credentials(url: str) -> str:
    """`url` without user and password: the registry is read by people and goes into reports."""
    parts = urlsplit(url)
    if not parts.netloc:
        return url
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def _write_registry(workspace: Workspace, registry: dict[str, list[Registration]]) -> None:
    plain: dict[str, Any] = _REGISTRY.dump_python(registry, mode="json")
    text = yaml.safe_dump(plain, sort_keys=False, allow_unicode=True, width=120)
    write_bytes(
        workspace.registry, f"# Written by ARC: dataset name -> registered versions, oldest first.\n{text}".encode()
    )
