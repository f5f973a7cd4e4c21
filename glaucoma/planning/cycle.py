"""A cycle's beginning: opened, or taken up again where it was cut off; and its plan, made once and then kept."""

from __future__ import annotations

import json
from collections.abc import Container, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field

from glaucoma.datasets.manifest import MANIFEST_NAME, read_manifest
from glaucoma.errors import DatasetError, IntegrityError, NotFoundError, problems
from glaucoma.planning.propose import Proposal, propose
from glaucoma.planning.settings import PlanSettings, Rules
from glaucoma.provenance import digest, exclusive, write_json
from glaucoma.records.ledger import Ledger, LedgerCycle, LedgerExperiment
from glaucoma.records.remember import first_entry
from glaucoma.records.words import CycleStatus, Standing
from glaucoma.schema import Column, Label, StructureState, Task
from glaucoma.settings import TRUSTED
from glaucoma.training.build import build_model
from glaucoma.training.experiment import is_there
from glaucoma.training.settings import TrainSettings
from glaucoma.training.spec import ExperimentSpec, spec_from
from glaucoma.workspace import Workspace

if TYPE_CHECKING:
    import pandas as pd

PLAN_NAME = "plan.json"


class CyclePlan(BaseModel):
    """`cycles/<cycle_id>/plan.json`: what the cycle tries, and why; written before the first experiment starts."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    cycle_id: str
    started_at: datetime
    dataset: str
    prepared_key: str
    rules: Rules = Field(default_factory=Rules, description="What no experiment of this cycle may break.")
    incumbents: dict[Task, str] = Field(description="Task -> the best experiment so far whose files are there.")
    proposals: list[Proposal]
    notes: list[str] = Field(default_factory=list, description="Tasks that this dataset cannot serve, and why.")


@dataclass(frozen=True)
class OpenCycle:
    """A cycle that runs."""

    plan: CyclePlan
    folder: Path
    resumed: bool


def open_cycle(
    ledger: Ledger,
    workspace: Workspace,
    *,
    name: str,
    prepared: Path,
    config: Mapping[str, Any],
    plan: PlanSettings,
    train: TrainSettings,
    rules: Rules | None = None,
) -> OpenCycle:
    """The cycle of this configuration that was cut off, with its plan as it was; a new one where there is none.

    A cycle that ended without a completed experiment is taken up again too, as long as one of them may still complete
    (`can_go_on`). Where each failed for good or was refused, the same plan would end the same way, and a new cycle is
    planned.

    Args:
        prepared: Folder of the prepared dataset; its name is the key.
        config: All that makes the cycle what it is; two starts with the same one are the same cycle until it is done.

    Raises:
        DatasetError: The dataset serves neither task.
        RuleBrokenError: The settings that the search starts from break a rule.
    """
    identity = {**config, "prepared_key": prepared.name}
    with exclusive(workspace.locks / "open-cycle.lock"):
        unfinished = ledger.unfinished_cycle(identity)
        planned = _planned(unfinished, workspace)
        if unfinished is not None and planned is not None:
            if _is_to_go_on(ledger, unfinished, planned):
                ledger.start_cycle(unfinished.cycle_id, identity, at=datetime.now(UTC))
                _enter(ledger, planned, known=_standings(ledger, planned))
                return OpenCycle(planned, workspace.cycles / planned.cycle_id, resumed=True)
            unfinished = None
        cycle_id = unfinished.cycle_id if unfinished else _new_id(name, identity, ledger, workspace)
        made = make_plan(ledger, workspace, cycle_id, name, prepared, plan, train, rules or Rules())
        ledger.start_cycle(cycle_id, identity, at=made.started_at)
        folder = workspace.cycles / cycle_id
        write_json(folder / PLAN_NAME, made.model_dump(mode="json"))
        _enter(ledger, made)
    return OpenCycle(made, folder, resumed=False)


def _new_id(name: str, identity: Mapping[str, Any], ledger: Ledger, workspace: Workspace) -> str:
    """An id that no cycle has had: after a rollback the ledger does not know all those whose files are there."""
    from glaucoma.planning.archive import archived_names  # which imports this module

    known = {cycle.cycle_id for cycle in ledger.cycles()} | set(archived_names("cycle", workspace))
    known |= {folder.name for folder in workspace.cycles.glob("[!.]*")}
    parted = [cycle_id.rpartition("-")[0].rpartition("-") for cycle_id in known]
    number = 1 + max((int(number) for of, _, number in parted if of == name and number.isdecimal()), default=0)
    return f"{name}-{number:04d}-{digest(identity)[:6]}"


def plan_to_take_up(
    ledger: Ledger, workspace: Workspace, config: Mapping[str, Any], prepared: Path
) -> CyclePlan | None:
    """The plan that `open_cycle` would go on with; None where it would make a new one. Nothing is written."""
    unfinished = ledger.unfinished_cycle({**config, "prepared_key": prepared.name})
    planned = _planned(unfinished, workspace)
    if unfinished is None or planned is None or not _is_to_go_on(ledger, unfinished, planned):
        return None
    return planned


def _planned(cycle: LedgerCycle | None, workspace: Workspace) -> CyclePlan | None:
    path = workspace.cycles / cycle.cycle_id / PLAN_NAME if cycle is not None else None
    return read_plan(path) if path is not None and path.is_file() else None


def _is_to_go_on(ledger: Ledger, cycle: LedgerCycle, plan: CyclePlan) -> bool:
    """False where the cycle ended, and the same plan would end the same way: nothing of it may still be run."""
    if cycle.status is CycleStatus.CANCELLED:  # a plan that a person refused is refused for good, whatever ran before
        over = (Standing.COMPLETED, Standing.FAILED, Standing.REFUSED)
        known = _standings(ledger, plan)
        return any(known.get(p.experiment_id) not in over for p in plan.proposals)
    return cycle.status is not CycleStatus.FAILED or can_go_on(ledger, plan)


def is_taken_up(cycle_id: str, ledger: Ledger, workspace: Workspace) -> bool:
    """True where the next start with its settings goes on with that cycle, which has not completed."""
    cycle = next((one for one in ledger.cycles() if one.cycle_id == cycle_id), None)
    if cycle is None or cycle.status is CycleStatus.COMPLETED:
        return False
    plan = _planned(cycle, workspace)
    return plan is None or _is_to_go_on(ledger, cycle, plan)


def can_go_on(ledger: Ledger, plan: CyclePlan) -> bool:
    """True where an experiment of the plan may still be completed: not each of them failed for good or was refused."""
    known = _standings(ledger, plan)
    return any(known.get(p.experiment_id) not in (Standing.FAILED, Standing.REFUSED) for p in plan.proposals)


def _standings(ledger: Ledger, plan: CyclePlan) -> dict[str, Standing]:
    return {e.experiment_id: e.status for e in ledger.experiments(prepared_key=plan.prepared_key)}


def _enter(ledger: Ledger, plan: CyclePlan, known: Container[str] = ()) -> None:
    """Puts the plan's proposals into the ledger, but for those that it knows: a kill may have come between the two."""
    for proposal in plan.proposals:
        if proposal.experiment_id not in known:
            ledger.put(_entry(proposal, plan.cycle_id))


def require_known_models(train: TrainSettings) -> None:
    """Refuses settings whose networks cannot be built, before any work is done; weights are looked for when planning.

    Raises:
        UnknownModelError: No such network; the nearest names are given.
        SettingsError: The network cannot take the settings' input.
        WeightsUnavailableError: The weights file that is named is not there.
    """
    for task in Task:
        build_model(spec_from(train, task, "any", "any"), pretrained=False)


def possible_tasks(manifest: pd.DataFrame) -> dict[Task, str]:
    """Each task with the reason why the prepared dataset cannot serve it; an empty reason where it can."""
    labels = set(manifest[Column.LABEL])
    present = manifest[[Column.DISC_STATE, Column.CUP_STATE]] == StructureState.PRESENT
    masked = (present.all(axis=1) & (manifest[Column.MASK] != "")).any()  # what training can use
    return {
        Task.SEGMENTATION: "" if masked else "no photograph has a mask of disc and cup",
        Task.CLASSIFICATION: ""
        if {Label.NORMAL, Label.GLAUCOMA} <= labels
        else f"the labels are {', '.join(sorted(labels)) or 'none'}, and both normal and glaucoma are needed",
    }


def make_plan(
    ledger: Ledger,
    workspace: Workspace,
    cycle_id: str,
    name: str,
    prepared: Path,
    plan: PlanSettings,
    train: TrainSettings,
    rules: Rules,
) -> CyclePlan:
    """What a new cycle would try. Nothing is written."""
    possible = possible_tasks(read_manifest(prepared / MANIFEST_NAME))
    tasks = [task for task, obstacle in possible.items() if not obstacle]
    if not tasks:
        reasons = "; ".join(f"{task}: {obstacle}" for task, obstacle in possible.items())
        raise DatasetError(
            f"The dataset {name} serves no task ({reasons})",
            expected="masks of disc and cup, or photographs of both classes",
            consequence="No experiment was planned",
            remedy="add masks or labels to the archive",
        )
    proposals: list[Proposal] = []
    incumbents: dict[Task, str] = {}
    for task in tasks:
        base = spec_from(train, task, name, prepared.name)
        if base.pretrained:
            build_model(base, workspace)  # weights that are not there end the cycle here, not each experiment
        best = ledger.best(task=task, prepared_key=prepared.name, at_hand=lambda name: is_there(name, workspace))
        if best is not None:
            incumbents[task] = best.experiment_id
        proposals += propose(
            ledger, prepared.name, task, base, plan.experiments_per_task, seed=plan.seed, settings=plan, rules=rules
        )
    return CyclePlan(
        cycle_id=cycle_id,
        started_at=datetime.now(UTC),
        dataset=name,
        prepared_key=prepared.name,
        rules=rules,
        incumbents=incumbents,
        proposals=proposals,
        notes=[f"No {task}: {obstacle}." for task, obstacle in possible.items() if obstacle],
    )


def _entry(proposal: Proposal, cycle_id: str) -> LedgerExperiment:
    asked = {"cycle_id": cycle_id, "novelty": proposal.novelty, "proposal_reason": proposal.reason}
    return first_entry(proposal.spec, datetime.now(UTC)).model_copy(update=asked)


def read_plan(path: Path) -> CyclePlan:
    """The plan at `path`; `IntegrityError` where it is no valid plan."""
    try:
        return CyclePlan.model_validate(json.loads(path.read_bytes()), context=TRUSTED)
    except ValueError as error:
        raise IntegrityError(
            f"{path} is no valid plan ({problems(error)})", remedy="remove the file: the cycle is planned anew"
        ) from error


def planned(workspace: Workspace, cycle_id: str, experiment_id: str) -> ExperimentSpec:
    """What the cycle's plan says of that experiment; where the plan is on another machine, what the ledger says.

    Raises:
        NotFoundError: Neither knows it.
        IntegrityError: The plan, or what the ledger keeps, is not valid.
    """
    path = workspace.cycles / cycle_id / PLAN_NAME
    if path.is_file():
        specs = {one.experiment_id: one.spec for one in read_plan(path).proposals}
    else:
        specs = {one.experiment_id: _spec(one) for one in Ledger(workspace.ledger_url).experiments(cycle_id=cycle_id)}
    if experiment_id in specs:
        return specs[experiment_id]
    known = (
        f"The plan of {cycle_id} has"
        if specs
        else f"Neither {workspace.cycles} nor the ledger knows the plan of {cycle_id}:"
    )
    raise NotFoundError(
        f"{known} no experiment {experiment_id}",
        expected=f"one of: {', '.join(specs) or 'none'}",
        consequence="Nothing was trained",
        remedy="check both ids, and that this run sees the workspace of the cycle or its ledger (ARC_LEDGER_URL)",
    )


def _spec(entry: LedgerExperiment) -> ExperimentSpec:
    try:
        spec = ExperimentSpec.model_validate(entry.spec, context=TRUSTED)
    except ValueError as error:
        raise IntegrityError(
            f"The ledger's settings of {entry.experiment_id} are not valid ({problems(error)})",
            consequence="Nothing was trained",
        ) from error
    return spec
