"""How a stage's output comes to be: named by its key, written aside, renamed into place last, its story in JSON beside.

A key is a hash of the stage's inputs, its settings and its code (the stage's modules and all that they import inside
this package, and nothing else). The same key is the same output: it is made once, and whoever wants it meanwhile waits.
"""

from __future__ import annotations

import ast
import contextlib
import fcntl
import hashlib
import importlib.metadata
import importlib.util
import json
import math
import os
import platform
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from glaucoma.errors import DiskSpaceError, IntegrityError, problems, shown_bytes
from glaucoma.workspace import Workspace

_PACKAGE = "glaucoma"
_VERSIONED = ("arc-glaucoma", "prefect", "torch", "timm", "segmentation-models-pytorch", "monai", "numpy", "pandas",
              "scipy", "scikit-learn", "opencv-python-headless", "optuna", "great-expectations", "dvc")  # fmt: skip
KEY_LENGTH = 16


class StageRecord(BaseModel):
    """The JSON beside a stage's output."""

    model_config = ConfigDict(extra="forbid")

    stage: str
    key: str
    inputs: dict[str, str] = Field(description="What went in: name -> hash or key.")
    settings: dict[str, Any]
    code_sha256: str
    started_at: datetime
    duration_s: float
    versions: dict[str, str]
    counts: dict[str, int] = Field(default_factory=dict)
    details: dict[str, Any] = Field(default_factory=dict, description="What only this stage has to say.")


@dataclass(frozen=True)
class StageOutput:
    """A finished output: its folder, its record, and whether it was already there."""

    folder: Path
    record: StageRecord
    reused: bool

    @property
    def key(self) -> str:
        return self.record.key


@dataclass(frozen=True)
class Built:
    """What a stage's builder gives back for the record."""

    counts: dict[str, int]
    details: dict[str, Any]


def run_stage(
    *,
    stage: str,
    workspace: Workspace,
    parent: Path,
    record_name: str,
    inputs: Mapping[str, str],
    settings: BaseModel,
    module: str,
    build: Callable[[Path], Built],
) -> StageOutput:
    """Gives the output `parent/<key>`, made by `build(staging_folder)` unless it is there already.

    `build` writes into a fresh staging folder beside the final one; an error in it leaves nothing. What a killed
    process left in staging is removed by the next one that wants the same key. Two that want the same key at once
    share the work. The folder's time says when it was last made or asked for: `Workspace.find` takes the newest.

    Args:
        module: The stage's main module; its code and imports are part of the key.
    """
    code = code_sha256(module)
    settings_json = settings.model_dump(mode="json")
    key = stage_key(stage, inputs, settings_json, code)
    folder = parent / key
    with exclusive(workspace.locks / f"{stage}-{parent.name}-{key}.lock"):
        if (folder / record_name).is_file():
            found = StageOutput(folder, read_record(folder / record_name), reused=True)
            os.utime(folder)
            return found
        parent.mkdir(parents=True, exist_ok=True)
        for leftover in parent.glob(f".{key}.partial*"):
            remove_tree(leftover)
        staging = parent / f".{key}.partial-{os.getpid()}"
        staging.mkdir()
        started_at, started = datetime.now(UTC), time.monotonic()
        try:
            built = build(staging)
            record = StageRecord(
                stage=stage,
                key=key,
                inputs=dict(inputs),
                settings=settings_json,
                code_sha256=code,
                started_at=started_at,
                duration_s=round(time.monotonic() - started, 3),
                versions=versions(),
                counts=built.counts,
                details=built.details,
            )
            write_json(staging / record_name, record.model_dump(mode="json"))
            os.utime(staging)
            staging.rename(folder)
            sync_folder(parent)
        except BaseException:
            remove_tree(staging)
            raise
    return StageOutput(folder, record, reused=False)


def stage_key(stage: str, inputs: Mapping[str, str], settings: Mapping[str, Any], code: str) -> str:
    """16 hexadecimal digits that change with any of the arguments and with nothing else."""
    return digest({"stage": stage, "inputs": dict(inputs), "settings": dict(settings), "code": code})[:KEY_LENGTH]


def digest(value: Any) -> str:
    """SHA-256 of a JSON-able value, independent of the order of its keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()


def read_record(path: Path) -> StageRecord:
    """The record at `path`; `IntegrityError` where it is no valid record."""
    try:
        return StageRecord.model_validate_json(path.read_bytes())
    except ValueError as error:
        raise IntegrityError(
            f"{path} is not a valid stage record ({problems(error)})",
            remedy="remove its folder and run the stage again",
        ) from error


@cache
def code_sha256(module: str) -> str:
    """Hash of the source of `module` and of every module of this package that it imports, directly or not.

    A package's `__init__` counts when it or anything in it is imported. Reads the sources; imports nothing.
    """
    sources: dict[str, bytes] = {}
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name in sources:
            continue
        path = _source(name)
        if path is None:
            continue
        source = path.read_bytes()
        sources[name] = source
        waiting.extend(_imports(name, path.name == "__init__.py", source))
    hasher = hashlib.sha256()
    for name in sorted(sources):
        hasher.update(name.encode() + b"\0" + hashlib.sha256(sources[name]).digest())
    return hasher.hexdigest()


def _imports(module: str, is_package: bool, source: bytes) -> Iterator[str]:
    """Names of this package's modules that `source` imports; relative imports are resolved against `module`."""
    for node in ast.walk(ast.parse(source)):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = module.split(".") if is_package else module.split(".")[:-1]
                base = ".".join([*parts[: len(parts) - node.level + 1], *([node.module] if node.module else [])])
            names = [base, *(f"{base}.{alias.name}" for alias in node.names)]
        for name in names:
            if name.split(".")[0] != _PACKAGE or name == _PACKAGE:
                continue
            if _source(name) is not None:  # else an imported name that is no module
                yield name


def _source(module: str) -> Path | None:
    """The file of a module's source, None where there is no such module.

    Inside this package it is looked for by its name alone: `find_spec` would import what the module lies in, and with
    it, seconds each, every library that only some runs need.
    """
    root, *inside = module.split(".")
    if root != _PACKAGE:
        spec = importlib.util.find_spec(module)
        return Path(spec.origin) if spec is not None and spec.origin is not None else None
    place = Path(__file__).parent.joinpath(*inside)
    found = (place / "__init__.py", place.parent / f"{place.name}.py")
    return next((path for path in found if path.is_file()), None)


@contextlib.contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Holds an flock on `path`; the kernel frees it when the holder dies, however it dies."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


@cache
def versions() -> dict[str, str]:
    """Python, the platform, and the installed version of every package whose version can change a number."""
    found = {"python": platform.python_version(), "platform": platform.platform()}
    for name in _VERSIONED:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, read in pieces."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def write_bytes(path: Path, content: bytes) -> None:
    """Puts `content` at `path` whole or not at all: temporary name, fsync, rename."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.partial-{os.getpid()}")
    try:
        with temporary.open("wb") as handle:
            handle.write(content)
            handle.flush()
            os.fsync(handle.fileno())
        temporary.rename(path)
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(path.parent)


def write_json(path: Path, value: Any) -> None:
    """Writes strict JSON, whole or not at all; NaN and infinities, which JSON has not, become null."""
    text = json.dumps(_finite(value), indent=2, ensure_ascii=False, default=str, allow_nan=False)
    write_bytes(path, (text + "\n").encode())


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {str(k): _finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(v) for v in value]
    return value


def sync_folder(folder: Path) -> None:
    """Makes a rename inside `folder` survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_tree(folder: Path) -> None:
    """Removes `folder` and all in it; nothing to do where it is not there."""
    shutil.rmtree(folder, ignore_errors=False) if folder.exists() else None


def require_disk_space(folder: Path, needed_bytes: int, what: str) -> None:
    """`DiskSpaceError` unless `needed_bytes` and a tenth more are free where `folder` lies (or will lie)."""
    place = folder
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    if free < needed_bytes * 1.1:
        raise DiskSpaceError(
            f"{shown_bytes(free)} free at {place}",
            expected=f"at least {shown_bytes(needed_bytes * 1.1)} for {what}",
            consequence="Nothing was written",
            remedy="free some space there, or name another place with --workspace or ARC_WORKSPACE",
        )
