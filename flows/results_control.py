"""What the flows that steer and look give back, and how a terminal shows it."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from pydantic import Field

from flows.results import Result
from glaucoma.errors import shown_bytes
from glaucoma.planning.archive import Archived, ArchivedMany
from glaucoma.planning.deleting import Deletion
from glaucoma.planning.overview import ExperimentInfo, ExperimentLine
from glaucoma.planning.removal import Done, Removal
from glaucoma.planning.rollback import RolledBack
from glaucoma.planning.snapshot import Snapshot
from glaucoma.records.words import Standing
from glaucoma.schema import Task
from glaucoma.training.experiment import Experiment
from tasks.cancel import Cancelled
from tasks.system_status import RunLine, SystemStatus


class ExperimentsResult(Result):
    """The experiments that match."""

    experiments: list[ExperimentLine]


class CreateResult(Result):
    """An experiment that is there and was not run by this."""

    experiment_id: str
    task: Task
    status: str
    folder: Path

    @classmethod
    def of(cls, experiment: Experiment) -> CreateResult:
        """The result of an experiment that was made."""
        metadata = experiment.metadata
        return cls(
            experiment_id=metadata.experiment_id, task=metadata.task, status=metadata.status, folder=experiment.folder
        )


class CancelResult(Result):
    """What was cancelled."""

    experiment_id: str
    runs: list[str] = Field(description="Name and id of each flow run that was cancelled.")
    standing: Standing | None = Field(description="How the experiment stands; none where another trains it already.")
    removed: bool = Field(description="Whether all that it wrote is gone (rollback).")

    @classmethod
    def of(cls, done: Cancelled) -> CancelResult:
        """The result of a cancel."""
        return cls(experiment_id=done.experiment_id, runs=done.runs, standing=done.standing, removed=done.removed)


class DeleteResult(Result):
    """What was deleted, or would be."""

    dry_run: bool
    removals: list[Removal] = Field(description="What may go.")
    refused: dict[str, str] = Field(description="Experiment -> why it may not.")
    removed: list[str] = Field(description="Paths that are gone now.")
    left: dict[str, str] = Field(description="Of the plan, what was left after all -> why.")

    @classmethod
    def of(cls, plan: Deletion, done: Done | None) -> DeleteResult:
        """The result of a plan, and of its doing where it was done."""
        return cls(
            dry_run=done is None,
            removals=plan.removals,
            refused=plan.refused,
            removed=done.removed if done else [],
            left=done.left if done else {},
        )


class ArchiveCycleResult(Result):
    """A cycle's files, and what became of its experiments where that was asked for."""

    cycle: Archived
    experiments: list[Archived]
    left: dict[str, str] = Field(description="Experiment -> why it stays where it is.")

    @classmethod
    def of(cls, cycle: Archived, experiments: ArchivedMany | None) -> ArchiveCycleResult:
        """The result of packing a cycle away, or bringing it back."""
        return cls(
            cycle=cycle,
            experiments=experiments.done if experiments else [],
            left=experiments.left if experiments else {},
        )


class SnapshotsResult(Result):
    """The newest snapshots."""

    snapshots: list[Snapshot]


def show_experiments(result: ExperimentsResult) -> None:
    """Prints a line an experiment, the newest first."""
    for one in result.experiments:
        score = "" if one.primary_score is None else f"{one.primary_score:.4f}"
        sys.stdout.write(
            f"{one.created_at:%Y-%m-%d %H:%M}  {one.experiment_id:<40} {one.status:<12} {score:>7}  {one.dataset}"
            f"{'' if one.place == 'workspace' else f' ({one.place})'}{f'  {one.reason}' if one.reason else ''}\n"
        )
    sys.stdout.write(f"{len(result.experiments)} experiments\n")


def show_experiment_info(info: ExperimentInfo) -> None:
    """Prints what is known of one experiment."""
    line = info.line
    lines = [
        f"{line.experiment_id}: {line.status}{', being trained now' if line.training_now else ''}",
        f"  {line.task} with {line.model} on {line.dataset}, files: {line.place}, {shown_bytes(info.bytes)}",
        *([f"  why: {line.reason}"] if line.reason else []),
        *([f"  needed: {info.needed_because}"] if info.needed_because else []),
        *([f"  progress: {info.progress.line()}"] if info.progress else []),
        *([f"  flow run: {info.flow_run_id}"] if info.flow_run_id else []),
        *(f"  {one.at:%Y-%m-%d %H:%M:%S} {one.status} {one.reason}".rstrip() for one in info.history),
        *(f"  {name}: {value}" for name, value in line.val_metrics.items()),
        *(f"  {what}: {path}" for what, path in info.places.items()),
    ]
    sys.stdout.write("\n".join(lines) + "\n")


def show_cancel(result: CancelResult) -> None:
    """Prints what was cancelled."""
    for run in result.runs:
        sys.stdout.write(f"cancelled {run}\n")
    standing = result.standing or "being trained by another process again"
    removed = "; all that it wrote is removed" if result.removed else ""
    sys.stdout.write(f"{result.experiment_id} is {standing}{removed}\n")


def show_archive(done: Archived) -> None:
    """Prints where it is now."""
    place = f"{done.pack} ({shown_bytes(done.pack_bytes or 0)})" if done.archived else str(done.folder)
    sys.stdout.write(f"{done.name}: {place}{'' if done.changed else ' (already)'}\n")


def show_archive_cycle(result: ArchiveCycleResult) -> None:
    """Prints where the cycle and its experiments are now."""
    for one in (result.cycle, *result.experiments):
        show_archive(one)
    for name, why in result.left.items():
        sys.stdout.write(f"{name}: stays, {why}\n")


def show_delete(result: DeleteResult) -> None:
    """Prints the plan, and what became of it."""
    gone = set(result.removed)
    for one in result.removals:
        state = "would go" if result.dry_run else "removed" if one.path in gone else "left"
        sys.stdout.write(f"{state:<9} {shown_bytes(one.bytes):>10}  {one.path}  {result.left.get(one.path, '')}\n")
    for name, why in result.refused.items():
        sys.stdout.write(f"stays     {name} {why}\n")
    if result.dry_run:
        sys.stdout.write("A dry run: nothing was removed\n")


def show_snapshot(made: Snapshot) -> None:
    """Prints one snapshot."""
    sys.stdout.write(_snapshot_line(made) + "\n")


def show_snapshots(result: SnapshotsResult) -> None:
    """Prints a line a snapshot, the newest first."""
    sys.stdout.write("".join(f"{_snapshot_line(one)}\n" for one in result.snapshots) or "No snapshots yet\n")


def _snapshot_line(one: Snapshot) -> str:
    held = f"{one.ledger_experiments} experiments, {one.ledger_cycles} cycles, {len(one.files)} files"
    return f"{one.snapshot_id}  {held}  {one.reason}"


def show_rollback(done: RolledBack) -> None:
    """Prints what was put back, and what has been made since."""
    lines = [f"The books are those of {done.to}; as they were just before: {done.before}"]
    for what, names in (
        ("put back", done.restored),
        ("removed", done.removed),
        ("experiments made since, which stay", done.made_since),
        ("experiments changed since, which stay", done.changed_since),
        ("cycles begun since, whose files stay", done.cycles_since),
        ("experiments gone since, which stay gone", done.gone_since),
    ):
        lines += [f"  {what}: {', '.join(names)}"] if names else []
    sys.stdout.write("\n".join(lines) + "\n")


def show_status(found: SystemStatus) -> None:
    """Prints the tables of the status."""
    from rich.console import Console
    from rich.table import Table

    console = Console()

    def table(title: str, head: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        shown = Table(*head, title=title, title_justify="left")
        for row in rows:
            shown.add_row(*row)
        console.print(shown if shown.row_count else f"{title}: none", markup=False)

    def runs(title: str, lines: Sequence[RunLine]) -> None:
        rows = [(one.name, one.flow, one.state, f"{one.pool} {one.queue}", one.message) for one in lines]
        table(title, ("run", "flow", "state", "queue", "message"), rows)

    machine = found.machine
    console.print(f"Prefect {found.server_version} at {found.api}, mode {found.mode}", markup=False)
    console.print(
        f"{machine.host}: load {machine.load_1min:.1f} on {machine.cpus} processors, "
        f"{machine.memory_available_mb:.0f} MB of memory and {machine.disk_free_gb:.1f} GB of disk free",
        markup=False,
    )
    for gpu in machine.gpus:
        used = f"{gpu.memory_used_mb:.0f} of {gpu.memory_total_mb:.0f} MB"
        console.print(f"GPU {gpu.gpu} {gpu.name}: {used} {f'drained: {gpu.drained}' if gpu.drained else ''}")
    if machine.no_gpus:
        console.print(f"No GPUs: {machine.no_gpus}", markup=False)
    pools = [
        (one.name, "paused" if one.paused else "open", ", ".join(one.workers_online), str(one.running),
         str(one.waiting), ", ".join(one.queues_paused))
        for one in found.pools
    ]  # fmt: skip
    table("Work pools", ("pool", "state", "workers online", "running", "waiting", "queues paused"), pools)
    runs("Running", found.running)
    runs("Waiting", found.waiting)
    runs("Last errors", found.errors)
    cycles = [(one.cycle_id, one.status.value, f"{one.started_at:%F %R}", one.reason) for one in found.cycles]
    table("Last cycles", ("cycle", "status", "started", "reason"), cycles)
