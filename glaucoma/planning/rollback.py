"""The books put back as a snapshot has them: all of it or nothing, and no experiment is touched.

A note, `snapshots/rollback.json`, stands while it is done. Whoever finds it, the next start of any flow, waits for the
process that is at it; where that was killed, the note says how far it was: one that had not begun to write is undone,
one that had is finished. What is written is the same each time, so that doing it again changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from glaucoma.errors import InputError, IntegrityError, problems
from glaucoma.planning.continuous_store import Research
from glaucoma.planning.continuous_store import names as research_names
from glaucoma.planning.snapshot import (
    Snapshot,
    books_held,
    copy_database,
    keep,
    kept_files,
    ledger_file,
    object_path,
    read_snapshot,
    require_whole,
)
from glaucoma.provenance import exclusive, file_sha256, sync_folder, write_bytes, write_json
from glaucoma.records.cycle_turn import cycles_worked_on
from glaucoma.records.ledger import Ledger
from glaucoma.training.claims import is_trained_now
from glaucoma.training.experiment import list_experiments
from glaucoma.workspace import Workspace


class BusyError(InputError):
    """Something runs that the books are about."""


class _Note(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    to: str
    stage: Literal["asked", "writing"]


class RolledBack(BaseModel):
    """What a rollback came to."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    to: str
    before: str = Field(description="The snapshot that was taken of the books as they were just before.")
    restored: list[str] = Field(description="Files that were put back as the snapshot has them.")
    removed: list[str] = Field(description="Files that the snapshot does not have; they are kept in `before`.")
    made_since: list[str] = Field(description="Experiments made since the snapshot: their files stay.")
    changed_since: list[str] = Field(
        description="Experiments whose metadata have changed since: they stay as they are."
    )
    cycles_since: list[str] = Field(
        description="Cycles begun since the snapshot: their files stay, and the ledger does not know them any more."
    )
    gone_since: list[str] = Field(description="Experiments that were there at the snapshot: no rollback brings them.")


def nobody() -> list[str]:
    """Nothing else is known to run."""
    return []


def roll_back(
    snapshot_id: str, workspace: Workspace, *, at: datetime, running: Callable[[], Sequence[str]] = nobody
) -> RolledBack:
    """Puts the books back, after a snapshot of the present.

    Args:
        running: Says what runs that only others know of, such as a cycle; asked when nothing new can start any more.

    Raises:
        NotFoundError: There is no such snapshot.
        IntegrityError: It is damaged.
        BusyError: Something trains or runs.
        SettingsError: The ledger is no SQLite file.
    """
    note = workspace.rollback_note
    ledger_file(workspace)
    with exclusive(workspace.locks / "rollback.lock"):
        _finish_held(workspace)
        wanted = read_snapshot(snapshot_id, workspace)
        require_whole(wanted, workspace)
        write_json(note, _Note(to=snapshot_id, stage="asked").model_dump())  # from here on no flow starts
        try:
            _require_quiet(workspace, running())
            with exclusive(workspace.locks / "snapshots.lock"), books_held(workspace):
                before = keep(workspace, reason=f"before the rollback to {snapshot_id}", at=at)
        except BaseException:
            _drop(note)
            raise
        write_json(note, _Note(to=snapshot_id, stage="writing").model_dump())
        cycles = _cycles(workspace)
        restored, removed = _write(wanted, workspace)
        since = sorted(cycles - _cycles(workspace))
        _drop(note)
    was, now = wanted.experiments, before.experiments
    return RolledBack(
        to=snapshot_id,
        before=before.snapshot_id,
        restored=restored,
        removed=removed,
        made_since=sorted(now.keys() - was.keys()),
        changed_since=sorted(
            name for name in now.keys() & was.keys() if now[name].metadata_sha256 != was[name].metadata_sha256
        ),
        cycles_since=since,
        gone_since=sorted(was.keys() - now.keys()),
    )


def finish_rollback(workspace: Workspace) -> str:
    """Finishes or undoes a rollback that was cut off, and waits for one that is being done; what it did, or "".

    Raises:
        IntegrityError: The note or its snapshot is damaged.
    """
    if not workspace.rollback_note.is_file():
        return ""
    with exclusive(workspace.locks / "rollback.lock"):
        return _finish_held(workspace)


def _finish_held(workspace: Workspace) -> str:
    path = workspace.rollback_note
    if not path.is_file():
        return ""
    try:
        note = _Note.model_validate_json(path.read_bytes())
    except ValueError as error:
        raise IntegrityError(
            f"{path} cannot be read ({problems(error)})", remedy="roll back once more after removing that file"
        ) from error
    if note.stage == "asked":
        _drop(path)
        return f"A rollback to {note.to} was cut off before it wrote anything: nothing has changed"
    wanted = read_snapshot(note.to, workspace)
    require_whole(wanted, workspace)
    _write(wanted, workspace)
    _drop(path)
    return f"The rollback to {note.to}, which was cut off, is finished"


def _write(wanted: Snapshot, workspace: Workspace) -> tuple[list[str], list[str]]:
    """Makes the books those of the snapshot; the same however often, and from wherever an earlier time stopped."""
    with exclusive(workspace.locks / "snapshots.lock"), books_held(workspace):
        restored, removed = [], []
        for name, sha256 in wanted.files.items():
            path = workspace.root / name
            for leftover in path.parent.glob(f".{path.name}.partial-*"):
                leftover.unlink()
            if not path.is_file() or file_sha256(path) != sha256:
                write_bytes(path, object_path(sha256, workspace).read_bytes())
                restored.append(name)
        for name in kept_files(workspace):
            if name not in wanted.files:
                _drop(workspace.root / name)
                removed.append(name)
        ledger = ledger_file(workspace)
        copy_database(object_path(wanted.ledger_sha256, workspace), ledger)
        Ledger(workspace.ledger_url)  # back to the journal that others expect, and its version checked
        restored.append(ledger.name)
    return restored, removed


def _cycles(workspace: Workspace) -> set[str]:
    return {cycle.cycle_id for cycle in Ledger(workspace.ledger_url).cycles()}


def _require_quiet(workspace: Workspace, others: Sequence[str]) -> None:
    trained = [one.experiment_id for one in list_experiments(workspace) if is_trained_now(one, workspace)]
    # The server that `others` comes from does not know of a terminal's cycles, which train nothing while they wait.
    cycles = cycles_worked_on(workspace)
    researched = [name for name in research_names(workspace) if Research(name, workspace).is_under_way()]
    busy = [
        *(f"{name} is being trained" for name in trained),
        *(f"the cycle {name} is being worked on" for name in cycles),
        *(f"a cycle of the research {name} runs" for name in researched),
        *others,
    ]
    if busy:
        raise BusyError(
            f"{len(busy)} things run that the books are about: {'; '.join(busy[:10])}",
            expected="nothing that trains, and no cycle that runs",
            consequence="Nothing was changed",
            remedy="wait for them, or cancel them first",
        )


def _drop(path: Path) -> None:
    path.unlink(missing_ok=True)
    sync_folder(path.parent)
