"""What flows give back: plain models that print as JSON."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from glaucoma.evaluation.result import Evaluation, Metric
from glaucoma.explanation.result import Explanation
from glaucoma.provenance import StageOutput
from glaucoma.records.record import CycleRecord
from glaucoma.reporting.conclude import Conclusion
from glaucoma.schema import Split, Task
from glaucoma.training.experiment import Experiment

_TOO_LONG = 50


class Result(BaseModel):
    """The base of all results."""

    model_config = ConfigDict(frozen=True)


class StageResult(Result):
    """One stage's finished output."""

    stage: str
    key: str
    folder: Path
    reused: bool = Field(description="Whether it was there already.")
    duration_s: float = Field(description="Of the run that made it.")
    counts: dict[str, int]
    details: dict[str, Any] = Field(description="As in the record beside the output; long lists are cut there only.")

    @classmethod
    def of(cls, output: StageOutput) -> StageResult:
        """The result of a stage's output."""
        record = output.record
        details = {k: v for k, v in record.details.items() if not (isinstance(v, list) and len(v) > _TOO_LONG)}
        return cls(
            stage=record.stage,
            key=output.key,
            folder=output.folder,
            reused=output.reused,
            duration_s=record.duration_s,
            counts=record.counts,
            details=details,
        )


class IntakeResult(Result):
    """A dataset that is ready for experiments."""

    name: str
    dataset_key: str
    prepared_key: str
    prepared: Path
    stages: list[StageResult]
    registered_version: str


class TrainResult(Result):
    """A trained experiment."""

    experiment_id: str
    task: Task
    model: str
    status: str
    folder: Path
    checkpoint: str | None
    duration_s: float

    @classmethod
    def of(cls, experiment: Experiment) -> TrainResult:
        """The result of a trained experiment."""
        metadata = experiment.metadata
        return cls(
            experiment_id=metadata.experiment_id,
            task=metadata.task,
            model=metadata.model,
            status=metadata.status,
            folder=experiment.folder,
            checkpoint=metadata.checkpoint.path if metadata.checkpoint else None,
            duration_s=metadata.duration_s,
        )


class EvaluateResult(Result):
    """What was measured on one split."""

    experiment_id: str
    split: Split
    primary: str
    metrics: dict[str, Metric]
    folder: Path

    @classmethod
    def of(cls, found: Evaluation, folder: Path) -> EvaluateResult:
        """The result of an evaluation whose files are in `folder`."""
        return cls(
            experiment_id=found.experiment_id,
            split=found.split,
            primary=found.primary,
            metrics=found.metrics,
            folder=folder,
        )


class ExplainResult(Result):
    """Where a model looks."""

    experiment_id: str
    split: Split
    metrics: dict[str, Metric]
    overlays: list[str]
    notes: list[str]
    folder: Path

    @classmethod
    def of(cls, found: Explanation, folder: Path) -> ExplainResult:
        """The result of an explanation whose files are in `folder`."""
        return cls(
            experiment_id=found.experiment_id,
            split=found.split,
            metrics=found.metrics,
            overlays=[overlay.file for overlay in found.overlays],
            notes=found.notes,
            folder=folder,
        )


class ExperimentResult(Result):
    """A trained, evaluated and explained experiment."""

    train: TrainResult
    evaluation: EvaluateResult
    explanation: ExplainResult


class CycleResult(Result):
    """A finished cycle: its record, and where record and report lie."""

    record: CycleRecord
    record_path: Path
    report_path: Path

    @classmethod
    def of(cls, done: Conclusion) -> CycleResult:
        """The result of a cycle's conclusion."""
        return cls(record=done.record, record_path=done.record_path, report_path=done.report_path)


class GenerateResult(Result):
    """A generated archive."""

    archive: Path
    images: int
    patients: int
    layout: str
    sha256: str


def show_metrics(result: EvaluateResult | ExplainResult) -> None:
    """Prints each metric with its interval, one a line."""
    sys.stdout.write(f"{result.experiment_id} on {result.split}\n")
    for name, metric in result.metrics.items():
        sys.stdout.write(f"  {name:<28} {metric}\n")
    sys.stdout.write(f"  files: {result.folder}\n")


def show_cycle(result: CycleResult) -> None:
    """Prints the table of experiments, the report's path, and the command for the next step."""
    from rich.console import Console

    from glaucoma.reporting.table import experiments_table

    console = Console()
    console.print(experiments_table(result.record))
    for sentence in result.record.learned:
        console.print(f"- {sentence}", highlight=False, markup=False)
    sys.stdout.write(f"\nReport: {result.report_path}\n")
    name, preset = result.record.dataset.name, result.record.preset
    workspace = result.report_path.parents[2]
    sys.stdout.write(
        f"Next round: python -m flows.research_cycle --name {name} --preset {preset} --workspace {workspace}\n"
    )
