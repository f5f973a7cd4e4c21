"""Experiments between workspaces that share no disk: sent to a remote by hash, fetched by id, every byte checked.

In the remote `arc/experiments/<id>/` holds each file under the SHA-256 of its bytes, and `index.json`, written last,
says which file is which. What is sent again costs what has changed.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field

from glaucoma.datasets.remote import Remote
from glaucoma.errors import IntegrityError, NotFoundError, TransientError, problems
from glaucoma.progress import Progress, silent
from glaucoma.provenance import exclusive, file_sha256, remove_tree, require_disk_space, sync_folder
from glaucoma.training.experiment import Experiment, Status, is_there
from glaucoma.workspace import Workspace

if TYPE_CHECKING:
    from glaucoma.datasets.remote_files import RemoteFiles

_INDEX = "index.json"
_LARGEST_INDEX_BYTES = 64 * 2**20
_ID = re.compile(r"(cls|seg)-[A-Za-z0-9_.-]{1,80}-[0-9a-f]{8}")
_RESUME_ONLY = ("checkpoints/last.pt", "checkpoints/previous.pt")
"""States with the optimizer: only a training that goes on needs them."""


class ShippedFile(BaseModel):
    """A file of an experiment."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    bytes: int = Field(ge=0)


class Shipment(BaseModel):
    """`index.json`: an experiment as it was sent."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    experiment_id: str
    whole: bool = Field(description="With what a training needs to go on; without, the optimizer's state was left out.")
    files: list[ShippedFile]
    links: dict[str, str] = Field(description="Link -> the name beside it that it stands for.")
    sent_at: datetime
    sent: int = Field(default=0, exclude=True, description="Files whose bytes travelled; the others were there.")


def ship(
    experiment: Experiment,
    workspace: Workspace,
    remote: Remote,
    *,
    at: datetime,
    whole: bool = False,
    report: Progress = silent,
) -> Shipment:
    """Sends the experiment to the remote; nobody trains it meanwhile.

    Args:
        whole: Also the states that a training goes on from.

    Raises:
        SettingsError, TransientError: The remote refuses, or cannot be reached; what was there stays whole.
    """
    from glaucoma.datasets.remote_files import RemoteFiles

    with experiment.lock(workspace):
        there = RemoteFiles(remote, f"arc/experiments/{_checked(experiment.experiment_id)}")
        before = _read_index(there, experiment.experiment_id, remote)
        known = {file.sha256 for file in before.files} if before else set()
        files, links, sent = [], dict[str, str](), 0
        found = sorted(_contents(experiment.folder, whole))
        for number, path in enumerate(found, start=1):
            name = path.relative_to(experiment.folder).as_posix()
            if path.is_symlink():
                links[name] = str(path.readlink())
                continue
            file = _send(path, name, there, known)
            sent += file.sha256 not in known
            known.add(file.sha256)
            files.append(file)
            report(number / len(found), f"{number} of {len(found)} files of {experiment.experiment_id}")
        shipment = Shipment(
            experiment_id=experiment.experiment_id, whole=whole, files=files, links=links, sent_at=at, sent=sent
        )
        there.write(_INDEX, shipment.model_dump_json(indent=1).encode())
    return shipment


def fetch_experiment(name: str, workspace: Workspace, remote: Remote, *, report: Progress = silent) -> Experiment:
    """The experiment of that id, brought from the remote where it is not in the workspace.

    Written aside and renamed into place when every byte is as it was sent. One that is there is left as it is, unless
    nothing was trained in it here and nobody trains it: then what was sent takes its place.

    Raises:
        NotFoundError: The remote has none of that id.
        IntegrityError: The remote's copy is damaged; nothing of it stays.
        TransientError, SettingsError: The remote cannot be reached, or refuses.
        DiskSpaceError: Too little space; nothing was written.
    """
    from glaucoma.datasets.remote_files import RemoteFiles

    experiment = Experiment(workspace.experiments / _checked(name))
    with _held(experiment, workspace), exclusive(workspace.locks / f"create-{name}.lock"):
        if is_there(name, workspace) and experiment.status is not Status.CREATED:
            return experiment
        there = RemoteFiles(remote, f"arc/experiments/{name}")
        shipment = _read_index(there, name, remote)
        if shipment is None:
            raise NotFoundError(
                f"No experiment {name} in {workspace.experiments}, nor at {remote}",
                expected="one that was trained here, or sent there",
                remedy="check the id; let ARC_REMOTE_BLOCK name this remote on the machine that trained it",
            )
        require_disk_space(workspace.root, sum(file.bytes for file in shipment.files), f"experiment {name}")
        for leftover in experiment.folder.parent.glob(f".{name}.fetched-*"):
            remove_tree(leftover)
        staging = experiment.folder.with_name(f".{name}.fetched-{os.getpid()}")
        try:
            _bring(shipment, there, staging, report)
            if experiment.folder.exists():
                remove_tree(experiment.folder)
            staging.rename(experiment.folder)
            sync_folder(experiment.folder.parent)
        finally:
            remove_tree(staging)
    return experiment


def _send(path: Path, name: str, there: RemoteFiles, known: set[str]) -> ShippedFile:
    """Sends a file, unless its bytes are there; again where it was replaced meanwhile, as an evaluation may do."""
    while True:
        file = ShippedFile(path=name, sha256=file_sha256(path), bytes=path.stat().st_size)
        if file.sha256 in known:
            return file
        there.send(path, file.sha256)
        if file_sha256(path) == file.sha256:
            return file


@contextlib.contextmanager
def _held(experiment: Experiment, workspace: Workspace) -> Iterator[None]:
    try:
        with experiment.lock(workspace, wait=False):
            yield
    except BlockingIOError as error:
        raise TransientError(
            f"{experiment.experiment_id} is being trained here, or fetched by another", remedy="wait until it has ended"
        ) from error


def _checked(name: str) -> str:
    if not _ID.fullmatch(name):
        raise NotFoundError(f"{name!r} is no experiment's id", expected="such as cls-lcnet_050-1a2b3c4d")
    return name


def _contents(folder: Path, whole: bool) -> Iterator[Path]:
    """The files and links to send; not what is hidden, half-written or locked, nor a pipe or a link to elsewhere."""
    for path in folder.rglob("*"):
        name = path.relative_to(folder).as_posix()
        if any(part.startswith(".") for part in name.split("/")) or (not whole and name in _RESUME_ONLY):
            continue
        if path.is_symlink():
            if _is_beside(str(path.readlink())):
                yield path
        elif path.is_file():
            yield path


def _is_beside(target: str) -> bool:
    return "/" not in target and target not in ("", ".", "..")


def _read_index(there: RemoteFiles, name: str, remote: Remote) -> Shipment | None:
    """The index at the remote, its names checked; None where there is none."""
    content = there.read(_INDEX, _LARGEST_INDEX_BYTES)
    if content is None:
        return None
    try:
        shipment = Shipment.model_validate_json(content)
        _require_safe(shipment, name)
    except ValueError as error:
        raise IntegrityError(
            f"The index of {name} at {remote} is damaged ({problems(error)})",
            consequence="Nothing was sent or fetched",
            remedy=f"remove arc/experiments/{name} there and send it again",
        ) from error
    return shipment


def _require_safe(shipment: Shipment, name: str) -> None:
    if shipment.experiment_id != name:
        raise ValueError(f"it is of {shipment.experiment_id}")
    paths = [file.path for file in shipment.files]
    for path in [*paths, *shipment.links]:
        parts = path.split("/")
        if {"", ".", ".."} & set(parts) or "\0" in path or parts[0].startswith("."):
            raise ValueError(f"it names {path!r}, which is no file of an experiment")
    if len(set(paths) | set(shipment.links)) != len(paths) + len(shipment.links):
        raise ValueError("it names a file twice")
    if any(not _is_beside(target) for target in shipment.links.values()):
        raise ValueError("a link in it leads elsewhere")
    inner = {parent.as_posix() for path in [*paths, *shipment.links] for parent in PurePosixPath(path).parents}
    if inner & (set(paths) | set(shipment.links)):
        raise ValueError("a file or a link in it has files inside")


def _bring(shipment: Shipment, there: RemoteFiles, staging: Path, report: Progress) -> None:
    for number, file in enumerate(shipment.files, start=1):
        if there.fetch(file.sha256, staging / file.path) != file.sha256:
            raise IntegrityError(
                f"{file.path} of {shipment.experiment_id} is missing or damaged in the remote",
                consequence="Nothing was fetched",
                remedy="send the experiment again from where it was trained",
            )
        report(number / len(shipment.files), f"{number} of {len(shipment.files)} files of {shipment.experiment_id}")
    for link, target in shipment.links.items():
        (staging / link).parent.mkdir(parents=True, exist_ok=True)
        (staging / link).symlink_to(target)
