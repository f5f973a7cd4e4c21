"""What flows give back: plain models that print as JSON."""

from __future__ import annotations

import shlex
import shutil
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field

from glaucoma.datasets.integrity import Check
from glaucoma.datasets.pair_judgements import Recorded
from glaucoma.datasets.restoring import Restored
from glaucoma.datasets.versions import DatasetInfo, Version
from glaucoma.errors import shown_bytes
from glaucoma.evaluation.result import Evaluation, Metric
from glaucoma.explanation.result import Explanation
from glaucoma.planning.removal import Done, Removal
from glaucoma.provenance import StageOutput
from glaucoma.records.record import CycleRecord
from glaucoma.schema import Split, Task
from glaucoma.training.experiment import Experiment

if TYPE_CHECKING:
    from glaucoma.reporting.conclude import Conclusion  # imports torch: seconds, for every flow

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


class JudgeResult(Result):
    """What was kept of a person's judgements."""

    name: str
    file: Path
    new: int = Field(description="Judgements written.")
    unchanged: int = Field(description="Pairs of which the same had been said before.")
    total: int = Field(description="Pairs of which anything has been said.")

    @classmethod
    def of(cls, name: str, done: Recorded) -> JudgeResult:
        """The result of recording judgements."""
        return cls(name=name, file=done.file, new=done.new, unchanged=done.unchanged, total=done.total)


class IntakeResult(Result):
    """A dataset that is ready for experiments."""

    name: str
    dataset_key: str
    prepared_key: str
    prepared: Path
    stages: list[StageResult]
    registered_version: str


class RestoreResult(Result):
    """A registered version that is in the workspace again."""

    name: str
    version: str
    prepared_key: str | None
    folders: list[Path]
    restored: list[Path] = Field(description="Those that were brought back; the others were there.")

    @classmethod
    def of(cls, done: Restored) -> RestoreResult:
        """The result of a restored version."""
        entry = done.entry
        return cls(
            name=entry.name,
            version=entry.version,
            prepared_key=entry.prepared_key,
            folders=done.folders,
            restored=done.restored,
        )


class DatasetsResult(Result):
    """Every registered version."""

    registry: Path
    versions: list[Version]


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


class ResumeResult(Result):
    """Experiments that went on to their end."""

    experiments: list[ExperimentResult]


class HousekeepingResult(Result):
    """What was removed, or would be."""

    dry_run: bool
    removals: list[Removal] = Field(description="The plan, in its order.")
    bytes_planned: int
    removed: list[str] = Field(description="Of the plan, what is gone now.")
    left: dict[str, str] = Field(description="Of the plan, what was left after all -> why.")

    @classmethod
    def of(cls, removals: list[Removal], done: Done | None) -> HousekeepingResult:
        """The result of a plan, and of its doing where it was done."""
        return cls(
            dry_run=done is None,
            removals=removals,
            bytes_planned=sum(one.bytes for one in removals),
            removed=done.removed if done else [],
            left=done.left if done else {},
        )


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


def show_cycle(result: CycleResult, arguments: Sequence[str] = ()) -> None:
    """Prints the table of experiments, the report's path, and the command for the next step.

    Args:
        arguments: The command line of this cycle: the same again is the next round.
    """
    from rich.console import Console

    from glaucoma.reporting.table import experiments_table

    console = Console()
    console.print(experiments_table(result.record))
    for sentence in result.record.learned:
        console.print(f"- {sentence}", highlight=False, markup=False)
    sys.stdout.write(f"\nReport: {result.report_path}\n")
    again = list(arguments)
    if not any(argument.split("=")[0] == "--workspace" for argument in again):
        again += ["--workspace", str(result.report_path.parents[2])]
    sys.stdout.write(f"Next round: python -m flows.research_cycle {shlex.join(again)}\n")


def show_housekeeping(result: HousekeepingResult) -> None:
    """Prints the plan, one removal a line, and what became of it."""
    gone = set(result.removed)
    for one in result.removals:
        state = "would go" if result.dry_run else "removed" if one.path in gone else "left"
        reason = result.left.get(one.path, one.why)
        sys.stdout.write(f"{state:<9} {shown_bytes(one.bytes):>10}  {one.path}  {reason}\n")
    total = f"{len(result.removals)} removals, {shown_bytes(result.bytes_planned)}"
    sys.stdout.write(f"{total}{'; a dry run: nothing was removed' if result.dry_run else ''}\n")


def show_restore(result: RestoreResult) -> None:
    """Prints which folders came back and which were there."""
    sys.stdout.write(f"{result.name} version {result.version}\n")
    for folder in result.folders:
        sys.stdout.write(f"  {'restored' if folder in result.restored else 'was there'}: {folder}\n")


def show_datasets(result: DatasetsResult) -> None:
    """Prints a block of two lines a version, the newest of a dataset last."""
    if not result.versions:
        sys.stdout.write(f"Nothing is registered in {result.registry}\n")
    for one in result.versions:
        judged = {True: "valid", False: "not valid", None: "not validated"}[one.validated]
        there = "in the workspace" if one.in_workspace else "not in the workspace"
        sys.stdout.write(
            f"{one.name}  {one.version}  {one.registered_at:%Y-%m-%d %H:%M} UTC\n"
            f"  {one.files} files, {shown_bytes(one.bytes)}, {judged}, {there}\n"
            f"  remote: {one.remote or 'not pushed'}\n"
        )


def show_dataset_info(info: DatasetInfo) -> None:
    """Prints one version: counts, lineage, places, validations."""
    entry = info.entry
    lines = [
        f"{entry.name} version {entry.version}, registered {entry.registered_at:%Y-%m-%d %H:%M} UTC",
        f"  {entry.files} files, {shown_bytes(entry.bytes)}",
        f"  manifest SHA-256 {entry.manifest_sha256}",
        f"  remote: {entry.remote or 'not pushed'}" + (f" at {entry.endpoint_url}" if entry.endpoint_url else ""),
    ]
    lines += [f"  block: {entry.remote_block}"] if entry.remote_block else []
    for place in info.places:
        lines.append(f"  {'there' if place.present else 'not there'}: {place.folder}")
        lines.append(f"    sums: {place.sums}" + ("" if place.files is not None else " (missing or damaged)"))
    details = [
        f"made by {step.stage} {step.key}: " + ", ".join(f"{value} {what}" for what, value in step.counts.items())
        for step in info.lineage
    ]
    details += [
        f"{one.stage} {one.key}: {'passed' if one.passed else 'failed'}, "
        f"{one.critical} critical, {one.warnings} warnings"
        for one in info.validations
    ] or ["never validated here"]
    width = shutil.get_terminal_size().columns
    lines += [textwrap.fill(line, width, initial_indent="  ", subsequent_indent="    ") for line in details]
    sys.stdout.write("\n".join(lines) + "\n")


def show_check(found: Check) -> None:
    """Prints what was read; what differs is an error and never comes here."""
    sys.stdout.write(f"{found.name} version {found.version}: {found.files} files read, all as registered\n")
    for place in found.checked:
        sys.stdout.write(f"  {place}" + (f": {found.remote_url}" if place == "remote" else "") + "\n")
