"""Continuous research on the disk: its state, whole at any moment; its journal; and the lock of its one cycle.

`research/<name>/state.json` is the truth. `journal.jsonl` has a line for each cycle that ended: where a kill came
between the two, the next change of the state adds the line that is missing.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from glaucoma.errors import IntegrityError, NotFoundError, problems
from glaucoma.planning.continuous import CycleEnd, ResearchState
from glaucoma.provenance import exclusive, sync_folder, write_json
from glaucoma.training.claims import tried
from glaucoma.workspace import Workspace, checked_name

STATE_NAME = "state.json"
JOURNAL_NAME = "journal.jsonl"
_PATIENCE_S = 1.0
"""For who only looks whether a cycle runs, and holds the lock for a moment."""


@dataclass(frozen=True)
class Research:
    """One continuous research of a workspace, by its name."""

    name: str
    workspace: Workspace

    @property
    def folder(self) -> Path:
        return self.workspace.research / checked_name(self.name)

    @property
    def state_path(self) -> Path:
        return self.folder / STATE_NAME

    @property
    def journal_path(self) -> Path:
        return self.folder / JOURNAL_NAME

    def read(self) -> ResearchState | None:
        """Its state; None where there is no such research. `IntegrityError` where the file is no valid state."""
        try:
            return ResearchState.model_validate_json(self.state_path.read_bytes())
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise IntegrityError(
                f"{self.state_path} is no valid state of a research ({problems(error)})",
                consequence="No cycle of it is started",
                remedy="put back a copy, or remove its folder and start the research anew: its cycles stay as they are",
            ) from error

    def require(self) -> ResearchState:
        """Its state; `NotFoundError` lists what there is."""
        state = self.read()
        if state is None:
            raise NotFoundError(
                f"No research {self.name!r} in {self.workspace.research}",
                expected=f"one of: {', '.join(names(self.workspace)) or 'none yet'}",
                remedy="start it with its settings first, or check the name and the workspace",
            )
        return state

    def change(self, change: Callable[[ResearchState | None], ResearchState]) -> ResearchState:
        """Puts `change(state)` in place of the state; two processes cannot undo each other's change."""
        with exclusive(self.workspace.locks / f"research-{self.name}-state.lock"):
            after = change(self.read())
            self.folder.mkdir(parents=True, exist_ok=True)
            write_json(self.state_path, after.model_dump(mode="json"))
            if after.last is not None:
                self._note(after.last)
        return after

    def change_there(self, change: Callable[[ResearchState], ResearchState]) -> ResearchState:
        """The same for a research that is there."""
        self.require()
        return self.change(lambda state: change(state if state is not None else self.require()))

    def journal(self) -> list[CycleEnd]:
        """The cycles that ended, oldest first; a line that cannot be read is left out."""
        try:
            lines = self.journal_path.read_text(encoding="utf-8", errors="replace").splitlines()
        except FileNotFoundError:
            return []
        found = []
        for line in lines:
            with contextlib.suppress(ValueError):  # torn by a kill: the next change has written it again, whole
                found.append(CycleEnd.model_validate_json(line))
        return found

    def _note(self, end: CycleEnd) -> None:
        """Adds the journal's line for `end`, unless it is there."""
        known = self.journal()
        if known and (known[-1].number, known[-1].ended_at) >= (end.number, end.ended_at):
            return
        line = json.dumps(end.model_dump(mode="json"), ensure_ascii=False, allow_nan=False)
        with self.journal_path.open("ab+") as handle:
            torn = handle.tell() > 0 and not _ends_whole(handle.fileno(), handle.tell())
            handle.write(f"{chr(10) if torn else ''}{line}\n".encode())
            handle.flush()
            os.fsync(handle.fileno())
        sync_folder(self.folder)

    @contextlib.contextmanager
    def turn(self) -> Iterator[bool]:
        """Holds the research while a cycle of it runs; yields False, and holds nothing, where another holds it.

        The kernel frees it when the holder dies, however it dies.
        """
        with tried(self._lock_path, _PATIENCE_S) as handle:
            yield handle is not None

    def is_under_way(self) -> bool:
        """True where a process holds it right now."""
        if not self._lock_path.is_file():
            return False
        with tried(self._lock_path) as handle:
            return handle is None

    @property
    def _lock_path(self) -> Path:
        return self.workspace.locks / f"research-{checked_name(self.name)}.lock"


def names(workspace: Workspace) -> list[str]:
    """Every research of the workspace."""
    return sorted(path.parent.name for path in workspace.research.glob(f"*/{STATE_NAME}"))


def worked_on_by(flow_run_id: str, workspace: Workspace) -> Research | None:
    """The research whose cycle that flow run works on; None where it works on none."""
    for name in names(workspace):
        research = Research(name, workspace)
        with contextlib.suppress(IntegrityError):  # another one, which its own turn tells of
            under_way = research.require().under_way
            if under_way is not None and under_way.flow_run_id == flow_run_id:
                return research
    return None


def waiting_longest(workspace: Workspace) -> list[str]:
    """Every research that is on, the one first of which nothing has run for longest; those that never ran first of all.

    A cycle that is cut off each time thus lets the others go before it. A research whose state cannot be read comes
    last: its error must not keep the others from their turn.
    """
    order = []
    for name in names(workspace):
        try:
            state = Research(name, workspace).require()
        except IntegrityError:
            order.append((1, 0.0, name))
        else:
            if not state.stopped:
                order.append((0, _last_ran(state), name))
    return [name for *_, name in sorted(order)]


def _last_ran(state: ResearchState) -> float:
    """Seconds since the epoch; 0 where nothing of it ran yet."""
    ended = state.last.ended_at.timestamp() if state.last else 0.0
    begun = state.under_way.attempt_at.timestamp() if state.under_way else 0.0
    return max(ended, begun)


def _ends_whole(descriptor: int, size: int) -> bool:
    return os.pread(descriptor, 1, size - 1) == b"\n"
