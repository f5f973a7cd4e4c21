"""The data registry: which versions of which dataset there are, where their bytes are kept, and what each byte was.

`data_registry.yaml` in the workspace maps a dataset's name to its registered versions, oldest first. It is read as if a
stranger had written it.
"""

from __future__ import annotations

import hashlib
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, field_validator, model_validator

from glaucoma.datasets.remote import Remote, refuse_credentials
from glaucoma.datasets.sums import format_sums, parse_sums, sum_folder
from glaucoma.errors import IntegrityError, NotFoundError, SettingsError, problems
from glaucoma.provenance import file_sha256, write_bytes
from glaucoma.roots import confined_address, is_workers_run
from glaucoma.settings import Settings
from glaucoma.workspace import NAME_PATTERN, Workspace

_LARGEST_BYTES = 64 * 2**20
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""libyaml's where it is there: ten times as fast, and a registry grows."""

Key = Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
DvcMd5 = Annotated[str, Field(pattern=r"^[0-9a-f]{32}\.dir$")]


class RemoteSettings(Settings):
    """Which remote: a plain address, or a block with keys."""

    remote_url: str | None = Field(
        default=None,
        description="A DVC remote: an absolute folder, s3://bucket/prefix and so on, without user and password. "
        "Empty: where the version lies already, else the folder dvc-remote in the workspace.",
        json_schema_extra={"pattern": r"^(?![A-Za-z0-9+.-]+://[^/]*@)"},
    )
    remote_block: str | None = Field(
        default=None,
        pattern=r"^[a-z0-9-]+$",
        description="Name of a block of type dvc-remote, which holds an address and its keys. Instead of remote_url.",
    )

    @field_validator("remote_url")
    @classmethod
    def _no_credentials(cls, url: str | None) -> str | None:
        if url is not None:
            refuse_credentials(url)
        return confined_address(url) if url and is_workers_run() else url

    @model_validator(mode="after")
    def _one_remote(self) -> RemoteSettings:
        if self.remote_url and self.remote_block:
            raise SettingsError(
                "Both remote_url and remote_block are given", expected="one of them; a block has its own address"
            )
        return self


class RegisterSettings(RemoteSettings):
    """Where registered datasets are kept."""

    push: bool = Field(default=True, description="Copy the data to the remote; false leaves it in DVC's cache only.")
    push_again: bool = Field(
        default=False,
        description="Read every object of the version in the remote and write anew what is missing or damaged there.",
    )

    @model_validator(mode="after")
    def _push_to_push_again(self) -> RegisterSettings:
        if self.push_again and not self.push:
            raise SettingsError("push_again is on and push is off", expected="push_again with push only")
        return self


class Judgement(BaseModel):
    """What one validation of a version said."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    key: Key
    stage: str = Field(default="validate", description="Which validation: of the dataset, or of its prepared form.")
    passed: bool
    critical: int = Field(ge=0)
    warnings: int = Field(ge=0)


class Registration(BaseModel):
    """One registered version of a dataset: an entry of `data_registry.yaml`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=NAME_PATTERN)
    version: Key = Field(description="The dataset's key.")
    manifest_sha256: Sha256
    dvc_md5: DvcMd5 = Field(description="DVC's hash of the dataset's folder.")
    prepared_key: Key | None = None
    prepared_dvc_md5: DvcMd5 | None = None
    files: int = Field(ge=0, description="Files of the dataset and of its prepared form together.")
    bytes: int = Field(ge=0)
    sums_sha256: dict[str, Sha256] = Field(description="Lists of sums, relative to the workspace -> their own SHA-256.")
    remote: str | None = Field(description="Without user and password; null where nothing was pushed.")
    endpoint_url: str | None = None
    remote_block: str | None = Field(default=None, description="The block that named the remote.")
    source: dict[str, str] = Field(description="What the dataset was made from: name -> hash or key.")
    validation: Judgement | None = Field(
        default=None, description="The newest of the dataset when it was registered; null where there was none."
    )
    registered_at: datetime
    reused: bool = Field(default=False, exclude=True, description="Whether the entry was there already.")

    @model_validator(mode="after")
    def _both_or_none(self) -> Registration:
        if (self.prepared_key is None) != (self.prepared_dvc_md5 is None):
            raise ValueError("prepared_key and prepared_dvc_md5 belong together")
        return self

    def same_version(self, other: Registration) -> bool:
        """Whether both stand for the same dataset and prepared form."""
        return (self.version, self.prepared_key) == (other.version, other.prepared_key)


_REGISTRY = TypeAdapter(dict[Annotated[str, Field(pattern=NAME_PATTERN)], list[Registration]])


def read_registry(workspace: Workspace) -> dict[str, list[Registration]]:
    """All entries by dataset name, oldest first; empty where nothing is registered yet.

    Raises:
        IntegrityError: The file is no registry: damaged, too large, or with what a registry never holds.
    """
    if not workspace.registry.is_file():
        return {}
    try:
        registry = _REGISTRY.validate_python(_plain_yaml(workspace.registry) or {})
        _require_own_names(registry)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise IntegrityError(
            f"{workspace.registry} is no valid registry ({problems(error)})",
            consequence="It was left as it is, and nothing was done",
            remedy="restore it from a copy, or move it away and register the datasets again",
        ) from error
    return registry


def write_registry(workspace: Workspace, registry: dict[str, list[Registration]]) -> None:
    """Puts the registry in place, whole or not at all."""
    plain: dict[str, Any] = _REGISTRY.dump_python(registry, mode="json")
    text = yaml.safe_dump(plain, sort_keys=False, allow_unicode=True, width=120)
    write_bytes(
        workspace.registry, f"# Written by ARC: dataset name -> registered versions, oldest first.\n{text}".encode()
    )


def find_registration(name: str, version: str | None, workspace: Workspace) -> Registration:
    """The newest entry of that version, or of the newest version; `NotFoundError` lists what is there."""
    registry = read_registry(workspace)
    entries = registry.get(name, [])
    for entry in reversed(entries):
        if version in (None, entry.version):
            return entry
    names = f"; registered datasets: {', '.join(sorted(registry))}" if registry and not entries else ""
    raise NotFoundError(
        f"No version {version or ''} of {name!r} is registered in {workspace.registry}".replace("  ", " "),
        expected=f"one of: {', '.join(sorted({one.version for one in entries})) or 'none is registered'}{names}",
        remedy="python -m flows.datasets lists all; python -m flows.register adds one",
    )


def registered_folders(entry: Registration, workspace: Workspace) -> list[tuple[Path, str]]:
    """The folders of a version, there or not, each with DVC's hash of it."""
    folders = [(workspace.datasets(entry.name) / entry.version, entry.dvc_md5)]
    if entry.prepared_key and entry.prepared_dvc_md5:
        folders.append((workspace.prepared(entry.name) / entry.prepared_key, entry.prepared_dvc_md5))
    return folders


def sums_path(name: str, folder: Path, workspace: Workspace) -> Path:
    """Where the list of sums of a folder lies."""
    return workspace.root / "registry" / name / f"{folder.name}.sha256"


def registered_sum(entry: Registration, folder: Path, workspace: Workspace) -> str | None:
    """The SHA-256 that the list of sums of `folder` must have; None where the entry does not speak of that folder."""
    return entry.sums_sha256.get(sums_path(entry.name, folder, workspace).relative_to(workspace.root).as_posix())


def checked_sums(entry: Registration, folder: Path, workspace: Workspace) -> dict[str, str]:
    """The list of sums of `folder`, after its own sum was checked against the registry; `IntegrityError` otherwise."""
    path = sums_path(entry.name, folder, workspace)
    sums = parse_sums(path, folder.relative_to(workspace.root).as_posix())
    if file_sha256(path) != registered_sum(entry, folder, workspace):
        raise IntegrityError(
            f"The list of sums {path} is not the one that was registered",
            remedy=f"python -m flows.restore --name {entry.name} --version {entry.version} makes it again",
        )
    return sums


def heal_sums(entry: Registration, folder: Path, workspace: Workspace, sums: dict[str, str] | None = None) -> bool:
    """Writes a lost or damaged list of sums again, where the folder's own files give the very list registered.

    Args:
        sums: The folder's sums as they are now; None to read the folder.

    Returns:
        Whether the list is sound now.
    """
    try:
        checked_sums(entry, folder, workspace)
    except IntegrityError:
        text = format_sums(sum_folder(folder, workspace.root) if sums is None else sums)
        if hashlib.sha256(text).hexdigest() != registered_sum(entry, folder, workspace):
            return False
        write_bytes(sums_path(entry.name, folder, workspace), text)
    return True


def stored_at(entry: Registration, workspace: Workspace) -> Remote:
    """Where a version's bytes are by its entry, without keys; DVC's cache where it was never pushed."""
    if entry.remote is None:
        return Remote(str(cache_folder(workspace)))
    return Remote(entry.remote, endpoint_url=entry.endpoint_url)


def cache_folder(workspace: Workspace) -> Path:
    """DVC's cache; it is laid out as a remote is."""
    return workspace.root / ".dvc" / "cache"


def _require_own_names(registry: dict[str, list[Registration]]) -> None:
    for name, entries in registry.items():
        if any(entry.name != name for entry in entries):
            raise ValueError(f"an entry under {name} is of another dataset")


def _plain_yaml(path: Path) -> Any:
    """The YAML in `path`, without aliases: a few lines of them stand for gigabytes."""
    if path.stat().st_size > _LARGEST_BYTES:
        raise ValueError(f"it is larger than {_LARGEST_BYTES // 2**20} MiB")
    text = path.read_text(encoding="utf-8")
    if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, Loader=_LOADER)):
        raise ValueError("it holds YAML aliases")
    return yaml.load(text, Loader=_LOADER)  # noqa: S506  a safe loader, written in C
