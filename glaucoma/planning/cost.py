"""What an experiment is expected to cost, from what trainings before it took."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from glaucoma.planning.training_time import devices_of, on_gpu
from glaucoma.records.ledger import Ledger
from glaucoma.records.words import Standing
from glaucoma.schema import Task
from glaucoma.training.experiment import Experiment
from glaucoma.training.spec import ExperimentSpec
from glaucoma.workspace import Workspace

_MOST = 10
"""So many of the newest trainings of a kind are looked at."""


@dataclass(frozen=True)
class PastTraining:
    """A completed training, as far as its cost goes."""

    task: Task
    model: str
    prepared_key: str
    work: float
    """Epochs times pixels of an input."""
    hours: float
    """Of training, times its devices."""
    parameters: int | None
    gpu: bool


@dataclass(frozen=True)
class Cost:
    """What an experiment is expected to take."""

    hours: float | None
    """Of training, times its devices; None where nothing is known that it could be told from."""
    how: str
    """Where the number comes from, or why there is none."""
    gpu: bool = False
    """The trainings that it is told from ran on a GPU."""

    def __str__(self) -> str:
        return "unknown" if self.hours is None else f"{self.hours:.2g} {'GPU' if self.gpu else 'CPU'} h"


def past_trainings(ledger: Ledger, workspace: Workspace) -> list[PastTraining]:
    """The completed trainings of the ledger whose folder is still there, oldest first."""
    found = []
    for entry in ledger.experiments(status=Standing.COMPLETED):
        experiment = Experiment(workspace.experiments / entry.experiment_id)
        if not entry.duration_s or not experiment.metadata_path.is_file():
            continue
        parameters = experiment.metadata.training.get("parameters")
        past = PastTraining(
            task=entry.task,
            model=entry.model,
            prepared_key=entry.prepared_key,
            work=float(entry.spec["epochs"]) * float(entry.spec["input_px"]) ** 2,
            hours=entry.duration_s / 3600 * devices_of(experiment),
            parameters=parameters if isinstance(parameters, int) else None,
            gpu=on_gpu(experiment),
        )
        found.append(past)
    return found


def expected_cost(spec: ExperimentSpec, past: Sequence[PastTraining], parameters: int | None = None) -> Cost:
    """The cost of `spec` by the trainings that are most like it: same model and data, same model, or same task.

    Time is taken to grow with epochs and pixels and, over to another model, with the number of its parameters.

    Args:
        parameters: Of the spec's network, where that is known.
    """
    task = [one for one in past if one.task is spec.task and one.work > 0]
    model = [one for one in task if one.model == spec.model]
    same = [one for one in model if one.prepared_key == spec.prepared_key]
    for alike, what in ((same, "of the same model on the same data"), (model, "of the same model on other data")):
        if alike:
            return _by(alike, spec, f"{len(alike[-_MOST:])} trainings {what}")
    sized = [one for one in task if one.parameters]
    if sized and parameters:
        return _by(sized, spec, f"{len(sized[-_MOST:])} trainings of other models, by parameters", parameters)
    return Cost(None, f"no {spec.task} of a network that this could be told from was trained here yet")


def _by(alike: Sequence[PastTraining], spec: ExperimentSpec, how: str, parameters: int | None = None) -> Cost:
    newest = alike[-_MOST:]
    rates = [
        one.hours / one.work * (parameters / one.parameters if parameters and one.parameters else 1) for one in newest
    ]
    return Cost(median(rates) * spec.epochs * spec.input_px**2, f"from {how}", gpu=newest[-1].gpu)
