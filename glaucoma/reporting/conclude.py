"""A cycle's end: compare what was tried, say what was learned and what is next, and write record and report."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from glaucoma.datasets.manifest import MANIFEST_NAME, read_manifest
from glaucoma.errors import NotFoundError
from glaucoma.planning.compare import compare
from glaucoma.planning.cycle import CyclePlan, possible_tasks
from glaucoma.planning.lessons import lessons, vetoes
from glaucoma.planning.propose import propose
from glaucoma.planning.settings import PlanSettings
from glaucoma.provenance import StageRecord, read_record, versions
from glaucoma.records.comparison import Comparison
from glaucoma.records.decision import read_decision
from glaucoma.records.ledger import Ledger, LedgerExperiment
from glaucoma.records.record import (
    REPORT_NAME,
    CheckpointFacts,
    CycleRecord,
    DatasetFacts,
    ExperimentFacts,
    SetAside,
    write_record,
)
from glaucoma.records.words import CycleStatus, Standing
from glaucoma.reporting.report import write_report
from glaucoma.schema import Split, StructureState, Task
from glaucoma.training.experiment import open_experiment
from glaucoma.training.settings import TrainSettings
from glaucoma.training.spec import spec_from
from glaucoma.workspace import Workspace


@dataclass(frozen=True)
class Conclusion:
    """What a cycle leaves behind."""

    record: CycleRecord
    record_path: Path
    report_path: Path


def compare_tasks(
    ledger: Ledger, plan: CyclePlan, workspace: Workspace, *, replicates: int, seed: int
) -> list[Comparison]:
    """For each task of the plan the ranking of this cycle's completed experiments and the incumbent, on validation."""
    comparisons = []
    for task in sorted({proposal.spec.task for proposal in plan.proposals}):
        done = [
            name
            for name in (p.experiment_id for p in plan.proposals if p.spec.task is task)
            if ledger.experiment(name).status is Standing.COMPLETED
        ]
        if done:
            comparisons.append(
                compare(done, workspace, incumbent=plan.incumbents.get(task), replicates=replicates, seed=seed)
            )
    return comparisons


def conclude(
    ledger: Ledger,
    plan: CyclePlan,
    comparisons: list[Comparison],
    workspace: Workspace,
    *,
    prepared: Path,
    config: Mapping[str, Any],
    preset: str,
    plan_settings: PlanSettings,
    train: TrainSettings,
) -> Conclusion:
    """Writes `cycles/<cycle_id>/record.json` and `report.html`, then closes the cycle in the ledger, in this order."""
    entries = [ledger.experiment(proposal.experiment_id) for proposal in plan.proposals]
    completed = [entry for entry in entries if entry.status is Standing.COMPLETED]
    now = datetime.now(UTC)
    failure = "" if completed else "No experiment was completed."
    experiments = [experiment_facts(entry, workspace) for entry in entries]
    history = ledger.experiments(prepared_key=plan.prepared_key)
    decision = read_decision(workspace.cycles / plan.cycle_id)
    record = CycleRecord(
        cycle_id=plan.cycle_id,
        status=CycleStatus.COMPLETED if completed else CycleStatus.FAILED,
        failure=failure,
        preset=preset,
        started_at=plan.started_at,
        duration_s=(now - plan.started_at).total_seconds(),
        dataset=dataset_facts(prepared, workspace),
        experiments=experiments,
        best={c.task: c.leader for c in comparisons if c.leader is not None},
        comparisons=comparisons,
        test_looks=sum(look.experiment_id in {e.experiment_id for e in entries} for look in ledger.looks()),
        approval=decision,
        learned=[
            *([decision.sentence()] if decision else []),
            *lessons(experiments, comparisons, rules=plan.rules, history=history),
            *plan.notes,
        ],
        next=_next(ledger, plan, prepared, plan_settings, train),
        versions=versions(),
        config=dict(config),
    )
    record_path = write_record(record, workspace)
    report_path = write_report(record, workspace, record_path.with_name(REPORT_NAME))
    ledger.end_cycle(plan.cycle_id, record.status, at=now, reason=failure)
    return Conclusion(record, record_path, report_path)


def promotion_vetoes(experiment_id: str, comparison: Comparison, plan: CyclePlan, workspace: Workspace) -> list[str]:
    """Why an experiment may not take the place of the best before; empty where nothing bars it."""
    entry = Ledger(workspace.ledger_url).experiment(experiment_id)
    return vetoes(experiment_facts(entry, workspace), plan.rules, comparison)


def dataset_facts(prepared: Path, workspace: Workspace) -> DatasetFacts:
    """The data of a cycle, from the records of the stages that made it."""
    ready = read_record(prepared / "prepared.json")
    name = str(ready.details["name"])
    dataset_key = str(ready.details["dataset_key"])
    dataset = read_record(workspace.datasets(name) / dataset_key / "dataset.json")
    manifest = read_manifest(prepared / MANIFEST_NAME)
    aside = [SetAside(source=a["source"], reason=a["reason"]) for a in dataset.details["set_aside"]]
    aside += [SetAside(source=a["image_id"], reason=a["reason"]) for a in ready.details["set_aside"]]
    return DatasetFacts(
        name=name,
        dataset_key=dataset_key,
        prepared_key=ready.key,
        manifest_sha256=dataset.details["manifest_sha256"],
        archive_sha256=_archive_sha256(dataset, workspace),
        layout=dataset.details["layout"],
        synthetic=bool(dataset.details["synthetic"]),
        images=len(manifest),
        patients=dataset.counts["patients"] or None,
        with_mask=int((manifest["disc_state"] == StructureState.PRESENT).sum()),
        counts_by_split=ready.details["counts_by_split"],
        grouping=dataset.details["grouping"],
        image_size_px=ready.details["image_size_px"],
        set_aside=aside,
        warnings=_warnings(workspace, name, dataset_key),
    )


def experiment_facts(entry: LedgerExperiment, workspace: Workspace) -> ExperimentFacts:
    """One experiment, from the ledger and from its folder where it has one."""
    facts: dict[str, Any] = {
        "experiment_id": entry.experiment_id,
        "task": entry.task,
        "model": entry.model,
        "status": entry.status,
        "seed": entry.seed,
        "novelty": entry.novelty,
        "reason": entry.proposal_reason,
        "failure": entry.reason,
        "spec": entry.spec,
        "metrics": {
            split: found for split, found in ((Split.VAL, entry.val_metrics), (Split.TEST, entry.test_metrics)) if found
        },
        "duration_s": entry.duration_s,
    }
    from glaucoma.explanation.explain import read_explanation  # brings torch

    try:
        experiment = open_experiment(entry.experiment_id, workspace)
    except NotFoundError:
        return ExperimentFacts.model_validate(facts)  # refused, or failed before it began
    if checkpoint := experiment.metadata.checkpoint:
        path = (experiment.folder / checkpoint.path).relative_to(workspace.root)
        facts["checkpoint"] = CheckpointFacts(path=str(path), sha256=checkpoint.sha256, epoch=checkpoint.epoch)
    with contextlib.suppress(NotFoundError):  # not explained: it failed before
        facts["dri"] = {Split.VAL: read_explanation(experiment, Split.VAL).metrics}
    return ExperimentFacts.model_validate(facts)


def _archive_sha256(dataset: StageRecord, workspace: Workspace) -> str | None:
    for key in dataset.inputs.values():
        record = workspace.archives / key / "archive.json"
        if record.is_file():
            return str(read_record(record).details["archive_sha256"])
    return None


def _warnings(workspace: Workspace, name: str, dataset_key: str) -> list[str]:
    for path in sorted(workspace.validations(name).glob("*/validation.json")):
        record = read_record(path)
        if record.inputs.get("dataset") == dataset_key:
            return [warning["observed"] or warning["says"] for warning in record.details["warnings"]]
    return []


def _next(ledger: Ledger, plan: CyclePlan, prepared: Path, settings: PlanSettings, train: TrainSettings) -> list[str]:
    """What the next cycle with these settings will try: the proposer is deterministic, so it can be asked now."""
    tasks = [task for task, obstacle in possible_tasks(read_manifest(prepared / MANIFEST_NAME)).items() if not obstacle]
    sentences = []
    for task in tasks:
        base = spec_from(train, task, plan.dataset, plan.prepared_key)
        proposals = propose(
            ledger, plan.prepared_key, task, base, settings.experiments_per_task,
            seed=settings.seed, settings=settings, rules=plan.rules,
        )  # fmt: skip
        sentences += [f"{_TASK_WORDS[task]}, {p.novelty}: {p.reason}" for p in proposals]
    return sentences


_TASK_WORDS = {Task.CLASSIFICATION: "Classification", Task.SEGMENTATION: "Segmentation"}
