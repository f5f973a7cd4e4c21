"""GPUs that take no new work: a mark each, which the GPU's worker obeys."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from glaucoma.errors import IntegrityError, problems
from glaucoma.provenance import write_json
from glaucoma.workspace import Workspace


@dataclass(frozen=True)
class Drained:
    """A GPU that takes no new work.

    Args:
        gpu: Its number on this machine, as the driver counts.
        reason: For people.
        at: When it was marked, UTC.
    """

    gpu: int
    reason: str
    at: datetime


def this_host() -> str:
    """What this machine is called in the names of workers, resources and files."""
    return os.uname().nodename


def drain(workspace: Workspace, gpu: int, reason: str, at: datetime) -> Drained:
    """Marks a GPU of this machine; one that is marked already keeps its first reason."""
    path = _mark(workspace, gpu)
    if (before := _read(path)) is not None:
        return before
    write_json(path, {"gpu": gpu, "reason": reason, "at": at.astimezone(UTC).isoformat()})
    return Drained(gpu, reason, at)


def undrain(workspace: Workspace, gpu: int) -> bool:
    """Takes the mark away; False where there was none."""
    try:
        _mark(workspace, gpu).unlink()
    except FileNotFoundError:
        return False
    return True


def drained(workspace: Workspace) -> list[Drained]:
    """The marked GPUs of this machine, in their order."""
    return sorted(_all(workspace), key=lambda one: one.gpu)


def is_drained(workspace: Workspace, gpu: int) -> bool:
    """Whether this GPU of this machine takes no new work; a mark that cannot be read counts."""
    return _mark(workspace, gpu).exists()


def note_paused(workspace: Workspace, gpu: int, queues: Iterable[str]) -> None:
    """Writes down the queues that are about to be paused for this GPU, with those that were before."""
    write_json(_paused(workspace, gpu), sorted({*paused_queues(workspace, gpu), *queues}))


def paused_queues(workspace: Workspace, gpu: int) -> list[str]:
    """The queues that were paused because this GPU is drained; those that a person had paused are not among them."""
    try:
        found = json.loads(_paused(workspace, gpu).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return []
    except ValueError as error:
        raise IntegrityError(
            f"{_paused(workspace, gpu)} cannot be read ({problems(error)})",
            consequence="Which queues were paused for the GPU is not known",
            remedy="resume them in Prefect's pages, and remove the file",
        ) from error
    return [str(name) for name in found]


def forget_paused(workspace: Workspace, gpu: int) -> None:
    """For when they were resumed."""
    _paused(workspace, gpu).unlink(missing_ok=True)


def _paused(workspace: Workspace, gpu: int) -> Path:
    return _folder(workspace) / f"queues-gpu{gpu}.json"


def _all(workspace: Workspace) -> Iterator[Drained]:
    for path in _folder(workspace).glob("gpu*.json"):
        if (found := _read(path)) is not None:
            yield found


def _read(path: Path) -> Drained | None:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    try:
        content = json.loads(text)
        return Drained(int(content["gpu"]), str(content["reason"]), datetime.fromisoformat(content["at"]))
    except (ValueError, KeyError, TypeError):
        number = path.stem.removeprefix("gpu")
        gpu = int(number) if number.isdecimal() else -1
        return Drained(gpu, f"its mark {path} cannot be read", datetime.fromtimestamp(0, UTC))


def _mark(workspace: Workspace, gpu: int) -> Path:
    return _folder(workspace) / f"gpu{gpu}.json"


def _folder(workspace: Workspace) -> Path:
    return workspace.machine / this_host() / "drained"
