"""What a tracker shows of one experiment: read from its folder each time, so that it is what the disk says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from glaucoma.provenance import file_sha256
from glaucoma.training.data import prepared_folder
from glaucoma.training.experiment import Experiment, Status
from glaucoma.training.spec import ExperimentSpec
from glaucoma.training.tracking.account import Account
from glaucoma.training.tracking.points import Logged, Point
from glaucoma.training.tracking.settings import TrackingSettings
from glaucoma.workspace import Workspace

LOST, REMOVED = "lost", "removed"
"""The status of a run whose end nobody wrote down, such as after a kill; of one whose experiment was rolled back."""
_PICTURES = ("images", "masks")


class Store(Protocol):
    """One run in W&B or MLflow. Any call may raise anything; the run is then opened anew."""

    def open(self) -> Logged:
        """Begins the run, or goes on in it; gives what it holds already."""

    def log(self, points: Sequence[Point]) -> None:
        """Adds the points, which are in the order of their steps."""

    def end(self) -> None:
        """Adds the summary, and the artifacts of a finished run, and says how it ended."""

    def close(self) -> None:
        """Lets go of it, after an error too."""


@dataclass(frozen=True)
class DatasetReference:
    """The prepared dataset that a model learned from, by name, key and hash."""

    name: str
    key: str
    folder: Path
    manifest_sha256: str
    files: tuple[Path, ...]
    """Manifest and record."""

    @property
    def pictures(self) -> tuple[Path, ...]:
        """The folders of prepared photographs and masks."""
        return tuple(self.folder / name for name in _PICTURES if (self.folder / name).is_dir())


@dataclass(frozen=True)
class TrackedRun:
    """One experiment, where its run goes, and as whom."""

    experiment: Experiment
    workspace: Workspace
    settings: TrackingSettings
    account: Account | None = None

    @property
    def run_id(self) -> str:
        """The experiment's id, so that a resumed training goes on in the same run."""
        return self.experiment.experiment_id

    @property
    def spec(self) -> ExperimentSpec:
        return self.experiment.spec

    @property
    def config(self) -> dict[str, Any]:
        """The spec as JSON has it."""
        return self.spec.model_dump(mode="json")

    @property
    def status(self) -> str:
        """How the experiment ended; `lost` where the disk says that it still runs, `removed` where it is gone."""
        if not self.experiment.metadata_path.is_file():
            return REMOVED
        status = self.experiment.status
        return LOST if status in (Status.RUNNING, Status.CREATED) else status.value

    def summary(self) -> dict[str, Any]:
        """How it ended and what came of it; values that are not known are left out."""
        if self.status == REMOVED:
            return {"status": REMOVED}
        metadata = self.experiment.metadata
        training = metadata.training
        best = {f"best/{name}": value for name, value in training.get("best_scores", {}).items()}
        found = {
            "status": self.status,
            "reason": metadata.history[-1].reason if self.status not in (Status.COMPLETED.value, LOST) else None,
            "attempts": metadata.attempts,
            "duration_s": metadata.duration_s,
            "best/epoch": training.get("best_epoch"),
            **best,
            **{name: training.get(name) for name in ("epochs_run", "ended_by", "parameters", "device")},
            "checkpoint_sha256": metadata.checkpoint.sha256 if metadata.checkpoint else None,
        }
        return {name: value for name, value in found.items() if value is not None}

    def checkpoint(self) -> Path | None:
        """The best checkpoint of a finished experiment, where it is wanted and there."""
        if not self.settings.log_checkpoint or self.status != Status.COMPLETED.value:
            return None
        record = self.experiment.metadata.checkpoint
        if record is None:
            return None
        path = self.experiment.folder / record.path
        return path if path.is_file() else None

    def dataset(self) -> DatasetReference | None:
        """What a finished experiment learned from, where it is wanted; `NotFoundError` where it is gone."""
        if not self.settings.log_dataset or self.status != Status.COMPLETED.value:
            return None
        spec = self.spec
        folder = prepared_folder(spec, self.workspace)
        manifest = folder / "manifest.csv"
        files = tuple(path for path in (manifest, folder / "prepared.json") if path.is_file())
        return DatasetReference(spec.dataset, spec.prepared_key, folder, file_sha256(manifest), files)
