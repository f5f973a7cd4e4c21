"""Experiments as a table for a terminal of 80 columns."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from glaucoma.evaluation.result import Metric
from glaucoma.records.ledger import LedgerExperiment
from glaucoma.records.record import CycleRecord, ExperimentFacts
from glaucoma.records.words import PRIMARY_METRIC, Standing
from glaucoma.reporting.words import duration_text, number_text
from glaucoma.schema import Task

_STYLES = {
    Standing.COMPLETED: "green",
    Standing.INTERRUPTED: "yellow",
    Standing.FAILED: "red",
    Standing.REFUSED: "red",
    Standing.RUNNING: "yellow",
    Standing.CANCELLED: "yellow",
    Standing.PROPOSED: "dim",
}
_LABELS = {Task.CLASSIFICATION: "AUC", Task.SEGMENTATION: "Dice"}


def experiments_table(record: CycleRecord) -> Table:
    """The experiments of a cycle: id, score with its interval, status, novelty, time; the best of a task is bold.

    Ids fold over two lines rather than being cut: they are what one copies.
    """
    return _table(record.experiments, set(record.best.values()))


def ledger_table(entries: Sequence[LedgerExperiment]) -> Table:
    """The same for experiments of the ledger; the best of each task among them is bold."""
    facts = [
        ExperimentFacts(
            experiment_id=e.experiment_id,
            task=e.task,
            model=e.model,
            status=e.status,
            seed=e.seed,
            novelty=e.novelty,
            spec=e.spec,
            metrics={"val": {name: Metric.model_validate(m) for name, m in e.val_metrics.items()}}
            if e.val_metrics
            else {},
            duration_s=e.duration_s,
        )
        for e in entries
    ]
    return _table(facts, {name for task in Task if (name := _best(facts, task))})


def _table(experiments: Sequence[ExperimentFacts], best: set[str]) -> Table:
    table = Table(box=None, padding=(0, 1), show_edge=False)
    table.add_column("Experiment", overflow="fold", ratio=1, min_width=16)
    table.add_column("Score (95 % interval)", no_wrap=True)
    table.add_column("Status", no_wrap=True)
    table.add_column("Kind", no_wrap=True)
    table.add_column("Time", justify="right", no_wrap=True)
    for e in experiments:
        strong = "bold" if e.experiment_id in best else ""
        table.add_row(
            Text(e.experiment_id, style=strong),  # as Text: what stands in an id is never markup
            Text(_score(e), style=strong),
            Text(e.status.value, style=_STYLES[e.status]),
            Text(e.novelty.value if e.novelty else "by hand"),
            Text(duration_text(e.duration_s)),
        )
    return table


def _best(experiments: Sequence[ExperimentFacts], task: Task) -> str | None:
    scored = [
        (found.value, e.experiment_id)
        for e in experiments
        if e.task is task and e.status is Standing.COMPLETED
        if (found := e.metric(PRIMARY_METRIC[task])) is not None and found.value is not None
    ]
    return max(scored, key=lambda pair: pair[0])[1] if scored else None


def _score(experiment: ExperimentFacts) -> str:
    found = experiment.metric(PRIMARY_METRIC[experiment.task])
    if found is None or found.value is None:
        return "–"
    words = f"{_LABELS[experiment.task]} {number_text(found.value)}"
    if found.low is None or found.high is None:
        return words
    return f"{words} ({number_text(found.low, 2)}–{number_text(found.high, 2)})"
