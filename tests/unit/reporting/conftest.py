"""A research cycle as it lies on the disk after a run: made by hand, small, with the odd things that real ones have."""

# ruff: noqa: E501  (example data reads best a line each)

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest

from glaucoma.evaluation.classification import auc_score, roc_curve
from glaucoma.evaluation.intervals import bootstrap_interval
from glaucoma.evaluation.result import Evaluation, Metric, ThresholdChoice
from glaucoma.evaluation.statistics import weighted_auc
from glaucoma.explanation.result import Explanation, OverlayEntry
from glaucoma.explanation.settings import CamMethod, ExplainedClass
from glaucoma.planning.compare import compare
from glaucoma.planning.lessons import lessons
from glaucoma.provenance import write_json
from glaucoma.records.record import CheckpointFacts, CycleRecord, DatasetFacts, ExperimentFacts, SetAside
from glaucoma.records.words import CycleStatus, Novelty, Standing
from glaucoma.schema import Split, Task
from glaucoma.training.experiment import Experiment, create_experiment
from glaucoma.training.settings import TrainSettings
from glaucoma.training.spec import ExperimentSpec, spec_from
from glaucoma.workspace import Workspace

NOW = datetime(2026, 1, 5, 8, 0, tzinfo=UTC)
KEY = "4f0c2a9be17d6635"


def share(value: float | None, n: int = 60, half: float = 0.05, reason: str | None = None) -> Metric:
    if value is None:
        return Metric(value=None, n=0, n_expected=n, reason=reason)
    return Metric(value=value, low=max(value - half, 0), high=min(value + half, 1), n=n, n_expected=n, method="Wilson")


def write_progress(experiment: Experiment, task: Task, epochs: int, rng: np.random.Generator, floor: float) -> None:
    lines = []
    for epoch in range(1, epochs + 1):
        loss = floor + 0.6 * np.exp(-epoch / 4) + rng.normal(0, 0.012)
        rise = 1 - np.exp(-epoch / 3)
        val: dict[str, Any] = {"loss": loss + 0.05 + 0.004 * epoch}
        val |= {"auc": 0.5 + 0.42 * rise} if task is Task.CLASSIFICATION else {"dice_mean": 0.8 * rise}
        lines.append(
            {
                "time": NOW.isoformat(),
                "epoch": epoch,
                "epochs": epochs,
                "step": epoch,
                "steps": epochs,
                "loss": loss,
                "val": val,
            }
        )
    experiment.progress_path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def write_classification(experiment: Experiment, rng: np.random.Generator, strength: float) -> dict[str, Metric]:
    n = 60
    labels = np.arange(n) % 5 < 2
    groups = np.array([f"p{i // 2:03d}" for i in range(n)])
    probability = 1 / (1 + np.exp(-(rng.normal(0, 1, n) + np.where(labels, strength, -strength))))
    auc = auc_score(labels, probability)
    interval = bootstrap_interval(weighted_auc(labels, probability), groups, replicates=200)
    called = probability >= 0.5
    metrics = {
        "auc": Metric(value=auc, low=interval.low, high=interval.high, n=n, n_expected=n, method=interval.method),
        "sensitivity": share(float(called[labels].mean()), int(labels.sum()), 0.12),
        "specificity": share(float((~called)[~labels].mean()), int((~labels).sum()), 0.1),
        "accuracy": share(float((called == labels).mean())),
        "brier_error": share(float(np.mean((probability - labels) ** 2))),
        "calibration_slope": share(
            None, reason="the logits separate the classes or are all alike: no finite fit exists"
        ),
    }
    folder = experiment.results / "val"
    folder.mkdir(parents=True)
    table = {
        "image_id": [f"i{i:03d}" for i in range(n)],
        "group": groups,
        "label": labels.astype(int),
        "probability": probability,
    }
    pd.DataFrame(table).to_csv(folder / "predictions.csv", index=False)
    curve = roc_curve(labels, probability)
    columns = {
        "threshold": curve.thresholds,
        "false_positive_rate": curve.false_positive_rate,
        "sensitivity": curve.sensitivity,
    }
    pd.DataFrame(columns).to_csv(folder / "roc.csv", index=False)
    order = np.array_split(np.argsort(probability), 8)
    bins = [(probability[p].mean(), labels[p].mean(), len(p)) for p in order]
    pd.DataFrame(bins, columns=["mean_probability", "glaucoma_share", "images"]).to_csv(
        folder / "calibration.csv", index=False
    )
    threshold = ThresholdChoice(value=0.5, rule="youden", sensitivity=0.9, specificity=0.9)
    notes = [
        "The threshold was chosen on these same images, so what depends on it looks a little better than on new ones."
    ]
    sites = {
        "site-a": {"auc": metrics["auc"]},
        "site-b": {
            "auc": share(None, 9, reason="insufficient: 3 glaucoma and 6 normal photographs, 10 of each needed")
        },
    }
    _write_metrics(experiment, metrics, "auc", threshold=threshold, notes=notes, subgroups=sites)
    return metrics


def write_segmentation(experiment: Experiment, rng: np.random.Generator, quality: float) -> dict[str, Metric]:
    n = 40
    disc = np.clip(rng.normal(quality, 0.02, n), 0, 1)
    cup = np.clip(rng.normal(quality - 0.08, 0.05, n), 0, 1)
    ill = np.arange(n) % 5 < 2
    true = np.clip(rng.normal(np.where(ill, 0.72, 0.42), 0.06), 0, 1)
    guess = np.clip(true + rng.normal(0.01, 0.05, n), 0, 1)
    guess[3] = np.nan
    metrics = {
        "mean_dice": share(float((disc.mean() + cup.mean()) / 2), n, 0.02),
        "disc_dice": share(float(disc.mean()), n, 0.01),
        "cup_dice": share(float(cup.mean()), n, 0.03),
        "vcdr_mae": share(0.041, n, 0.01),
        "vcdr_bias": Metric(
            value=-0.012,
            low=-0.03,
            high=0.01,
            n=n - 1,
            n_expected=n,
            reason="1 of 40 images where the model found no disc",
        ),
    }
    folder = experiment.results / "val"
    folder.mkdir(parents=True)
    table = {
        "image_id": [f"i{i:03d}" for i in range(n)], "group": [f"p{i // 2}" for i in range(n)], "site": "",
        "label": np.where(ill, "glaucoma", "normal"), "disc_dice_score": disc, "cup_dice_score": cup,
        "vcdr_true": true, "vcdr_predicted": guess,
    }  # fmt: skip
    pd.DataFrame(table).to_csv(folder / "predictions.csv", index=False)
    _write_metrics(experiment, metrics, "mean_dice")
    return metrics


def _write_metrics(experiment: Experiment, metrics: dict[str, Metric], primary: str, **more: Any) -> None:
    found = Evaluation(
        experiment_id=experiment.experiment_id, task=experiment.metadata.task, split=Split.VAL, key="k", dataset="eyes",
        prepared_key=KEY, checkpoint_sha256="0" * 64, primary=primary, metrics=metrics, **more,
    )  # fmt: skip
    write_json(experiment.results / "val" / "metrics.json", found.model_dump(mode="json"))
    experiment.set_metrics("val", found.summary())


def draw_overlay(path: Path, rng: np.random.Generator) -> None:
    """A disc on a dark field with a warm spot: enough to see whether pictures arrive."""
    y, x = np.mgrid[:256, :512]
    x = x % 256
    field = ((x - 128) ** 2 + (y - 128) ** 2 < 122**2)[..., None]
    picture = np.array([30, 70, 170]) * (1 - 0.25 * np.hypot(x - 128, y - 128)[..., None] / 128) * field
    cx, cy = rng.integers(60, 196), rng.integers(100, 156)
    spot = np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / 900)[..., None]
    picture = np.clip(picture + spot * np.array([80, 150, 120]) * field, 0, 255).astype(np.uint8)
    cv2.circle(picture, (int(cx), int(cy)), 26, (255, 255, 255), 1, cv2.LINE_AA)
    cv2.imwrite(str(path), picture)


def write_explanation(experiment: Experiment, rng: np.random.Generator, n: int, metrics: dict[str, Metric]) -> None:
    folder = experiment.visualizations / "val"
    folder.mkdir(parents=True)
    entries = []
    for i in range(n):
        draw_overlay(folder / f"i{i:03d}.png", rng)
        entries.append(
            OverlayEntry(
                file=f"i{i:03d}.png", image_id=f"i{i:03d}", title="glaucoma, called glaucoma", detail="0.41 on the disc"
            )
        )
    metadata = experiment.metadata
    found = Explanation(
        experiment_id=experiment.experiment_id, task=metadata.task, split=Split.VAL, key="k", dataset="eyes",
        prepared_key=KEY, checkpoint_sha256="0" * 64, method=CamMethod.GRAD_CAM, explained_class=ExplainedClass.PREDICTED,
        layer="bn2", map_px=(3, 3), mask_source="gt", metrics=metrics, overlays=entries, counts={"images": 24},
        notes=["Masks are the readers'; 24 of 24 images explained."],
    )  # fmt: skip
    write_json(folder / "explanation.json", found.model_dump(mode="json"))


def facts(experiment: Experiment, spec: ExperimentSpec, metrics: dict[str, Metric], **more: Any) -> ExperimentFacts:
    values: dict[str, Any] = {
        "experiment_id": experiment.experiment_id, "task": spec.task, "model": spec.model, "status": Standing.COMPLETED,
        "seed": spec.seed, "spec": spec.model_dump(mode="json"), "metrics": {"val": metrics} if metrics else {},
        "duration_s": 43.2,
        "checkpoint": CheckpointFacts(path=f"experiments/{experiment.experiment_id}/checkpoints/best.pt", sha256="ab" * 32, epoch=9),
    }  # fmt: skip
    return ExperimentFacts.model_validate(values | more)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace.at(tmp_path / "workspace")


@pytest.fixture
def cycle(workspace: Workspace) -> CycleRecord:
    return example_cycle(workspace)


def example_cycle(workspace: Workspace) -> CycleRecord:
    """Three classifiers, one of them failed, and two segmenters."""
    rng = np.random.default_rng(7)
    settings = TrainSettings.for_preset("smoke")
    experiments: list[ExperimentFacts] = []
    plans: list[tuple[Task, dict[str, Any], Novelty, str, float]] = [
        (Task.CLASSIFICATION, {}, Novelty.EXPLORE, "Nothing comparable has been tried on this dataset: the settings as given, to measure all others against.", 0.8),
        (Task.CLASSIFICATION, {"learning_rate": 0.0011, "augment": 0.82}, Novelty.EXPLOIT, "Near the best so far, cls-lcnet_050-1a2b3c4d (validation AUC 0.871): learning rate 0.003 to 0.0011, augment 0.5 to 0.82; a small random step from it.", 1.1),
        (Task.CLASSIFICATION, {"learning_rate": 0.09, "epochs": 6, "loss": "cross_entropy"}, Novelty.WILDCAT, "A wild card outside the search space, at 6 of 12 epochs: learning rate 0.003 to 0.09. It is run to see whether the space is drawn too tight.", -1.0),
        (Task.SEGMENTATION, {}, Novelty.EXPLORE, "Nothing comparable has been tried on this dataset: the settings as given, to measure all others against.", 0.90),
        (Task.SEGMENTATION, {"loss": "dice_ce", "augment": 0.2}, Novelty.EXPLORE, "The farthest of 64 points spread over the search space from all 1 tried or planned (distance 0.58 of 1). From the settings as given: loss dice focal to dice ce, augment 0.5 to 0.2.", 0.86),
    ]  # fmt: skip
    for task, changes, novelty, reason, strength in plans:
        spec = spec_from(settings, task, "eyes", KEY, **changes)
        experiment = create_experiment(spec, workspace)
        if strength < 0:
            failure = "The loss became infinite in epoch 2. Expected: a finite loss. Remedy: lower the learning rate."
            experiments.append(
                facts(
                    experiment,
                    spec,
                    {},
                    status=Standing.FAILED,
                    failure=failure,
                    novelty=novelty,
                    reason=reason,
                    checkpoint=None,
                )
            )
            continue
        write_progress(experiment, task, spec.epochs, rng, 0.2 - 0.1 * strength)
        metrics = (write_classification if task is Task.CLASSIFICATION else write_segmentation)(
            experiment, rng, strength
        )
        dri: dict[str, Any] = {}
        if task is Task.CLASSIFICATION:
            names = {
                "dri": 0.31,
                "dri_untrained": 0.03,
                "cup_share": 0.14,
                "rim_share": 0.17,
                "peripapillary_share": 0.28,
                "rest_share": 0.41,
            }
            dri = {"val": {k: share(v, 24, 0.06) for k, v in names.items()}}
            dri["val"]["lift"] = Metric(
                value=9.4, low=7.2, high=11.8, n=22, n_expected=24, reason="2 of 24 maps are empty"
            )
        write_explanation(experiment, rng, 10 if task is Task.CLASSIFICATION else 4, dri.get("val", {}))
        experiments.append(facts(experiment, spec, metrics, novelty=novelty, reason=reason, dri=dri))
    comparisons = [
        compare([e.experiment_id for e in experiments if e.task is task and e.metrics], workspace, replicates=200)
        for task in (Task.CLASSIFICATION, Task.SEGMENTATION)
    ]
    return CycleRecord(
        cycle_id="eyes-20260105-1f3e", status=CycleStatus.COMPLETED, preset="smoke", started_at=NOW, duration_s=402.0,
        dataset=DatasetFacts(
            name="eyes", dataset_key="9d1e6b2a40c7f385", prepared_key=KEY, manifest_sha256="c4" * 32, layout="images_masks",
            synthetic=True, images=318, patients=160, with_mask=318, grouping="patient", image_size_px=512,
            counts_by_split={"train": {"normal": 118, "glaucoma": 80}, "val": {"normal": 36, "glaucoma": 24}, "test": {"normal": 36, "glaucoma": 24}},
            set_aside=[SetAside(source="images/P0099_OS.jpg", reason="cannot be decoded: the file ends early")],
            warnings=["brightness: 3 images are darker than 20 of 255 (p0012_od, p0040_os, p0077_os)"],
        ),
        experiments=experiments,
        best={c.task: c.leader for c in comparisons if c.leader},
        comparisons=comparisons,
        learned=lessons(experiments, comparisons),
        next=["Classification, exploit: a small random step from the best: augment 0.82 to 0.74.", "Segmentation, explore: weight decay 0.01 to 0.06."],
        versions={"python": "3.11.9", "torch": "2.9.0", "numpy": "2.4.6", "platform": "Linux-x86_64"},
        config={"dataset": "eyes", "preset": "smoke", "experiments_per_task": 3, "seed": 0},
    )  # fmt: skip
