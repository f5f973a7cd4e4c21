"""Which trainings are ended early because the records say that they cannot catch up: the median stopping rule.

The records are the finished experiments in the workspace's own folders, of the same task on the same prepared data:
their `metadata.json`, and the validation scores in their `logs/progress.jsonl`. The bar at a share of the epochs is the
median of their best scores up to that share (Golovin et al. 2017, Google Vizier, section 3.2.2; best scores in place
of running means, for the best epoch is what a training gives). An experiment that was itself ended by the bar counts
with what it had reached: left out, each one that is ended would raise the bar for the next.

The bar is written down before the first step, so that a resumed training is judged by the same bar, whatever has been
finished since.
"""

from __future__ import annotations

import itertools
import math
import statistics
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from glaucoma.errors import ArcError, IntegrityError, problems, shown_bytes
from glaucoma.provenance import write_json
from glaucoma.schema import Task
from glaucoma.training.experiment import Experiment, Status, list_experiments
from glaucoma.training.progress_log import TrainingProgress
from glaucoma.workspace import Workspace

FILE = "to_catch_up.json"
MIN_RECORDS = 3
FIRST_SHARE = 1 / 3
"""Before this share of its epochs no training is ended: warm-up makes early scores say little."""

SCORES = {Task.CLASSIFICATION: "auc", Task.SEGMENTATION: "dice_mean"}
_MOST_RECORDS, _MOST_POINTS = 100, 200
_PROGRESS_LIMIT_BYTES = 200_000_000
_LINE_LIMIT_BYTES = 100_000

Curve = list[tuple[float, float]]
"""(share of the epochs, best score so far), both in 0..1, in the order of the shares."""


class Bar(BaseModel):
    """`config/to_catch_up.json`: what the others had reached at each share of their epochs."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    experiment_id: str
    margin: float | None = Field(default=None, ge=0, le=1, description="None: nothing is ever ended.")
    points: list[tuple[float, float]] = Field(
        default_factory=list, max_length=_MOST_POINTS, description="(share of the epochs, median of the best scores)."
    )
    records: list[str] = Field(default_factory=list, description="The experiments that the bar comes from.")
    left_out: dict[str, str] = Field(default_factory=dict, description="Finished ones that do not count, and why.")

    @model_validator(mode="after")
    def _is_a_curve(self) -> Self:
        if not all(0 < share <= 1 and 0 <= score <= 1 for share, score in self.points):
            raise ValueError("points are shares above 0 up to 1, and scores from 0 to 1")
        if any(one[0] >= other[0] for one, other in itertools.pairwise(self.points)):
            raise ValueError("the shares of points rise")
        return self

    def hopeless(self, share: float, best_score: float) -> str:
        """Why a training that stands there is to be ended; empty where it is to go on.

        Args:
            share: Of its epochs, done.
            best_score: Its best validation score so far; NaN and infinities, for undefined ones, end nothing.
        """
        passed = [score for at, score in self.points if at <= share + 1e-9]
        if self.margin is None or not passed or share < FIRST_SHARE or not math.isfinite(best_score):
            return ""
        if best_score + self.margin >= passed[-1]:
            return ""
        return (
            f"its best validation score after {share:.0%} of the epochs is {best_score:.4f}, more than the margin "
            f"{self.margin:g} below {passed[-1]:.4f}, the median of {len(self.records)} finished experiments there"
        )


def bar_for(experiment: Experiment, workspace: Workspace) -> Bar:
    """The experiment's bar: read where it is written down, else made from what is finished now, and written down.

    Without a `catch_up_margin`, or with fewer than three records, it is empty and ends nothing.

    Raises:
        IntegrityError: The file is damaged, or another experiment's.
    """
    spec = experiment.spec
    if spec.catch_up_margin is None:
        return Bar(experiment_id=experiment.experiment_id)
    path = experiment.folder / "config" / FILE
    if path.is_symlink() or path.exists():
        return _read(path, experiment.experiment_id, spec.catch_up_margin)
    curves: dict[str, Curve] = {}
    left_out: dict[str, str] = {}
    for other in _finished(experiment, workspace, left_out):
        if len(curves) == _MOST_RECORDS:
            break
        try:
            curves[other.experiment_id] = curve(other.progress_path, SCORES[spec.task])
        except (OSError, IntegrityError) as error:
            left_out[other.experiment_id] = problems(error)
    bar = Bar(
        experiment_id=experiment.experiment_id,
        margin=spec.catch_up_margin,
        points=medians(list(curves.values()), spec.epochs),
        records=sorted(curves),
        left_out=left_out,
    )
    write_json(path, bar.model_dump(mode="json"))
    return bar


def curve(path: Path, score: str) -> Curve:
    """The best score so far after each validated epoch that a progress file tells of.

    Raises:
        IntegrityError: It is no plain file, too large, or tells no such course; lines that are torn are left out.
    """
    if path.is_symlink() or not path.is_file():
        raise IntegrityError(f"{path.name} is no plain file")
    if path.stat().st_size > _PROGRESS_LIMIT_BYTES:
        raise IntegrityError(f"{path.name} has {shown_bytes(path.stat().st_size)}")
    found: dict[int, float] = {}
    lengths: set[int] = set()
    with path.open("rb") as handle:
        while line := handle.readline(_LINE_LIMIT_BYTES):
            if b'"val"' not in line:
                continue
            try:
                progress = TrainingProgress.model_validate_json(line)
            except ValueError:  # torn by a kill, or no line of progress
                continue
            value = (progress.val or {}).get(score)
            if value is None or not 0 <= value <= 1 or not 1 <= progress.epoch <= progress.epochs:
                continue
            found[progress.epoch] = value
            lengths.add(progress.epochs)
    if len(lengths) != 1:
        told = f"{len(lengths)} different numbers of epochs" if lengths else f"no validation {score}"
        raise IntegrityError(f"{path.name} tells {told}")
    epochs = lengths.pop()
    best = itertools.accumulate((found[epoch] for epoch in sorted(found)), max)
    return [(epoch / epochs, value) for epoch, value in zip(sorted(found), best, strict=True)]


def medians(curves: list[Curve], epochs: int) -> Curve:
    """The median of the curves at shares of `epochs`, from a third on, where at least three of them have begun.

    One that ended early stands at its best from there on: that is what it gave.
    """
    stride = -(-epochs // _MOST_POINTS)
    points: Curve = []
    for epoch in range(1, epochs + 1):
        share = epoch / epochs
        if share < FIRST_SHARE or epoch % stride:
            continue
        reached = [max(score for at, score in one if at <= share) for one in curves if one and one[0][0] <= share]
        if len(reached) >= MIN_RECORDS:
            points.append((share, statistics.median(reached)))
    return points


def _finished(experiment: Experiment, workspace: Workspace, left_out: dict[str, str]) -> list[Experiment]:
    """Completed experiments of the same task on the same data, those that ended last first."""
    spec = experiment.spec
    found = []
    for other in list_experiments(workspace):
        if other.experiment_id == experiment.experiment_id:
            continue
        try:
            metadata = other.metadata
        except ArcError as error:
            left_out[other.experiment_id] = problems(error)
            continue
        same = (metadata.task, metadata.dataset, metadata.prepared_key) == (spec.task, spec.dataset, spec.prepared_key)
        if same and metadata.status is Status.COMPLETED:
            found.append((metadata.history[-1].at if metadata.history else None, other))
    dated = [(at, other) for at, other in found if at is not None]
    return [other for _, other in sorted(dated, key=lambda one: (one[0], one[1].experiment_id), reverse=True)]


def _read(path: Path, experiment_id: str, margin: float) -> Bar:
    try:
        if path.is_symlink() or not path.is_file():
            raise ValueError("it is no plain file")  # noqa: TRY301
        if path.stat().st_size > _PROGRESS_LIMIT_BYTES:
            raise ValueError(f"it has {shown_bytes(path.stat().st_size)}")  # noqa: TRY301
        bar = Bar.model_validate_json(path.read_bytes())
        if (bar.experiment_id, bar.margin) != (experiment_id, margin):
            raise ValueError(f"it is of {bar.experiment_id[:100]} with the margin {bar.margin}")  # noqa: TRY301
    except (OSError, ValueError, ValidationError) as error:
        raise IntegrityError(
            f"{path} does not say what the training has to catch up with ({problems(error)})",
            consequence="The training was not gone on with, for it might be judged otherwise than before",
            remedy="remove that file, and the training is judged by the experiments that are finished then; or remove "
            "the experiment's folder and train it anew",
        ) from error
    return bar
