"""What is registered, and what there is to know of one version: counts, lineage, sums, places, validations."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from glaucoma.datasets.manifest import MANIFEST_NAME
from glaucoma.datasets.registry import (
    Judgement,
    Registration,
    checked_sums,
    find_registration,
    read_registry,
    registered_folders,
    registered_sum,
    sums_path,
)
from glaucoma.errors import IntegrityError
from glaucoma.provenance import KEY_LENGTH, StageRecord, digest, file_sha256, read_record
from glaucoma.workspace import Workspace

_VALIDATION = "validation.json"


class Version(BaseModel):
    """One registered version, in a line."""

    model_config = ConfigDict(frozen=True)

    name: str
    version: str
    prepared_key: str | None
    registered_at: datetime
    files: int
    bytes: int
    in_workspace: bool = Field(description="Whether all of its folders are there; says nothing of their bytes.")
    remote: str | None
    validated: bool | None = Field(description="Null: not validated before it was registered.")


class Step(BaseModel):
    """One step of a version's making, from its record."""

    model_config = ConfigDict(frozen=True)

    stage: str
    key: str
    inputs: dict[str, str]
    counts: dict[str, int]
    settings: dict[str, Any]
    started_at: datetime


class Place(BaseModel):
    """One folder of a version."""

    model_config = ConfigDict(frozen=True)

    folder: Path
    present: bool
    files: int | None = Field(description="By the list of sums; null where that is damaged.")
    sums: Path
    sums_sha256: str | None


class DatasetInfo(BaseModel):
    """All that is known of one registered version, without reading its images."""

    model_config = ConfigDict(frozen=True)

    entry: Registration
    places: list[Place]
    lineage: list[Step] = Field(description="From the archive on, as far as records are in the workspace.")
    validations: list[Judgement] = Field(description="All of this version that are in the workspace, oldest first.")


def list_versions(workspace: Workspace) -> list[Version]:
    """Every registered version, by name, oldest first."""
    return [
        Version(
            name=entry.name,
            version=entry.version,
            prepared_key=entry.prepared_key,
            registered_at=entry.registered_at,
            files=entry.files,
            bytes=entry.bytes,
            in_workspace=all(folder.is_dir() for folder, _ in registered_folders(entry, workspace)),
            remote=entry.remote,
            validated=entry.validation.passed if entry.validation else None,
        )
        for _, entries in sorted(read_registry(workspace).items())
        for entry in entries
    ]


def describe(name: str, version: str | None, workspace: Workspace) -> DatasetInfo:
    """What there is to know of one version; of the newest without `version`.

    Raises:
        NotFoundError: No such version.
    """
    entry = find_registration(name, version, workspace)
    folders = [folder for folder, _ in registered_folders(entry, workspace)]
    judged = _judgements(name, _judged_as(entry.version, entry.manifest_sha256), workspace)
    if entry.prepared_key:
        judged += _judgements(name, {"prepared": entry.prepared_key}, workspace)
    return DatasetInfo(
        entry=entry,
        places=[_place(entry, folder, workspace) for folder in folders],
        lineage=_lineage(entry, folders, workspace),
        validations=[one for _, one in sorted(judged, key=_by_time)],
    )


def newest_judgement(name: str, dataset: Path, workspace: Workspace) -> Judgement | None:
    """What the newest validation of the dataset in the folder `dataset` said; None where it was never validated."""
    inputs = _judged_as(dataset.name, file_sha256(dataset / MANIFEST_NAME))
    judged = sorted(_judgements(name, inputs, workspace), key=_by_time)
    return judged[-1][1] if judged else None


def _judged_as(version: str, manifest_sha256: str) -> dict[str, str]:
    return {"dataset": version, "manifest_sha256": manifest_sha256}


def _judgements(name: str, inputs: dict[str, str], workspace: Workspace) -> list[tuple[datetime, Judgement]]:
    """The validations of what `inputs` says, each with its time; a damaged record speaks for nothing."""
    found = []
    for record in _records(workspace.validations(name), _VALIDATION):
        if inputs.items() <= record.inputs.items():
            counts = {word: max(0, record.counts.get(word, 0)) for word in ("critical", "warnings")}
            passed = bool(record.details.get("passed", False))
            found.append((record.started_at, Judgement(key=record.key, stage=record.stage, passed=passed, **counts)))
    return found


def _by_time(one: tuple[datetime, Judgement]) -> tuple[datetime, str]:
    return one[0], one[1].key


def _lineage(entry: Registration, folders: list[Path], workspace: Workspace) -> list[Step]:
    """The records of the version's folders and of all that they were made from, the earliest first."""
    found: dict[str, StageRecord] = {}
    waiting = [
        record
        for folder, record_name in zip(folders, ("dataset.json", "prepared.json"), strict=False)
        for record in _records(folder.parent, record_name, folder.name)
    ]
    while waiting:
        record = waiting.pop()
        if record.key not in found:
            found[record.key] = record
            waiting.extend(_made_from(set(record.inputs.values()), workspace))
    return [
        Step(
            stage=record.stage,
            key=record.key,
            inputs=record.inputs,
            counts=record.counts,
            settings=record.settings,
            started_at=record.started_at,
        )
        for record in sorted(found.values(), key=lambda record: (record.started_at, record.key))
    ]


def _made_from(inputs: set[str], workspace: Workspace) -> Iterator[StageRecord]:
    """The datasets and unpacked archives that one of `inputs` names, by key or by the hash of an archive's files."""
    for key in inputs:
        if len(key) == KEY_LENGTH and key.isalnum():
            yield from _records(workspace.root / "datasets", "dataset.json", f"*/{key}")
    for record in _records(workspace.archives, "archive.json"):
        files = {str(one.get("path")): str(one.get("sha256")) for one in record.details.get("files", [])}
        if record.key in inputs or digest(files) in inputs:
            yield record


def _records(parent: Path, record_name: str, key: str = "*") -> Iterator[StageRecord]:
    for path in sorted(parent.glob(f"{key}/{record_name}")):
        try:
            yield read_record(path)
        except (IntegrityError, OSError):
            continue  # what cannot be read tells nothing; check-dataset says that it is damaged


def _place(entry: Registration, folder: Path, workspace: Workspace) -> Place:
    try:
        files = len(checked_sums(entry, folder, workspace))
    except IntegrityError:
        files = None
    return Place(
        folder=folder,
        present=folder.is_dir(),
        files=files,
        sums=sums_path(entry.name, folder, workspace),
        sums_sha256=registered_sum(entry, folder, workspace),
    )
