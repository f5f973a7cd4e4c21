"""Explains a trained model on one split and keeps what was found.

`visualizations/<key>/` holds an explanation and never changes; `visualizations/<split>` is a link to the newest one of
that split. A classifier gets class activation maps, the share of them on the disc where readers marked one, two
controls and overlays; a segmenter gets overlays of its outlines on the readers', and its probability of the cup.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from glaucoma.errors import ArcError, DatasetError, IntegrityError, problems
from glaucoma.evaluation.files import (
    keep_by_split,
    prepared_folder,
    read_kept,
    require_checkpoint,
    resolve_device,
    write_table,
)
from glaucoma.evaluation.result import Metric
from glaucoma.explanation.maps import Explained, ImageMap, choose_rows, choose_shown
from glaucoma.explanation.result import Explanation, OverlayEntry
from glaucoma.explanation.settings import ExplainSettings
from glaucoma.explanation.summary import summarise
from glaucoma.progress import Progress, silent
from glaucoma.provenance import Built
from glaucoma.schema import Split, Task
from glaucoma.training.data import PreparedData, open_prepared
from glaucoma.training.experiment import Experiment
from glaucoma.training.spec import ExperimentSpec
from glaucoma.workspace import Workspace

EXPLANATION_NAME = "explanation.json"
DRI_NAME = "dri.csv"
_STAGE = "explain"


@dataclass(frozen=True)
class _Job:
    """What the two tasks need to explain one split."""

    experiment: Experiment
    data: PreparedData
    fields: NDArray[np.uint8]
    rows: NDArray[np.int64]
    settings: ExplainSettings
    device: str
    staging: Path
    report: Progress


@dataclass(frozen=True)
class _Found:
    """What they give back."""

    layer: str | None
    map_px: tuple[int, int] | None
    mask_source: str | None
    metrics: dict[str, Metric]
    overlays: list[OverlayEntry]
    counts: dict[str, int]
    notes: list[str]


def explain(
    experiment: Experiment,
    workspace: Workspace,
    settings: ExplainSettings,
    *,
    split: Split = Split.VAL,
    device: str = "auto",
    report: Progress = silent,
) -> Explanation:
    """Explains `experiment` on `split`; writes `visualizations/<split>/`.

    Without disc masks the maps and overlays are made all the same; the shares are None and say why. A network without a
    spatial map gets neither, and the explanation says so.

    Args:
        device: `cpu`, `cuda`, or `auto` for a GPU where there is one; no part of the key.

    Raises:
        NotFoundError: The experiment has no checkpoint yet, or its prepared dataset is gone.
        DatasetError: The split holds no image that this task can be explained on.
        SettingsError: The named target layer is unknown or has no spatial map.
        IntegrityError: The packed arrays do not fit the manifest, or a stored explanation is damaged.
        TransientError: The GPU reported an error.
    """
    checkpoint, metadata = require_checkpoint(experiment, "Nothing was explained"), experiment.metadata
    inputs = {
        "experiment": experiment.experiment_id,
        "checkpoint_sha256": checkpoint.sha256,
        "prepared": metadata.prepared_key,
        "split": str(split),
    }

    def build(staging: Path, key: str) -> tuple[Explanation, Built]:
        data = open_prepared(experiment.spec, workspace)
        rows = data.rows(metadata.task, split)
        if not len(rows):
            raise DatasetError(
                f"The {split} split of {metadata.dataset} holds no image for {metadata.task}",
                consequence="Nothing was explained",
                remedy="give the dataset a larger share for this split",
            )
        fields = read_fields(prepared_folder(experiment, workspace), data)
        job = _Job(experiment, data, fields, rows, settings, resolve_device(device), staging, report)
        found = _classification(job) if metadata.task is Task.CLASSIFICATION else _segmentation(job)
        explanation = Explanation(
            experiment_id=experiment.experiment_id,
            task=metadata.task,
            split=split,
            key=key,
            dataset=metadata.dataset,
            prepared_key=metadata.prepared_key,
            checkpoint_sha256=checkpoint.sha256,
            method=settings.method,
            explained_class=settings.explained_class,
            **vars(found),
        )
        details = {"dri": explanation.dri.value, "layer": found.layer}
        return explanation, Built(counts=found.counts, details=details)

    explanation = keep_by_split(
        stage=_STAGE,
        workspace=workspace,
        parent=experiment.visualizations,
        split=split,
        inputs=inputs,
        settings=settings,
        module=__name__,
        build=build,
        read=_read,
        name=EXPLANATION_NAME,
    )
    report(1.0, f"{experiment.experiment_id}: share of relevance on the disc {explanation.dri}")
    return explanation


def read_explanation(experiment: Experiment, split: Split = Split.VAL) -> Explanation:
    """The newest explanation of that split; `NotFoundError` where there is none."""
    return _read(experiment.visualizations / str(split))


def read_fields(folder: Path, data: PreparedData) -> NDArray[np.uint8]:
    """The fields of view (n, S, S) of a prepared dataset, from the disk as they are needed.

    Raises:
        IntegrityError: They are missing, or do not fit the images.
    """
    path = folder / "fields.npy"
    try:
        fields: NDArray[np.uint8] = np.load(path, mmap_mode="r")
    except (OSError, ValueError) as error:
        raise IntegrityError(
            f"{path} cannot be read ({problems(error)})", remedy="remove the folder and preprocess again"
        ) from error
    if fields.shape != data.images.shape[:3]:
        raise IntegrityError(
            f"{path} holds {fields.shape}", expected=str(data.images.shape[:3]), remedy="remove it and preprocess again"
        )
    return fields


def _read(folder: Path) -> Explanation:
    return read_kept(Explanation, folder / EXPLANATION_NAME, "explanation", "explain")


def _classification(job: _Job) -> _Found:
    """Maps, `dri.csv` and overlays of a classifier."""
    from glaucoma.explanation.cam import NoSpatialMapError, find_layer
    from glaucoma.explanation.controls import untrained
    from glaucoma.explanation.pictures import draw_classification
    from glaucoma.training.data import clinical_input, model_input
    from glaucoma.training.predict import load_model

    settings, name = job.settings, job.experiment.experiment_id
    model, spec = load_model(job.experiment, job.device)
    probe = model_input(job.data.images[job.rows[:1]], spec).to(job.device)
    clinical = clinical_input(job.data.manifest, job.rows[:1], spec)
    try:
        layer_name, layer = find_layer(
            model, settings.target_layer, probe, None if clinical is None else clinical.to(job.device)
        )
    except NoSpatialMapError as error:
        return _unexplained(job, error)
    control = None
    if settings.controls:
        fresh = untrained(spec, settings.seed, scaled_as=model).to(job.device)
        control = (fresh, dict(fresh.named_modules())[layer_name])
    explained = Explained(model, layer, spec, job.data, job.fields, settings, job.device, control)
    chosen = choose_rows(job.data, job.rows, settings.max_images, settings.seed)
    maps: list[ImageMap] = []
    for found in explained.maps(chosen):
        maps.append(found)
        job.report(0.8 * len(maps) / len(chosen), f"{name}: {len(maps)} of {len(chosen)} maps")
    shown = choose_shown(maps, settings.overlays)
    overlays = [draw_classification(explained, one, place, job.staging) for place, one in enumerate(shown, 1)]
    write_table(job.staging / DRI_NAME, [one.row for one in maps])
    with_disc = sum(one.relevance is not None for one in maps)
    return _Found(
        layer=layer_name,
        map_px=(maps[0].heat.shape[0], maps[0].heat.shape[1]),
        mask_source="gt" if with_disc else None,
        metrics=summarise([one.row for one in maps], settings),
        overlays=overlays,
        counts={
            "images": len(job.rows),
            "explained": len(maps),
            "with_disc": with_disc,
            "undefined": sum(one.relevance is not None and one.relevance.reason is not None for one in maps),
            "overlays": len(overlays),
        },
        notes=_notes(len(job.rows), len(maps), with_disc, spec),
    )


def _unexplained(job: _Job, why: ArcError) -> _Found:
    """What is said of a network that no map can be made of."""
    none = Metric(value=None, n=0, n_expected=len(job.rows), reason=why.found)
    counts = {"images": len(job.rows), "explained": 0, "overlays": 0}
    return _Found(None, None, None, {"dri": none}, [], counts, [str(why)])


def _notes(images: int, explained: int, with_disc: int, spec: ExperimentSpec) -> list[str]:
    notes = [
        "Called glaucoma means a probability above 0.5, where the evidence that a map shows changes its sign; the "
        "evaluation's threshold may be another."
    ]
    if spec.clinical:
        notes.append(
            f"The network also sees {', '.join(spec.clinical)}: what they say is part of each logit and of no map."
        )
    if explained < images:
        notes.append(f"{explained} of {images} images were explained (max_images), each label by its share.")
    if not with_disc:
        notes.append("The dataset has no disc masks for these images, so no share on the disc could be measured.")
    elif with_disc < explained:
        notes.append(f"{explained - with_disc} of {explained} images have no disc mask.")
    return notes


def _segmentation(job: _Job) -> _Found:
    """Overlays of a segmenter: its outlines on the readers', and its probability of the cup."""
    import torch
    from torch.nn.functional import interpolate

    from glaucoma.explanation.pictures import Segmented, draw_segmentation
    from glaucoma.training.data import model_input
    from glaucoma.training.predict import load_model

    settings, data, name = job.settings, job.data, job.experiment.experiment_id
    chosen = choose_rows(data, job.rows, settings.overlays, settings.seed)
    overlays: list[OverlayEntry] = []
    model, spec = load_model(job.experiment, job.device)
    for place, index in enumerate(chosen.tolist(), 1):
        image = np.asarray(data.images[index])
        with torch.inference_mode():
            logits = model(model_input(image[None], spec).to(job.device)).float()
            full = interpolate(logits, size=image.shape[:2], mode="bilinear", align_corners=False)
        entry = {str(column): value for column, value in data.manifest.iloc[index].items()}
        probability = torch.sigmoid(full)[0].cpu().numpy()
        one = Segmented(entry, image, np.asarray(data.masks[index]), job.fields[index] > 0, probability)
        overlays.append(draw_segmentation(one, place, job.staging, settings))
        job.report(place / len(chosen), f"{name}: {place} of {len(chosen)} overlays")
    reason = "a segmentation model marks the disc itself: its Dice says where it looks"
    none = Metric(value=None, n=0, n_expected=len(job.rows), reason=reason)
    counts = {"images": len(job.rows), "explained": 0, "overlays": len(overlays)}
    return _Found(None, None, None, {"dri": none}, overlays, counts, [])
