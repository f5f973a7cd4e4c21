"""The report of a research cycle: one HTML file that opens offline, on a telephone, and on paper."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined

from glaucoma.provenance import write_bytes
from glaucoma.records.record import CycleRecord
from glaucoma.records.words import PRIMARY_METRIC
from glaucoma.reporting import plots, views
from glaucoma.reporting.material import Material, read_material
from glaucoma.reporting.words import duration_text, moment_text
from glaucoma.schema import Label, Preset, Split, Task
from glaucoma.workspace import Workspace

TASK_TITLES = {Task.CLASSIFICATION: "Glaucoma classification", Task.SEGMENTATION: "Disc and cup segmentation"}


def write_report(record: CycleRecord, workspace: Workspace, path: Path, *, max_pictures: int = 8) -> Path:
    """Writes the report of `record` to `path`, whole or not at all; gives back `path`.

    Curves and overlays come from the experiments' folders in `workspace`; what is not there is said to be missing.

    Args:
        max_pictures: Overlays shown for the best experiment of each task.

    Raises:
        ArcError: A result file is there and cannot be read.
    """
    write_bytes(path, render_report(record, workspace, max_pictures=max_pictures).encode())
    return path


def render_report(record: CycleRecord, workspace: Workspace, *, max_pictures: int = 8) -> str:
    """The report as text."""
    environment = Environment(
        loader=PackageLoader("glaucoma.reporting"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(duration=duration_text, moment=moment_text)
    return environment.get_template("report.html.j2").render(**_context(record, workspace, max_pictures))


def _context(record: CycleRecord, workspace: Workspace, max_pictures: int) -> dict[str, Any]:
    best = set(record.best.values())
    materials = {
        e.experiment_id: read_material(e, workspace, max_pictures=max_pictures if e.experiment_id in best else 0)
        for e in record.experiments
    }
    tasks = [
        task for task in (Task.CLASSIFICATION, Task.SEGMENTATION) if any(e.task is task for e in record.experiments)
    ]
    return {
        "record": record,
        "cards": [views.card(record, task) for task in tasks],
        "counts": views.counts_line(record),
        "dataset": _dataset(record),
        "tasks": [_task(record, task, materials) for task in tasks],
        "smoke": record.preset == Preset.SMOKE,
        "config": yaml.safe_dump(record.model_dump(mode="json")["config"], sort_keys=False, allow_unicode=True),
    }


def _dataset(record: CycleRecord) -> dict[str, Any]:
    found_splits = record.dataset.counts_by_split
    known = [split.value for split in Split if split in found_splits]
    counts = {name: found_splits[name] for name in [*known, *sorted(set(found_splits) - set(known))]}
    labels = [label for label in Label if any(label in found for found in counts.values())]
    labels += sorted({label for found in counts.values() for label in found} - set(Label))  # type: ignore[arg-type]
    return {
        "labels": [str(label) for label in labels],
        "bars": plots.split_bars({s: {label: found.get(label, 0) for label in labels} for s, found in counts.items()}),
    }


def _task(record: CycleRecord, task: Task, materials: dict[str, Material]) -> dict[str, Any]:
    """The chapter of one task."""
    experiments = views.ordered(task, record)
    colours = views.colours(experiments)
    low = views.scale_low(task, [e.metric(PRIMARY_METRIC[task]) for e in experiments])
    leader = record.experiment(record.best[task]) if task in record.best else None
    material = materials[leader.experiment_id] if leader else None
    return {
        "task": task.value,
        "title": TASK_TITLES[task],
        "rows": [views.row(e, record, colours[e.experiment_id], low) for e in experiments],
        "scale": (f"{low:.1f}", "1.0"),
        "comparison": next((c for c in record.comparisons if c.task is task), None),
        "leader": leader,
        "earlier_leader": record.best.get(task) if leader is None else None,
        "material": material,
        "sites": views.site_table(material) if material else None,
        "metrics": views.metrics_table(leader) if leader else None,
        "training": views.training_charts(task, experiments, materials),
        "roc": views.roc_view(experiments, materials) if task is Task.CLASSIFICATION else None,
        "calibration": views.calibration_view(material, colours[leader.experiment_id]) if leader and material else None,
        "vcdr": views.vcdr_view(material) if material and task is Task.SEGMENTATION else None,
        "dri": views.dri_view(experiments) if task is Task.CLASSIFICATION else None,
    }
