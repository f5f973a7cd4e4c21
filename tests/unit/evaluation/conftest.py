"""A small prepared dataset and models on it, made by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from glaucoma.datasets.manifest import manifest_columns, write_manifest
from glaucoma.schema import Task
from glaucoma.training.experiment import CheckpointRecord, Experiment, Metadata, Status, create_experiment
from glaucoma.training.spec import TrainSettings, spec_from
from glaucoma.workspace import Workspace

SIDE, KEY, PATIENTS = 64, "0123456789abcdef", 24


def make_prepared(workspace: Workspace, name: str = "eyes", *, masks: bool = True) -> Path:
    """Two eyes of each of 24 patients, a third in each split; one label is `suspect`, one disc-only mask in val."""
    rng = np.random.default_rng(0)
    folder = workspace.prepared(name) / KEY
    folder.mkdir(parents=True)
    rows, images, labels = [], [], []
    y, x = np.mgrid[:SIDE, :SIDE]
    for patient in range(PATIENTS):
        glaucoma = patient % 2 == 1
        for eye, cx in (("OD", 44), ("OS", 20)):
            cup = 0.7 if glaucoma else 0.4
            distance = np.hypot(y - 32, x - cx) / 9
            mask = np.where(distance <= cup, 2, np.where(distance <= 1, 1, 0)).astype(np.uint8)
            image = np.full((SIDE, SIDE, 3), (170, 80, 40)) + 60 * (mask[..., None] > 0) + 40 * (mask[..., None] > 1)
            images.append((image + rng.normal(0, 8, image.shape)).clip(0, 255).astype(np.uint8))
            suspect, disc_only = patient == 2 and eye == "OD", patient == 5 and eye == "OD"
            if disc_only:
                mask = np.minimum(mask, 1).astype(np.uint8)
            labels.append(mask if masks else np.zeros_like(mask))
            rows.append(
                dict.fromkeys(manifest_columns(prepared=True), "")
                | {
                    "image_id": f"p{patient:02d}_{eye.lower()}",
                    "image": f"images/p{patient:02d}_{eye.lower()}.png",
                    "mask": f"masks/p{patient:02d}_{eye.lower()}.png" if masks else "",
                    "label": "suspect" if suspect else "glaucoma" if glaucoma else "normal",
                    "patient_id": f"p{patient:02d}",
                    "eye": eye,
                    "site": f"site-{patient % 4 // 2}",
                    "split": ("train", "train", "val", "test")[patient % 8 // 2],
                    "group": f"g{patient:02d}",
                    "width": SIDE,
                    "height": SIDE,
                    "sha256": f"{len(rows):064x}",
                    "disc_state": "present" if masks else "not_visible",
                    "cup_state": ("absent" if disc_only else "present") if masks else "not_visible",
                    "age_years": "" if patient == 4 else str(40 + patient),
                }
                | dict.fromkeys(["crop_x_px", "crop_y_px"], 0.0)
                | dict.fromkeys(["crop_width_px", "crop_height_px"], 64.0)
                | dict.fromkeys(["scale_x", "scale_y"], 1.0)
            )
    write_manifest(folder / "manifest.csv", pd.DataFrame(rows))
    np.save(folder / "images.npy", np.stack(images))
    np.save(folder / "masks.npy", np.stack(labels))
    np.save(folder / "fields.npy", np.broadcast_to(np.hypot(y - 31.5, x - 31.5) < 31, (len(rows), SIDE, SIDE)).copy())
    return folder


def make_experiment(
    workspace: Workspace, task: Task, *, dataset: str = "eyes", steps: int = 25, clinical: tuple[str, ...] = ()
) -> Experiment:
    """A small network after a few steps on the training split, saved as training saves it."""
    import torch
    from torch.nn.functional import binary_cross_entropy_with_logits

    from glaucoma.models.fusion import ClinicalFusion, logits_of
    from glaucoma.schema import Split
    from glaucoma.training.build import build_model
    from glaucoma.training.checkpoints import BEST, Checkpoints
    from glaucoma.training.data import clinical_input, model_input, open_prepared

    names = {"classifier": "small_cnn", "encoder": "small_unet", "decoder_channels": (16, 16, 12, 8, 8)}
    settings = TrainSettings.for_preset("smoke", **names)
    spec = spec_from(settings, task, dataset, KEY, input_px=64, clinical=clinical)
    experiment = create_experiment(spec, workspace)
    torch.manual_seed(0)
    model = build_model(spec, pretrained=False).train()
    data = open_prepared(spec, workspace)
    rows = data.rows(task, Split.TRAIN)
    inputs, values = model_input(data.images[rows], spec), clinical_input(data.manifest, rows, spec)
    if isinstance(model, ClinicalFusion) and values is not None:
        model.set_clinical_scale(values.numpy())
    if task is Task.CLASSIFICATION:
        truth = torch.tensor((data.manifest["label"].to_numpy()[rows] == "glaucoma")[:, None]).float()
    else:
        masks = torch.from_numpy(np.stack([data.masks[rows] >= 1, data.masks[rows] == 2], axis=1))
        truth = masks.float()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(steps):
        optimizer.zero_grad()
        binary_cross_entropy_with_logits(logits_of(model, inputs, values), truth).backward()
        optimizer.step()
    saved = Checkpoints(experiment.checkpoints)
    state = {"epoch": 1, "best_epoch": 1}
    sha256 = saved.save_best(
        {"experiment_id": experiment.experiment_id, "state": state, "model": model.state_dict(), "scores": {}}
    )

    def finish(metadata: Metadata) -> None:
        metadata.status = Status.COMPLETED
        metadata.checkpoint = CheckpointRecord(path=f"checkpoints/{BEST}", sha256=sha256, epoch=1)

    experiment.update(finish)
    return experiment


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    found = Workspace.at(tmp_path_factory.mktemp("workspace"))
    make_prepared(found)
    return found


@pytest.fixture(scope="module")
def classifier(workspace: Workspace) -> Experiment:
    return make_experiment(workspace, Task.CLASSIFICATION)


@pytest.fixture(scope="module")
def fused_classifier(workspace: Workspace) -> Experiment:
    """A classifier that sees the age beside the photograph."""
    return make_experiment(workspace, Task.CLASSIFICATION, clinical=("age_years",))


@pytest.fixture(scope="module")
def segmenter(workspace: Workspace) -> Experiment:
    return make_experiment(workspace, Task.SEGMENTATION)


@pytest.fixture(scope="module")
def without_masks(tmp_path_factory: pytest.TempPathFactory) -> tuple[Workspace, Callable[[], Experiment]]:
    found = Workspace.at(tmp_path_factory.mktemp("without-masks"))
    make_prepared(found, masks=False)
    return found, lambda: make_experiment(found, Task.CLASSIFICATION, steps=1)
