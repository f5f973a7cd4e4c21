"""Which experiments are wanted, whatever their age: promoted, looked at, or needed by something else."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

from glaucoma.planning.cycle import PLAN_NAME, can_go_on, read_plan
from glaucoma.provenance import read_record as read_stage_record
from glaucoma.records.ledger import Ledger
from glaucoma.records.record import RECORD_NAME, read_record
from glaucoma.records.words import CycleStatus, Standing
from glaucoma.training.experiment import is_there
from glaucoma.workspace import Workspace


def wanted_experiments(workspace: Workspace, ledger: Ledger) -> dict[str, str]:
    """Experiment -> why it must stay.

    A cycle puts nothing into service. What counts as promoted is what the next cycle measures itself against (the best
    of a task on its data), what led a cycle, and what was put up for promotion (measured on the test split).

    Raises:
        IntegrityError: A plan or a record cannot be read, so that it is not known what it names.
    """
    wanted: dict[str, str] = {}
    promoted = chain(_best(workspace, ledger), _leaders(workspace), _looked_at(ledger))
    for name, why in chain(promoted, _needed(workspace, ledger), _used(workspace)):
        wanted.setdefault(name, why)
    return wanted


def _best(workspace: Workspace, ledger: Ledger) -> Iterator[tuple[str, str]]:
    for task, key in sorted({(e.task, e.prepared_key) for e in ledger.experiments(status=Standing.COMPLETED)}):
        best = ledger.best(task=task, prepared_key=key, at_hand=lambda name: is_there(name, workspace))
        if best is not None:
            yield best.experiment_id, f"is the best {task} on {best.dataset} {key}"


def _leaders(workspace: Workspace) -> Iterator[tuple[str, str]]:
    for path in sorted(workspace.cycles.glob(f"*/{RECORD_NAME}")):
        record = read_record(path.parent.name, workspace)
        for task, name in record.best.items():
            yield name, f"led the {task} ranking of {record.cycle_id}"


def _looked_at(ledger: Ledger) -> Iterator[tuple[str, str]]:
    for look in ledger.looks():
        yield look.experiment_id, f"was measured on the {look.split} split"


def _needed(workspace: Workspace, ledger: Ledger) -> Iterator[tuple[str, str]]:
    for cycle in ledger.cycles():
        path = workspace.cycles / cycle.cycle_id / PLAN_NAME
        if cycle.status is CycleStatus.COMPLETED or not path.is_file():
            continue
        plan = read_plan(path)
        if cycle.status in (CycleStatus.FAILED, CycleStatus.CANCELLED) and not can_go_on(ledger, plan):
            continue
        for name in [*(p.experiment_id for p in plan.proposals), *plan.incumbents.values()]:
            yield name, f"is needed by {cycle.cycle_id}, which is not completed"


def _used(workspace: Workspace) -> Iterator[tuple[str, str]]:
    for path in sorted(workspace.root.glob("prepared/*/[0-9a-f]*/prepared.json")):
        for step in read_stage_record(path).settings.get("steps", []):
            if name := step.get("experiment"):
                yield str(name), f"found the discs of the prepared dataset {path.parent.parent.name}/{path.parent.name}"
