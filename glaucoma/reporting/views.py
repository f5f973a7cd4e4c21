"""The report's parts, made from the record and the experiments' files: dictionaries that the template lays out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from glaucoma.evaluation.result import Metric
from glaucoma.records.record import CycleRecord, ExperimentFacts
from glaucoma.records.words import PRIMARY_METRIC, Standing
from glaucoma.reporting import plots
from glaucoma.reporting.material import Material
from glaucoma.reporting.plots import Curve
from glaucoma.reporting.words import NAMES, count_text, duration_text, interval_text, metric_name, number_text
from glaucoma.schema import Split, Task
from glaucoma.training.loss_settings import LossOptions

Materials = Mapping[str, Material]
COLOURS = 8
_SECOND = {
    Task.CLASSIFICATION: ("sensitivity", "specificity"),
    Task.SEGMENTATION: ("disc_dice", "cup_dice"),
}
_SHOWN_SETTINGS = ("input_px", "epochs", "batch_size", "learning_rate", "weight_decay", "loss", "augment", "pretrained",
                   "clinical", "seed")  # fmt: skip
_LOSS_DEFAULTS = LossOptions().model_dump(mode="json")
REGIONS = ("cup", "rim", "peripapillary", "rest")
DRI_NAMES = {
    "dri": ("On the disc", "share of the relevance on the optic disc: the Disc Relevance Index"),
    "dri_of_glaucoma": ("… in glaucoma", ""),
    "dri_of_normal": ("… in normal eyes", ""),
    "dri_untrained": ("… by an untrained network", "a control: the same kind of network, having learned nothing"),
    "dri_grad_cam_pp": ("… by Grad-CAM++", "the same by another kind of map"),
    "dri_grad_cam": ("… by Grad-CAM", "the same by another kind of map"),
    "lift": ("Lift", "times what chance would put on the disc; 1 is chance"),
    "dri_of_ceiling": ("Share of the ceiling", "of the most that the map's resolution allows on the disc"),
    "pointing_hit": ("Pointing game", "share of images whose hottest point lies on the disc"),
    "evidence_lost_disc": ("Evidence lost without the disc", "fall of the logit when the disc is hidden"),
    "evidence_lost_elsewhere": ("Evidence lost without another place", "a control: a place of the disc's size"),
}
"""What the report shows of an explanation; the rest stands in explanation.json."""


def metric_view(key: str, metric: Metric) -> dict[str, Any]:
    """A row of a metrics table."""
    name = metric_name(key)
    return {
        "key": key,
        "name": name.name,
        "meaning": name.meaning,
        "value": number_text(metric.value),
        "interval": interval_text(metric),
        "count": count_text(metric),
        "reason": metric.reason or "",
        "undefined": metric.value is None,
    }


def ordered(task: Task, record: CycleRecord) -> list[ExperimentFacts]:
    """A task's experiments, best first as the comparison has them, those without a score last."""
    mine = [e for e in record.experiments if e.task is task]
    primary = PRIMARY_METRIC[task]
    places = {r.experiment_id: i for c in record.comparisons if c.task is task for i, r in enumerate(c.ranking)}

    def place(experiment: ExperimentFacts) -> tuple[bool, int, float]:
        score = experiment.metric(primary)
        missing = score is None or score.value is None
        value = 0.0 if score is None or score.value is None else -score.value
        return missing, places.get(experiment.experiment_id, len(places)), value

    return sorted(mine, key=place)


def colours(experiments: Sequence[ExperimentFacts]) -> dict[str, str]:
    """A colour class an experiment, the best ones first; grey for those beyond the palette."""
    return {e.experiment_id: f"c{i}" if i < COLOURS else "many" for i, e in enumerate(experiments)}


def card(record: CycleRecord, task: Task) -> dict[str, Any]:
    """The headline of a task: its best score, or why there is none."""
    key = PRIMARY_METRIC[task]
    name = record.best.get(task)
    best = record.experiment(name) if name else None
    found = best.metric(key) if best else _ranked_score(record, task, name)
    title = {Task.CLASSIFICATION: "Glaucoma classification", Task.SEGMENTATION: "Disc and cup segmentation"}[task]
    if found is None or name is None:
        return {"title": title, "label": metric_name(key).name, "value": "–", "reason": "no experiment was completed"}
    low = scale_low(task, [found])
    return {
        "title": title,
        "label": metric_name(key).name,
        "value": number_text(found.value),
        "interval": interval_text(found),
        "count": count_text(found),
        "reason": found.reason or "" if found.value is None or found.low is None else "",
        "bar": plots.interval_bar(found, low=low),
        "scale": (number_text(low, 1), "1.0"),
        "who": name,
        "earlier": best is None,
    }


def scale_low(task: Task, scores: Sequence[Metric | None]) -> float:
    """Where the scale of interval bars begins: at chance for AUCs none of which reaches below it, else at 0."""
    lows = [s.value if s.low is None else s.low for s in scores if s is not None and s.value is not None]
    return 0.5 if task is Task.CLASSIFICATION and all(low is not None and low >= 0.5 for low in lows) else 0.0


def _ranked_score(record: CycleRecord, task: Task, name: str | None) -> Metric | None:
    """The score of the best one where it comes from an earlier cycle."""
    found = [r.score for c in record.comparisons if c.task is task for r in c.ranking if r.experiment_id == name]
    return found[0] if found else None


def row(experiment: ExperimentFacts, record: CycleRecord, colour: str, low: float = 0.0) -> dict[str, Any]:
    """A row of the table of experiments."""
    primary = experiment.metric(PRIMARY_METRIC[experiment.task])
    lift = experiment.dri.get(Split.VAL, {}).get("lift")
    ranks = {r.experiment_id: r.rank for c in record.comparisons for r in c.ranking}
    seconds = [(metric_name(key).name, experiment.metric(key)) for key in _SECOND[experiment.task]]
    return {
        "id": experiment.experiment_id,
        "model": experiment.model,
        "colour": colour,
        "rank": ranks.get(experiment.experiment_id),
        "best": record.best.get(experiment.task) == experiment.experiment_id,
        "novelty": experiment.novelty,
        "status": experiment.status,
        "score": number_text(primary.value) if primary else "–",
        "interval": interval_text(primary) if primary else "",
        "undefined": primary.reason if primary and primary.value is None else "",
        "bar": plots.interval_bar(primary, low=low) if primary and primary.value is not None else "",
        "seconds": [(name, number_text(found.value) if found else "–") for name, found in seconds],
        "lift": number_text(lift.value, 1) if lift else "–",
        "duration": duration_text(experiment.duration_s),
        "reason": experiment.reason,
        "failure": experiment.failure,
        "settings": [*settings_of(experiment.spec)],
    }


def settings_of(spec: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The settings that tell experiments apart; clinical values and options of the loss only where there are any."""
    for name in _SHOWN_SETTINGS:
        if spec.get(name) not in (None, [], ()):
            yield name.replace("_", " "), _setting(spec[name])
    for name, value in (spec.get("loss_options") or {}).items():
        if value != _LOSS_DEFAULTS.get(name):
            yield f"loss: {name.replace('_', ' ')}", _setting(value)


def _setting(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(_setting(one) for one in value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.3g}" if isinstance(value, float) else str(value).replace("_", " ")


def metrics_table(experiment: ExperimentFacts) -> dict[str, Any]:
    """All metrics of an experiment, a column a split."""
    splits = [split for split in (Split.VAL, Split.TEST) if split in experiment.metrics]
    there = {key for split in splits for key in experiment.metrics[split]}
    keys = [key for key in NAMES if key in there] + sorted(there - set(NAMES))
    rows = []
    for key in keys:
        name = metric_name(key)
        cells = [experiment.metrics[split].get(key) for split in splits]
        rows.append(
            {
                "name": name.name,
                "meaning": name.meaning,
                "cells": [metric_view(key, cell) if cell else None for cell in cells],
            }
        )
    return {"splits": [str(split) for split in splits], "rows": rows}


def site_table(material: Material) -> dict[str, Any] | None:
    """A row a site, a column a metric; one reason in place of a row that is undefined throughout."""
    if material.evaluation is None or not material.evaluation.subgroups:
        return None
    sites = material.evaluation.subgroups
    keys = list(dict.fromkeys(key for values in sites.values() for key in values))
    rows = []
    for site, values in sites.items():
        reasons = {metric.reason for metric in values.values()}
        nothing = all(metric.value is None for metric in values.values()) and len(reasons) == 1
        cells = [metric_view(key, values[key]) if key in values else None for key in keys]
        rows.append((site, cells, reasons.pop() if nothing else ""))
    return {"names": [metric_name(key).name for key in keys], "rows": rows}


def training_charts(task: Task, experiments: Sequence[ExperimentFacts], materials: Materials) -> dict[str, Any]:
    """Loss and score by epoch, and the names that belong to the lines."""
    chosen = colours(experiments)
    traced = [e for e in experiments if e.experiment_id in materials and materials[e.experiment_id].epochs.size]

    def curves(what: str) -> list[Curve]:
        return [
            Curve(e.experiment_id, chosen[e.experiment_id], materials[e.experiment_id].epochs, values)
            for e in traced
            if np.isfinite(values := getattr(materials[e.experiment_id], what)).any()
        ]

    score = "AUC" if task is Task.CLASSIFICATION else "Mean Dice"
    charts = [("losses", "Training loss", False), ("val_losses", "Validation loss", False)]
    found = [(title, plots.training_chart(c, title)) for what, title, _ in charts if (c := curves(what))]
    if scores := curves("val_scores"):
        found.append((f"Validation {score}", plots.training_chart(scores, f"Validation {score}", unit_scale=True)))
    return {"charts": found, "legend": [(chosen[e.experiment_id], e.experiment_id) for e in traced]}


def roc_view(experiments: Sequence[ExperimentFacts], materials: Materials) -> dict[str, Any] | None:
    """The ROC curves of the classifiers that have one; the first one with its band and its operating point."""
    chosen = colours(experiments)
    curves, legend, first = [], [], None
    for e in experiments:
        material = materials.get(e.experiment_id)
        auc = e.metric("auc")
        if material is None or material.roc is None or auc is None or auc.value is None:
            continue
        first = first or e
        x, y = (material.roc[name].to_numpy(dtype=float) for name in ("false_positive_rate", "sensitivity"))
        curves.append(Curve(e.experiment_id, chosen[e.experiment_id], x, y))
        legend.append(
            (chosen[e.experiment_id], e.experiment_id, number_text(auc.value), interval_text(auc), count_text(auc))
        )
    if first is None:
        return None
    table = materials[first.experiment_id].predictions
    band = None
    if table is not None:
        known = table[table["probability"].notna() & table["label"].isin([0, 1])]
        band = plots.roc_band(
            known["label"].to_numpy(dtype=float), known["probability"].to_numpy(dtype=float), known["group"].to_numpy()
        )
    found = [first.metric(name) for name in ("specificity", "sensitivity")]
    values = [metric.value for metric in found if metric is not None and metric.value is not None]
    point = (1 - values[0], values[1]) if len(values) == 2 else None
    return {"chart": plots.roc_chart(curves, band=band, point=point), "legend": legend, "band": band is not None}


def calibration_view(material: Material, colour: str) -> Any:
    """The calibration chart; None without its table."""
    table = material.calibration
    if table is None or table.empty:
        return None
    predicted, observed, images = (
        table[name].to_numpy(dtype=float) for name in ("mean_probability", "glaucoma_share", "images")
    )
    return plots.calibration_chart(predicted, observed, images, colour)


def vcdr_view(material: Material) -> dict[str, Any] | None:
    """Model against reader, and how many images the chart cannot show."""
    table = material.predictions
    if table is None or "vcdr_true" not in table:
        return None
    known = table[table["vcdr_true"].notna() & table["vcdr_predicted"].notna()]
    if known.empty:
        return None
    ill = (known["label"] == "glaucoma").to_numpy()
    chart = plots.vcdr_chart(known["vcdr_true"].to_numpy(float), known["vcdr_predicted"].to_numpy(float), ill)
    return {"chart": chart, "missing": int(table["vcdr_true"].notna().sum()) - len(known)}


def dri_view(experiments: Sequence[ExperimentFacts]) -> dict[str, Any] | None:
    """Where each classifier looks, a column an experiment, or why nobody knows; None without explanations."""
    found = [(e.experiment_id, e.dri[Split.VAL]) for e in experiments if e.dri.get(Split.VAL)]
    if not found:
        return None
    measured = [
        (name, values) for name, values in found if (m := values.get("dri")) is not None and m.value is not None
    ]
    if not measured:
        reasons = {m.reason for _, values in found if (m := values.get("dri")) is not None and m.reason}
        return {"reason": "; ".join(sorted(reasons)) or "no map could be measured"}
    keys = [key for key in DRI_NAMES if any(key in values for _, values in measured)]
    rows = [
        {
            "name": DRI_NAMES[key][0],
            "meaning": DRI_NAMES[key][1],
            "cells": [metric_view(key, values[key]) if key in values else None for _, values in measured],
        }
        for key in keys
    ]
    chosen = colours(experiments)
    return {
        "reason": "",
        "rows": rows,
        "columns": [(chosen[name], name) for name, _ in measured],
        "bars": [(name, plots.share_bars({name: parts})) for name, values in measured if (parts := _shares(values))],
        "regions": REGIONS,
    }


def _shares(values: Mapping[str, Metric]) -> dict[str, float]:
    """The four shares of the relevance; empty where one is missing."""
    found = {region: values.get(f"{region}_share") for region in REGIONS}
    known = {
        region: metric.value for region, metric in found.items() if metric is not None and metric.value is not None
    }
    return known if len(known) == len(REGIONS) else {}


def counts_line(record: CycleRecord) -> list[tuple[str, int]]:
    """How many experiments ended how."""
    statuses = [e.status for e in record.experiments]
    return [(str(status), statuses.count(status)) for status in Standing if statuses.count(status)]
