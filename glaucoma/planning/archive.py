"""Experiments and cycles packed away, and brought back: the folder becomes one file, and the ledger keeps what it knew.

The pack is written and read back before the folder goes, and the folder goes by one rename: a kill at any moment leaves
the folder, the pack, or both. Both is finished by the next call, whichever way it goes.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from glaucoma.errors import InputError, NotFoundError, TransientError
from glaucoma.planning.housekeeping import last_change
from glaucoma.planning.wanted import wanted_experiments
from glaucoma.provenance import exclusive, file_sha256, remove_tree, sync_folder
from glaucoma.records.ledger import Ledger
from glaucoma.records.packing import SUFFIX, Contents, Kind, is_as_listed, listed, pack, unpack
from glaucoma.records.record import cycle_folder
from glaucoma.records.remember import remember
from glaucoma.records.words import CycleStatus
from glaucoma.training.claims import claimed
from glaucoma.training.experiment import Experiment, is_there, open_experiment, remove_held
from glaucoma.workspace import Workspace

_SENTENCE = "Its files were packed away on {on:%Y-%m-%d}."
_SAID = re.compile(r" ?Its files were packed away on \d{4}-\d\d-\d\d\.")


class InUseError(InputError):
    """Something is running, or is still needed, so that it cannot be moved or removed now."""


class Archived(BaseModel):
    """What was packed away, or brought back."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Kind
    name: str
    folder: Path = Field(description="Where it is, or was.")
    pack: Path = Field(description="Where the pack is, or was.")
    archived: bool = Field(description="True: the pack is there and the folder is not. False: the other way round.")
    changed: bool = Field(description="False where it was so already.")
    files: int
    bytes: int = Field(description="Of the files, unpacked.")
    pack_bytes: int | None = Field(default=None, description="Of the pack, where it is there.")
    pack_sha256: str | None = Field(default=None, description="Of the pack, where it is there.")


def pack_path(kind: Kind, name: str, workspace: Workspace) -> Path:
    """Where the pack of that experiment or cycle lies.

    Raises:
        NotFoundError: The name is none that a folder could have.
    """
    if not name or name.startswith(".") or Path(name).name != name:
        raise NotFoundError(f"{name!r} is no {kind}'s id", expected="a plain folder name")
    return workspace.archived / f"{kind}s" / f"{name}{SUFFIX}"


def archived_names(kind: Kind, workspace: Workspace) -> list[str]:
    """The ids of all that are packed away, in order."""
    there = (workspace.archived / f"{kind}s").glob(f"[!.]*{SUFFIX}")
    return sorted(path.name.removesuffix(SUFFIX) for path in there)


# --- experiments


def archive_experiment(
    name: str, workspace: Workspace, ledger: Ledger, *, force: bool = False, at: datetime
) -> Archived:
    """Packs an experiment's folder away and removes it; one that is packed away already is left as it is.

    Args:
        force: Also where it is still needed, such as the best of its task: later cycles do not find it then.

    Raises:
        NotFoundError: There is no such experiment.
        InUseError: It is being trained, or is still needed and `force` is not set.
        TransientError: It changed while it was packed.
    """
    path = pack_path("experiment", name, workspace)
    folder = workspace.experiments / name
    if not is_there(name, workspace) and path.is_file():
        return _archived("experiment", folder, path, listed(path), changed=False)
    experiment = open_experiment(name, workspace)
    with _held(experiment, workspace):
        if not force and (why := wanted_experiments(workspace, ledger).get(name)):
            raise InUseError(
                f"{name} {why}",
                expected="an experiment that nothing needs",
                consequence="It stays where it is",
                remedy="set force to pack it away all the same; later cycles do not find it then",
            )
        before = last_change(experiment.folder)
        contents = pack(experiment.folder, path, "experiment")
        if last_change(experiment.folder) != before:
            path.unlink()
            raise TransientError(f"{name} changed while it was packed", remedy="wait until nobody works on it")
        _say_packed(experiment, ledger, at)
        remove_held(experiment)
    return _archived("experiment", folder, path, contents, changed=True)


def unarchive_experiment(name: str, workspace: Workspace, ledger: Ledger) -> Archived:
    """Brings an experiment back, every byte checked, and removes the pack; one that is back already is left as it is.

    Raises:
        NotFoundError: There is neither a pack nor a folder of it.
        InUseError: It is being trained, or its folder is there and differs from the pack.
        ArchiveError: The pack is damaged or none.
        IntegrityError: A file in the pack is not as it is listed.
    """
    path = pack_path("experiment", name, workspace)
    experiment = Experiment(workspace.experiments / name)
    with _held(experiment, workspace):
        back = _bring_back("experiment", experiment.folder, path, workspace)
        if back.changed:
            with contextlib.suppress(NotFoundError):
                entry = ledger.experiment(name)
                ledger.change(name, reason=_SAID.sub("", entry.reason).strip())
    return back


def _say_packed(experiment: Experiment, ledger: Ledger, at: datetime) -> None:
    """The ledger keeps the row, and says where the files are."""
    try:
        entry = ledger.experiment(experiment.experiment_id)
    except NotFoundError:
        entry = remember(experiment, ledger, at=at)
    said = f"{_SAID.sub('', entry.reason)} {_SENTENCE.format(on=at)}".strip()
    ledger.change(experiment.experiment_id, reason=said)


@contextlib.contextmanager
def _held(experiment: Experiment, workspace: Workspace) -> Iterator[None]:
    """Holds the experiment against who would make or train it."""
    with (
        exclusive(workspace.locks / f"create-{experiment.experiment_id}.lock"),
        claimed(experiment, workspace) as free,
    ):
        if not free:
            raise InUseError(
                f"{experiment.experiment_id} is being trained",
                consequence="It stays where it is",
                remedy="wait for its end, or cancel it first",
            )
        yield


# --- cycles


def archive_cycle(cycle_id: str, workspace: Workspace, ledger: Ledger, *, force: bool = False) -> Archived:
    """Packs a cycle's plan, record and report away; one that is packed away already is left as it is.

    The experiments stay. What only this cycle protected from housekeeping (the leaders of its rankings) is protected
    no more; the best of a task and what was measured on the test split are, by the ledger.

    Args:
        force: Also where the cycle has not ended: the next start of the same settings plans it anew then.

    Raises:
        NotFoundError: There is no such cycle.
        InUseError: It has not ended, and `force` is not set.
    """
    folder, path = cycle_folder(cycle_id, workspace), pack_path("cycle", cycle_id, workspace)
    with exclusive(workspace.locks / "open-cycle.lock"):
        if not folder.is_dir():
            if path.is_file():
                return _archived("cycle", folder, path, listed(path), changed=False)
            there = ", ".join(sorted(p.name for p in workspace.cycles.glob("[!.]*"))) or "none"
            raise NotFoundError(f"No cycle {cycle_id!r} in {workspace.cycles}", expected=f"one of: {there}")
        if not force and _has_not_ended(cycle_id, ledger):
            raise InUseError(
                f"{cycle_id} has not ended",
                consequence="It stays where it is",
                remedy="wait for it, or start it again with the same settings; or set force",
            )
        contents = pack(folder, path, "cycle")
        _remove_aside(folder, path.parent)
    return _archived("cycle", folder, path, contents, changed=True)


def unarchive_cycle(cycle_id: str, workspace: Workspace) -> Archived:
    """Brings a cycle's files back, every byte checked, and removes the pack.

    Raises:
        NotFoundError: There is neither a pack nor a folder of it.
        InUseError: Its folder is there and differs from the pack.
        ArchiveError: The pack is damaged or none.
        IntegrityError: A file in the pack is not as it is listed.
    """
    path = pack_path("cycle", cycle_id, workspace)
    with exclusive(workspace.locks / "open-cycle.lock"):
        return _bring_back("cycle", workspace.cycles / cycle_id, path, workspace)


class ArchivedMany(BaseModel):
    """What became of a cycle's experiments."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    done: list[Archived]
    left: dict[str, str] = Field(description="Experiment -> why it stays where it is.")


def archive_experiments_of(
    cycle_id: str, workspace: Workspace, ledger: Ledger, *, back: bool = False, at: datetime
) -> ArchivedMany:
    """Packs away those of a cycle's experiments that nothing needs, or brings back all that are packed away."""
    done, left = list[Archived](), dict[str, str]()
    packed = set(archived_names("experiment", workspace))
    for entry in ledger.experiments(cycle_id=cycle_id):
        name = entry.experiment_id
        if name not in packed and (back or not is_there(name, workspace)):
            continue
        try:
            done.append(
                unarchive_experiment(name, workspace, ledger)
                if back
                else archive_experiment(name, workspace, ledger, at=at)
            )
        except InUseError as error:
            left[name] = error.found
    return ArchivedMany(done=done, left=left)


def _has_not_ended(cycle_id: str, ledger: Ledger) -> bool:
    try:
        return ledger.cycle(cycle_id).status is CycleStatus.RUNNING
    except NotFoundError:
        return False


def _remove_aside(folder: Path, beside: Path) -> None:
    """Removes a folder that leaves its place by one rename, so that a kill leaves it whole or gone.

    It goes out of `cycles/`, where whoever looks for records would find it. What a kill left is removed here too.
    """
    for leftover in beside.glob(".*.gone"):
        remove_tree(leftover)
    aside = beside / f".{folder.name}.gone"
    folder.rename(aside)
    sync_folder(folder.parent)
    remove_tree(aside)


# --- both


def _bring_back(kind: Kind, folder: Path, path: Path, workspace: Workspace) -> Archived:
    if folder.exists():
        if not path.is_file():
            return _archived(kind, folder, path, None, changed=False)
        contents = listed(path)
        if not is_as_listed(folder, contents):
            raise InUseError(
                f"{folder} is there and holds other files than {path.name}",
                consequence="Nothing was changed",
                remedy=f"move {path} away, or archive the {kind} again: that replaces it",
            )
    elif path.is_file():
        contents = unpack(path, folder, kind)
    else:
        packed = ", ".join(archived_names(kind, workspace)) or "none"
        raise NotFoundError(f"No {kind} {folder.name!r} is packed away", expected=f"one of: {packed}")
    path.unlink()
    sync_folder(path.parent)
    return _archived(kind, folder, path, contents, changed=True)


def _archived(kind: Kind, folder: Path, path: Path, contents: Contents | None, *, changed: bool) -> Archived:
    there = path.is_file()
    return Archived(
        kind=kind,
        name=folder.name,
        folder=folder,
        pack=path,
        archived=there,
        changed=changed,
        files=len(contents.files) if contents else 0,
        bytes=contents.total_bytes if contents else 0,
        pack_bytes=path.stat().st_size if there else None,
        pack_sha256=file_sha256(path) if there else None,
    )
