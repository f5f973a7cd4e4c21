"""Measures a trained model on one split and keeps what was measured.

`results/<key>/` holds an evaluation and never changes; `results/<split>` is a link to the newest one of that split. The
key covers the checkpoint, the prepared data, the split, the settings and this code, so a new checkpoint or a new rule
makes a new folder, and the same question is answered from the one that is there. The threshold always comes from the
evaluation of the validation split, which is made first where it is missing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from glaucoma.errors import DatasetError, IntegrityError
from glaucoma.evaluation import measure_classifier, measure_segmenter
from glaucoma.evaluation.classification import Calibration, roc_curve
from glaucoma.evaluation.files import (
    CALIBRATION_NAME,
    METRICS_NAME,
    PREDICTIONS_NAME,
    ROC_NAME,
    keep_by_split,
    read_metrics,
    require_checkpoint,
    resolve_device,
    split_of_manifest,
    write_table,
)
from glaucoma.evaluation.measure_classifier import Scored
from glaucoma.evaluation.result import Evaluation, Metric, ThresholdChoice
from glaucoma.evaluation.settings import EvaluateSettings
from glaucoma.evaluation.thresholds import choose_threshold
from glaucoma.progress import Progress, silent
from glaucoma.provenance import Built
from glaucoma.schema import Column, Label, Split, Task
from glaucoma.training.experiment import Experiment
from glaucoma.workspace import Workspace

_STAGE = "evaluate"


@dataclass(frozen=True)
class _Job:
    """What the two tasks need to measure one split."""

    experiment: Experiment
    workspace: Workspace
    settings: EvaluateSettings
    split: Split
    manifest: pd.DataFrame
    threshold: ThresholdChoice | None
    device: str
    staging: Path
    report: Progress


@dataclass(frozen=True)
class _Measured:
    """What they give back."""

    primary: str
    metrics: dict[str, Metric]
    counts: dict[str, int]
    notes: list[str]
    threshold: ThresholdChoice | None = None
    subgroups: dict[str, dict[str, Metric]] | None = None


def evaluate(
    experiment: Experiment,
    workspace: Workspace,
    settings: EvaluateSettings,
    *,
    split: Split = Split.VAL,
    device: str = "auto",
    report: Progress = silent,
) -> Evaluation:
    """Measures `experiment` on `split`; writes `results/<split>/` and the metrics in its metadata.

    Args:
        device: `cpu`, `cuda`, or `auto` for a GPU where there is one; no part of the key.

    Raises:
        NotFoundError: The experiment has no checkpoint yet, or its prepared dataset is gone.
        DatasetError: The split holds no image that this task can be measured on.
        IntegrityError: The predictions do not fit the manifest, or a stored result is damaged.
        TransientError: The GPU reported an error.
    """
    checkpoint = require_checkpoint(experiment, "Nothing was evaluated")
    metadata = experiment.metadata
    threshold = None
    if metadata.task is Task.CLASSIFICATION and split is not Split.VAL:
        threshold = evaluate(experiment, workspace, settings, device=device, report=_first_half(report)).threshold
    inputs = {
        "experiment": experiment.experiment_id,
        "checkpoint_sha256": checkpoint.sha256,
        "prepared": metadata.prepared_key,
        "split": str(split),
        "threshold": "" if threshold is None else threshold.model_dump_json(),
    }

    def build(staging: Path, key: str) -> tuple[Evaluation, Built]:
        manifest = split_of_manifest(experiment, workspace, split)
        job = _Job(experiment, workspace, settings, split, manifest, threshold, resolve_device(device), staging, report)
        measured = _classification(job) if metadata.task is Task.CLASSIFICATION else _segmentation(job)
        found = Evaluation(
            experiment_id=experiment.experiment_id,
            task=metadata.task,
            split=split,
            key=key,
            dataset=metadata.dataset,
            prepared_key=metadata.prepared_key,
            checkpoint_sha256=checkpoint.sha256,
            primary=measured.primary,
            metrics=measured.metrics,
            threshold=measured.threshold,
            subgroups=measured.subgroups or {},
            counts=measured.counts,
            notes=measured.notes,
        )
        details = {"primary": found.primary, "value": found.primary_metric.value}
        return found, Built(counts=measured.counts, details=details)

    evaluation = keep_by_split(
        stage=_STAGE,
        workspace=workspace,
        parent=experiment.results,
        split=split,
        inputs=inputs,
        settings=settings,
        module=__name__,
        build=build,
        read=read_metrics,
        name=METRICS_NAME,
    )
    experiment.set_metrics(str(split), evaluation.summary())
    report(1.0, f"{experiment.experiment_id}: {evaluation.primary} on {split} {evaluation.primary_metric}")
    return evaluation


def _first_half(report: Progress) -> Progress:
    return lambda done, line: report(done / 2, line)


def _classification(job: _Job) -> _Measured:
    """Predicts, measures, and writes `predictions.csv`, `roc.csv` and `calibration.csv`."""
    from glaucoma.training.predict import predict_classification

    name, settings = job.experiment.experiment_id, job.settings
    job.report(0.5, f"{name}: predicting the {job.split} split")
    predicted = predict_classification(job.experiment, job.workspace, job.split, device=job.device)
    frame = join_predictions(predicted, job.manifest)
    scored = Scored.from_frame(frame)
    if not scored.labels.size:
        raise DatasetError(
            f"The {job.split} split holds no image labelled normal or glaucoma that has a finite prediction",
            consequence="Nothing was evaluated",
            remedy="give the dataset labels, or evaluate a segmentation model on it",
        )
    chosen = job.threshold or choose_threshold(
        scored.labels, scored.probabilities, settings.threshold_rule, settings.threshold_target
    )
    job.report(0.8, f"{name}: {settings.replicates} bootstrap replicates")
    metrics, fit = measure_classifier.measure_classifier(scored, chosen, settings)
    _write_classification(job.staging, frame, scored, chosen, fit)
    counts = {
        "images": len(job.manifest),
        "evaluated": int(scored.labels.size),
        "glaucoma": int((scored.labels == 1).sum()),
        "normal": int((scored.labels == 0).sum()),
        "groups": int(np.unique(scored.groups).size),
        "left_out": len(job.manifest) - len(frame),
    }
    return _Measured(
        primary=measure_classifier.PRIMARY,
        metrics=metrics,
        counts=counts,
        notes=_classification_notes(job.split, counts, chosen),
        threshold=chosen,
        subgroups=measure_classifier.by_site(frame, chosen, settings),
    )


def _classification_notes(split: Split, counts: Mapping[str, int], chosen: ThresholdChoice) -> list[str]:
    notes = []
    if split is Split.VAL and chosen.value is not None:
        notes.append(
            "The threshold was chosen on these same images, so what depends on it (sensitivity, specificity, accuracy, "
            "precision, F1) looks a little better here than on new ones."
        )
    if not chosen.reached and chosen.reason:
        notes.append(f"The threshold's target was not reached: {chosen.reason}.")
    if counts["left_out"]:
        notes.append(
            f"{counts['left_out']} of {counts['images']} images, labelled neither normal nor glaucoma, left out."
        )
    return notes


def _write_classification(
    staging: Path, frame: pd.DataFrame, scored: Scored, chosen: ThresholdChoice, fit: Calibration
) -> None:
    rows = frame.to_dict("records")
    for row in rows:
        row["label_name"] = str(Label.GLAUCOMA if row["label"] else Label.NORMAL)
        row["predicted"] = None if chosen.value is None else int(row["probability"] >= chosen.value)
    write_table(staging / PREDICTIONS_NAME, [{str(name): value for name, value in row.items()} for row in rows])
    curve = roc_curve(scored.labels, scored.probabilities)
    points = zip(curve.thresholds.tolist(), curve.false_positive_rate.tolist(), curve.sensitivity.tolist(), strict=True)
    write_table(
        staging / ROC_NAME, [{"threshold": t, "false_positive_rate": f, "sensitivity": s} for t, f, s in points]
    )
    bins = [{"mean_probability": mean, "glaucoma_share": rate, "images": n} for mean, rate, n in fit.bins]
    write_table(staging / CALIBRATION_NAME, bins)


def _segmentation(job: _Job) -> _Measured:
    """Predicts image by image, scores each, and writes `predictions.csv`."""
    from glaucoma.training.predict import predict_segmentation

    name = job.experiment.experiment_id
    rows = {str(row["image_id"]): row for row in job.manifest.to_dict("records")}
    expected = int((job.manifest[str(Column.MASK)] != "").sum())
    scores: list[dict[str, Any]] = []
    for prediction in predict_segmentation(job.experiment, job.workspace, job.split, device=job.device):
        row = rows.get(prediction.image_id)
        if row is None:
            raise IntegrityError(f"A prediction for {prediction.image_id}, which is not in the {job.split} split")
        found = measure_segmenter.score_image(
            prediction.probability,
            prediction.truth,
            {str(column): value for column, value in row.items()},
            job.settings.mask_threshold,
        )
        scores.append(found)
        job.report(0.8 * min(len(scores) / max(expected, 1), 1.0), f"{name}: {len(scores)} of {expected} masks")
    if not scores:
        raise DatasetError(
            f"The {job.split} split holds no image with a mask",
            consequence="Nothing was evaluated",
            remedy="use a dataset with disc and cup masks, or evaluate a classification model on it",
        )
    frame = pd.DataFrame(scores)
    job.report(0.8, f"{name}: {job.settings.replicates} bootstrap replicates")
    metrics = measure_segmenter.measure_segmenter(frame, max(expected, len(frame)), job.settings)
    write_table(job.staging / PREDICTIONS_NAME, scores)
    left_out = len(job.manifest) - len(frame)
    outcomes = {
        f"{structure}_{outcome}": int(n)
        for structure in measure_segmenter.STRUCTURES
        for outcome, n in frame[f"{structure}_outcome"].replace("", "not_stated").value_counts().items()
    }
    counts = {
        "images": len(job.manifest),
        "evaluated": len(frame),
        "groups": int(frame["group"].nunique()),
        "left_out": left_out,
        **outcomes,
    }
    notes = [f"{left_out} of {len(job.manifest)} images, without a mask, left out."] if left_out else []
    return _Measured(measure_segmenter.PRIMARY, metrics, counts, notes)


def join_predictions(predicted: pd.DataFrame, manifest: pd.DataFrame) -> pd.DataFrame:
    """Each prediction with its image's group, patient, eye and site.

    Raises:
        IntegrityError: An image has two predictions, is not in the split, or has another label in the manifest.
    """
    known = manifest[["image_id", "group", "patient_id", "eye", "site", "label"]]
    frame = predicted.merge(known.rename(columns={"label": "manifest_label"}), on="image_id", how="left")
    unknown = frame["group"].isna() | frame["image_id"].duplicated(keep=False)
    numbers = frame["manifest_label"].map({str(Label.NORMAL): 0, str(Label.GLAUCOMA): 1})
    wrong = unknown | (numbers != frame["label"])
    if wrong.any():
        raise IntegrityError(
            f"Predictions do not fit the manifest: {', '.join(frame.loc[wrong, 'image_id'].astype(str).head(10))}",
            expected="one prediction per image of the split, with the manifest's label",
            consequence="Nothing was evaluated",
        )
    names = ["image_id", "group", "patient_id", "eye", "site", "label", "logit", "probability"]
    return frame[names].reset_index(drop=True)
