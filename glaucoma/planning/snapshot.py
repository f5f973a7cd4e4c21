"""The books as they are, kept: ledger, dataset registry, judgements, states of research, what experiments there are.

`snapshots/<id>/snapshot.json` names each file with its hash; the bytes lie in `snapshots/objects/<sha256>`, once
however many snapshots hold them. Experiments, datasets and models are not copied: a list says how their metadata were.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import make_url

from glaucoma.errors import ArcError, IntegrityError, NotFoundError, SettingsError, problems
from glaucoma.planning.archive import archived_names, pack_path
from glaucoma.provenance import digest, exclusive, file_sha256, sync_folder, write_bytes, write_json
from glaucoma.records.ledger import Ledger
from glaucoma.records.packing import listed
from glaucoma.training.experiment import list_experiments
from glaucoma.workspace import Workspace

SNAPSHOT_NAME = "snapshot.json"
_OBJECTS = "objects"
_KEPT = ("data_registry.yaml", "judgements/*.yaml", "research/*/*.json", "research/*/*.jsonl")
"""What is kept beside the ledger: small files that nothing can make again."""
_SHA256 = r"^[0-9a-f]{64}$"


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class KnownExperiment(_Part):
    """How an experiment's folder stood."""

    status: str = Field(description="`archived` where it is packed away.")
    metadata_sha256: str | None = Field(pattern=_SHA256, description="None where its pack cannot be read.")


class Snapshot(_Part):
    """`snapshot.json`."""

    format_version: Literal[1] = 1
    snapshot_id: str
    at: datetime
    reason: str
    files: dict[str, str] = Field(description="Path in the workspace -> SHA-256.")
    ledger_sha256: str = Field(pattern=_SHA256)
    ledger_experiments: int
    ledger_cycles: int
    experiments: dict[str, KnownExperiment] = Field(description="Those that were in the workspace, or packed away.")


def take_snapshot(workspace: Workspace, *, reason: str, at: datetime) -> Snapshot:
    """Keeps the books as they are at this moment; who would write them waits meanwhile.

    Raises:
        SettingsError: The ledger is no SQLite file.
        IntegrityError: The ledger is damaged.
    """
    with exclusive(workspace.locks / "snapshots.lock"), books_held(workspace):
        return keep(workspace, reason=reason, at=at)


def keep(workspace: Workspace, *, reason: str, at: datetime) -> Snapshot:
    """The same for who holds the books already."""
    database = ledger_file(workspace)
    ledger = Ledger(workspace.ledger_url)
    for leftover in (workspace.snapshots / _OBJECTS).glob(".*.partial-*"):  # of a snapshot that was killed
        leftover.unlink()
    files = {name: _keep_file(workspace.root / name, workspace) for name in kept_files(workspace)}
    ledger_sha256 = _keep_ledger(database, workspace)
    content = {"files": files, "ledger": ledger_sha256, "at": at.isoformat(), "reason": reason}
    made = Snapshot(
        snapshot_id=f"{at.astimezone(UTC):%Y%m%dT%H%M%SZ}-{digest(content)[:6]}",
        at=at.astimezone(UTC),
        reason=reason,
        files=files,
        ledger_sha256=ledger_sha256,
        ledger_experiments=len(ledger.experiments()),
        ledger_cycles=len(ledger.cycles()),
        experiments=_known(workspace),
    )
    write_json(workspace.snapshots / made.snapshot_id / SNAPSHOT_NAME, made.model_dump(mode="json"))
    return made


def list_snapshots(workspace: Workspace) -> list[Snapshot]:
    """All snapshots, the newest first.

    Raises:
        IntegrityError: One cannot be read.
    """
    found = [_read(path) for path in workspace.snapshots.glob(f"[0-9]*/{SNAPSHOT_NAME}")]
    return sorted(found, key=lambda one: (one.at, one.snapshot_id), reverse=True)


def read_snapshot(snapshot_id: str, workspace: Workspace) -> Snapshot:
    """The snapshot of that id.

    Raises:
        NotFoundError: There is none; the newest are listed.
        IntegrityError: It cannot be read.
    """
    names = sorted((path.parent.name for path in workspace.snapshots.glob(f"[0-9]*/{SNAPSHOT_NAME}")), reverse=True)
    if snapshot_id not in names:
        raise NotFoundError(
            f"No snapshot {snapshot_id!r} in {workspace.snapshots}",
            expected=f"one of: {', '.join(names[:10]) or 'none yet'}",
        )
    return _read(workspace.snapshots / snapshot_id / SNAPSHOT_NAME)


def object_path(sha256: str, workspace: Workspace) -> Path:
    """Where bytes of that hash lie."""
    return workspace.snapshots / _OBJECTS / sha256


def require_whole(snapshot: Snapshot, workspace: Workspace) -> None:
    """Reads every byte of a snapshot again.

    Raises:
        IntegrityError: Something is missing or is not as it was.
    """
    wanted = {**snapshot.files, "ledger.db": snapshot.ledger_sha256}
    for name, sha256 in wanted.items():
        path = object_path(sha256, workspace)
        if not path.is_file() or file_sha256(path) != sha256:
            raise IntegrityError(
                f"{name} of the snapshot {snapshot.snapshot_id} is missing or damaged ({path})",
                consequence="Nothing was changed",
                remedy="take another snapshot, or put back a copy of that file",
            )


def kept_files(workspace: Workspace) -> list[str]:
    """Of the files that snapshots keep, those that are there now, relative to the workspace."""
    found = {path for pattern in _KEPT for path in workspace.root.glob(pattern)}
    names = [path.relative_to(workspace.root) for path in found if path.is_file() and not path.is_symlink()]
    return sorted(name.as_posix() for name in names if not any(part.startswith(".") for part in name.parts))


def ledger_file(workspace: Workspace) -> Path:
    """The ledger's SQLite file.

    Raises:
        SettingsError: It is kept elsewhere.
    """
    url = make_url(workspace.ledger_url)
    if url.get_backend_name() != "sqlite" or not url.database:
        raise SettingsError(
            f"The ledger is kept in {url.get_backend_name()}",
            expected="SQLite in the workspace",
            consequence="No snapshot was taken, nothing was rolled back",
            remedy="use the database's own means, such as pg_dump and pg_restore",
        )
    return Path(url.database)


@contextlib.contextmanager
def books_held(workspace: Workspace) -> Iterator[None]:
    """Keeps others from opening cycles, registering datasets, judging and steering; the ledger guards itself."""
    judged = [f"judgements-{path.stem}" for path in sorted((workspace.root / "judgements").glob("[!.]*.yaml"))]
    researched = [f"research-{path.parent.name}-state" for path in sorted(workspace.root.glob("research/*/state.json"))]
    locks = ["open-cycle", "register", *judged, *researched]
    with contextlib.ExitStack() as held:
        for name in locks:
            held.enter_context(exclusive(workspace.locks / f"{name}.lock"))
        yield


def _keep_file(path: Path, workspace: Workspace) -> str:
    sha256 = file_sha256(path)
    target = object_path(sha256, workspace)
    if not target.is_file():
        write_bytes(target, path.read_bytes())
        if file_sha256(target) != sha256:
            target.unlink()
            raise IntegrityError(f"{path} changed while it was copied", remedy="take the snapshot again")
    return sha256


def _keep_ledger(database: Path, workspace: Workspace) -> str:
    """A copy by SQLite's own means: consistent, whoever writes meanwhile."""
    folder = workspace.snapshots / _OBJECTS
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / f".ledger.partial-{os.getpid()}"
    try:
        copy_database(database, temporary)
        with contextlib.closing(sqlite3.connect(temporary)) as copy:
            copy.execute("PRAGMA journal_mode=DELETE")  # one file that is all of it, without a journal beside
        with temporary.open("rb+") as handle:
            os.fsync(handle.fileno())
        sha256 = file_sha256(temporary)
        temporary.rename(object_path(sha256, workspace))
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(folder)
    return sha256


def copy_database(source: Path, target: Path) -> None:
    """Copies an SQLite database upon another, in one transaction there: whole or not at all, also where it is killed.

    Raises:
        IntegrityError: The source is damaged or no database.
    """
    try:
        with (
            contextlib.closing(sqlite3.connect(f"{source.as_uri()}?mode=ro", uri=True)) as there,
            contextlib.closing(sqlite3.connect(target)) as here,
        ):
            if there.execute("PRAGMA quick_check").fetchone() != ("ok",):
                raise sqlite3.DatabaseError("its own check finds faults")
            there.backup(here)
    except sqlite3.Error as error:
        raise IntegrityError(
            f"The database {source} cannot be copied ({error})", consequence="Nothing was changed"
        ) from error


def _known(workspace: Workspace) -> dict[str, KnownExperiment]:
    """How each experiment stands, wherever its files are."""
    known = {
        name: KnownExperiment(status="archived", metadata_sha256=_packed_sha256(name, workspace))
        for name in archived_names("experiment", workspace)
    }
    for one in list_experiments(workspace):
        sha256 = file_sha256(one.metadata_path)
        known[one.experiment_id] = KnownExperiment(status=one.status, metadata_sha256=sha256)
    return known


def _packed_sha256(name: str, workspace: Workspace) -> str | None:
    try:
        files = listed(pack_path("experiment", name, workspace)).files
    except ArcError:
        return None  # its own business: the books can be kept all the same
    return next((file.sha256 for file in files if file.path == "metadata.json"), None)


def _read(path: Path) -> Snapshot:
    try:
        found = Snapshot.model_validate_json(path.read_bytes())
    except ValueError as error:
        raise IntegrityError(
            f"{path} is no valid snapshot ({problems(error)})", remedy="remove its folder: the others are whole"
        ) from error
    if found.snapshot_id != path.parent.name:
        raise IntegrityError(f"{path} is of {found.snapshot_id}", remedy="give its folder that name")
    return found
