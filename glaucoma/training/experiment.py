"""An experiment's folder: what it is, how it stands, what came out. Written whole or not at all, by one at a time."""

from __future__ import annotations

import contextlib
import fcntl
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import IO, Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from glaucoma.errors import IntegrityError, NotFoundError, problems
from glaucoma.provenance import exclusive, remove_tree, sync_folder, versions, write_bytes, write_json
from glaucoma.schema import Task
from glaucoma.settings import TRUSTED
from glaucoma.training.spec import ExperimentSpec, experiment_id
from glaucoma.workspace import Workspace

FOLDERS = ("config", "logs", "checkpoints", "results", "visualizations")


class Status(StrEnum):
    """How an experiment stands. Only `completed` is final; any other may be run again and then resumes.

    `interrupted`: by something outside it, such as a lost process or a full disk. `failed`: by itself.
    """

    CREATED = "created"
    RUNNING = "running"
    COMPLETED = "completed"
    INTERRUPTED = "interrupted"
    FAILED = "failed"
    CANCELLED = "cancelled"


class StatusChange(BaseModel):
    """One line of an experiment's history."""

    model_config = ConfigDict(extra="forbid")

    status: Status
    at: datetime
    reason: str = ""


class Note(BaseModel):
    """Something that happened and left the status as it was, such as a checkpoint set aside."""

    model_config = ConfigDict(extra="forbid")

    at: datetime
    text: str


class CheckpointRecord(BaseModel):
    """The checkpoint that the results come from."""

    model_config = ConfigDict(extra="forbid")

    path: str = Field(description="Relative to the experiment's folder.")
    sha256: str
    epoch: int = Field(description="The first epoch is 1.")


class Metadata(BaseModel):
    """`metadata.json`."""

    model_config = ConfigDict(extra="forbid")

    experiment_id: str
    task: Task
    model: str
    status: Status
    history: list[StatusChange]
    notes: list[Note] = Field(default_factory=list)
    seed: int
    dataset: str
    prepared_key: str
    checkpoint: CheckpointRecord | None = None
    metrics: dict[str, dict[str, Any]] = Field(
        default_factory=dict, description="By split: `val` and `test`, written by evaluation."
    )
    training: dict[str, Any] = Field(
        default_factory=dict,
        description="What the loop says at its end: epochs, best validation score, images, device.",
    )
    duration_s: float = Field(default=0.0, description="Of all attempts together.")
    attempts: int = 0
    micro_batch_size: int | None = Field(
        default=None,
        description="Images at once on one device, found by halving what the memory did not hold; None: as the "
        "settings say. The next attempt begins with it.",
    )
    versions: dict[str, str]
    code_sha256: str | None = None


@dataclass(frozen=True)
class Experiment:
    """A handle on an experiment's folder; what it says is read from the disk each time."""

    folder: Path

    @property
    def experiment_id(self) -> str:
        return self.folder.name

    @property
    def metadata_path(self) -> Path:
        return self.folder / "metadata.json"

    @property
    def spec_path(self) -> Path:
        return self.folder / "config" / "experiment.yaml"

    @property
    def progress_path(self) -> Path:
        return self.folder / "logs" / "progress.jsonl"

    @property
    def child_log(self) -> Path:
        return self.folder / "logs" / "child.log"

    @property
    def checkpoints(self) -> Path:
        return self.folder / "checkpoints"

    @property
    def results(self) -> Path:
        return self.folder / "results"

    @property
    def visualizations(self) -> Path:
        return self.folder / "visualizations"

    @property
    def spec(self) -> ExperimentSpec:
        """Raises `IntegrityError` where `experiment.yaml` is missing, damaged, or of another experiment."""
        try:
            written = yaml.safe_load(self.spec_path.read_text(encoding="utf-8"))
            spec = ExperimentSpec.model_validate(written, context=TRUSTED)
        except (OSError, ValueError, ValidationError, yaml.YAMLError) as error:
            raise IntegrityError(
                f"{self.spec_path} cannot be read ({problems(error)})",
                remedy="remove the experiment's folder and run it again",
            ) from error
        if experiment_id(spec) != self.experiment_id:
            raise IntegrityError(
                f"{self.spec_path} describes {experiment_id(spec)}, not {self.experiment_id}",
                remedy="remove the experiment's folder and run it again",
            )
        return spec

    @property
    def metadata(self) -> Metadata:
        """Raises `IntegrityError` where `metadata.json` is missing or damaged."""
        try:
            return Metadata.model_validate_json(self.metadata_path.read_bytes())
        except (OSError, ValueError) as error:
            raise IntegrityError(
                f"{self.metadata_path} cannot be read ({problems(error)})",
                remedy="remove the experiment's folder and run it again",
            ) from error

    @property
    def status(self) -> Status:
        return self.metadata.status

    def update(self, change: Callable[[Metadata], None]) -> Metadata:
        """Reads, lets `change` edit, checks and writes the metadata; two processes cannot undo each other's change."""
        with exclusive(self.folder / ".metadata.lock"):
            metadata = self.metadata
            change(metadata)
            checked = Metadata.model_validate(metadata.model_dump())
            write_json(self.metadata_path, checked.model_dump(mode="json"))
        return checked

    def set_status(self, status: Status, reason: str = "") -> Metadata:
        """Sets the status and adds it to the history."""

        def change(metadata: Metadata) -> None:
            metadata.status = status
            metadata.history.append(StatusChange(status=status, at=datetime.now(UTC), reason=reason))

        return self.update(change)

    def note(self, text: str) -> None:
        """Adds a note."""
        self.update(lambda metadata: metadata.notes.append(Note(at=datetime.now(UTC), text=text)))

    def set_metrics(self, split: str, metrics: dict[str, Any]) -> None:
        """Puts the metrics of one split in place of what stood there."""
        self.update(lambda metadata: metadata.metrics.update({split: metrics}))

    @contextlib.contextmanager
    def lock(self, workspace: Workspace, *, wait: bool = True) -> Iterator[IO[str]]:
        """Holds the experiment; who else wants it waits. The file may be handed to a child, which then holds it too.

        Raises:
            BlockingIOError: Another holds it, and `wait` is False.
        """
        path = workspace.locks / f"experiment-{self.experiment_id}.lock"
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            yield handle


def create_experiment(spec: ExperimentSpec, workspace: Workspace) -> Experiment:
    """The experiment of `spec`: made with its folders, or the one that is already there."""
    experiment = Experiment(workspace.experiments / experiment_id(spec))
    with exclusive(workspace.locks / f"create-{experiment.experiment_id}.lock"):
        if experiment.metadata_path.is_file():
            return experiment
        for name in FOLDERS:
            (experiment.folder / name).mkdir(parents=True, exist_ok=True)
        text = yaml.safe_dump(spec.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
        write_bytes(experiment.spec_path, text.encode())
        metadata = Metadata(
            experiment_id=experiment.experiment_id,
            task=spec.task,
            model=spec.model,
            status=Status.CREATED,
            history=[StatusChange(status=Status.CREATED, at=datetime.now(UTC))],
            seed=spec.seed,
            dataset=spec.dataset,
            prepared_key=spec.prepared_key,
            versions=versions(),
        )
        write_json(experiment.metadata_path, metadata.model_dump(mode="json"))  # last: its presence means whole
    return experiment


def open_experiment(name: str, workspace: Workspace) -> Experiment:
    """The experiment of that id; `NotFoundError` lists what is there."""
    known = list_experiments(workspace)
    for experiment in known:
        if experiment.experiment_id == name:
            return experiment
    raise NotFoundError(
        f"No experiment {name!r} in {workspace.experiments}",
        expected=f"one of: {', '.join(e.experiment_id for e in known) or 'none'}",
        remedy="train it first, or check the id and the workspace",
    )


def is_there(name: str, workspace: Workspace) -> bool:
    """False where the files of the experiment of that id were never made, or were removed."""
    return Experiment(workspace.experiments / name).metadata_path.is_file()


def list_experiments(workspace: Workspace) -> list[Experiment]:
    """All experiments of the workspace, by id."""
    return [Experiment(path.parent) for path in sorted(workspace.experiments.glob("*/metadata.json"))]


def remove_experiment(experiment: Experiment, workspace: Workspace) -> None:
    """Removes all that an experiment wrote; waits until nobody trains it."""
    with experiment.lock(workspace):
        remove_held(experiment)


REMOVED = ".removed"
"""Folder in `experiments/` where what is being removed lies until it is gone."""


def remove_held(experiment: Experiment) -> None:
    """The same for who holds the experiment's lock.

    The folder leaves its place by one rename, so that a kill in between leaves a whole experiment or none. What such a
    kill leaves in `.removed` goes with the next housekeeping.
    """
    if not experiment.folder.exists():
        return
    aside = experiment.folder.parent / REMOVED / f"{experiment.experiment_id}-{uuid.uuid4().hex}"
    aside.parent.mkdir(exist_ok=True)
    experiment.folder.rename(aside)
    sync_folder(experiment.folder.parent)
    remove_tree(aside)
