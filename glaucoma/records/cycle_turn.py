"""Whose turn a research cycle is: one process works on it at a time, and which flow run that is stands in its lock."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from glaucoma.errors import InputError
from glaucoma.training.claims import tried
from glaucoma.workspace import Workspace

_PATIENCE_S = 10.0
"""For a holder that is about to end, such as a process that was just killed."""
_NAME = "cycle-{}.lock"


class CycleBusyError(InputError):
    """Another process works on the cycle."""


@contextlib.contextmanager
def cycle_turn(cycle_id: str, run_id: str, workspace: Workspace) -> Iterator[None]:
    """Holds the cycle for the flow run while the block runs; the kernel frees it when the holder dies, however it dies.

    Raises:
        CycleBusyError: Another process holds it.
    """
    path = workspace.locks / _NAME.format(cycle_id)
    with tried(path, _PATIENCE_S) as handle:
        if handle is None:
            raise CycleBusyError(
                f"Cycle {cycle_id} is being worked on by another process (flow run {_holder(path) or 'unknown'})",
                consequence="Nothing of it was started a second time",
                remedy="wait for that run, or cancel it; then the same command goes on with the cycle",
            )
        handle.truncate(0)
        handle.write(run_id)
        handle.flush()
        yield


def cycle_of_living_run(run_id: str, workspace: Workspace) -> str | None:
    """The cycle that a living process of this flow run works on; None where there is none."""
    return next((cycle for cycle, holder in _locks(workspace) if holder == run_id and _is_held(cycle, workspace)), None)


def cycles_worked_on(workspace: Workspace) -> list[str]:
    """The cycles that a living process works on, or waits with for a person's word."""
    return [cycle for cycle, _ in _locks(workspace) if _is_held(cycle, workspace)]


def _locks(workspace: Workspace) -> Iterator[tuple[str, str]]:
    before, after = _NAME.split("{}")
    for path in sorted(workspace.locks.glob(_NAME.format("*"))):
        yield path.name.removeprefix(before).removesuffix(after), _holder(path)


def _is_held(cycle_id: str, workspace: Workspace) -> bool:
    with tried(workspace.locks / _NAME.format(cycle_id)) as handle:
        return handle is None


def _holder(path: Path) -> str:
    """The flow run that holds the lock, or held it last."""
    return path.read_text(encoding="utf-8", errors="replace").strip()
