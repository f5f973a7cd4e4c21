"""A prepared dataset as arrays for training: read once, resized once, kept as 8-bit in memory."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from glaucoma.datasets.manifest import read_manifest
from glaucoma.errors import DatasetError, IntegrityError
from glaucoma.schema import Column, Label, Split, StructureState, Task
from glaucoma.training.spec import ExperimentSpec
from glaucoma.workspace import Workspace

if TYPE_CHECKING:
    import pandas as pd
    import torch

Bytes = np.ndarray[Any, np.dtype[np.uint8]]
Floats = np.ndarray[Any, np.dtype[np.float32]]

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Arrays:
    """The images of one split at the network's input size, in the order of the manifest.

    Args:
        images: (n, px, px, 3) uint8 RGB.
        masks: Segmentation: (n, px, px) uint8 of `MaskValue`; else None.
        labels: Classification: (n,) uint8, 1 is glaucoma; else None.
    """

    image_ids: list[str]
    images: Bytes
    masks: Bytes | None
    labels: Bytes | None

    def __len__(self) -> int:
        return len(self.image_ids)


@dataclass(frozen=True)
class PreparedData:
    """A prepared dataset: its manifest, and its packed arrays, read from the disk as they are needed."""

    manifest: pd.DataFrame
    images: Bytes
    masks: Bytes

    def rows(self, task: Task, split: Split) -> Any:
        """Indices (int64) of the rows of `split` that `task` can use."""
        here = self.manifest[Column.SPLIT] == str(split)
        return np.flatnonzero((here & self._usable(task)).to_numpy())

    def left_out(self, task: Task) -> dict[str, int]:
        """How many images of train and val `task` cannot use, by reason."""
        searched = self.manifest[self.manifest[Column.SPLIT].isin([str(Split.TRAIN), str(Split.VAL)])]
        unusable = searched[~self._usable(task).loc[searched.index]]
        if task is Task.CLASSIFICATION:
            reasons = "label " + unusable[Column.LABEL]
        else:
            reasons = "disc " + unusable[Column.DISC_STATE] + ", cup " + unusable[Column.CUP_STATE]
        return {str(reason): int(count) for reason, count in reasons.value_counts().sort_index().items()}

    def _usable(self, task: Task) -> pd.Series[bool]:
        if task is Task.CLASSIFICATION:
            return self.manifest[Column.LABEL].isin([str(Label.NORMAL), str(Label.GLAUCOMA)])
        present = str(StructureState.PRESENT)
        has_mask = self.manifest[Column.MASK] != ""
        return has_mask & (self.manifest[Column.DISC_STATE] == present) & (self.manifest[Column.CUP_STATE] == present)


def prepared_folder(spec: ExperimentSpec, workspace: Workspace) -> Path:
    """Where the spec's prepared dataset lies; `NotFoundError` names those that are there."""
    return workspace.find(workspace.prepared(spec.dataset), spec.prepared_key, f"prepared dataset {spec.dataset}")


def open_prepared(spec: ExperimentSpec, workspace: Workspace) -> PreparedData:
    """Opens manifest and packed arrays (memory-mapped).

    Raises:
        NotFoundError: No such prepared dataset.
        IntegrityError: The arrays do not belong to the manifest.
    """
    folder = prepared_folder(spec, workspace)
    manifest = read_manifest(folder / "manifest.csv")
    try:
        images = np.load(folder / "images.npy", mmap_mode="r")
        masks = np.load(folder / "masks.npy", mmap_mode="r")
    except (OSError, ValueError) as error:
        raise IntegrityError(
            f"The packed arrays in {folder} cannot be read ({error})", remedy="remove the folder and preprocess again"
        ) from error
    n = len(manifest)
    side = images.shape[1] if images.ndim == 4 else -1
    if images.shape != (n, side, side, 3) or masks.shape != (n, side, side) or images.dtype != np.uint8:
        raise IntegrityError(
            f"{folder} holds images {images.shape} {images.dtype} and masks {masks.shape} for {n} rows of the manifest",
            expected=f"uint8 ({n}, S, S, 3) and ({n}, S, S)",
            remedy="remove the folder and preprocess again",
        )
    return PreparedData(manifest, images, masks)


def load_arrays(data: PreparedData, spec: ExperimentSpec, split: Split, threads: int = 1) -> Arrays:
    """The usable images of `split`, resized to the spec's input side (area; masks nearest)."""
    rows = data.rows(spec.task, split)
    segmentation = spec.task is Task.SEGMENTATION
    labels = (data.manifest[Column.LABEL].to_numpy()[rows] == str(Label.GLAUCOMA)).astype(np.uint8)
    return Arrays(
        image_ids=[str(value) for value in data.manifest[Column.IMAGE_ID].to_numpy()[rows]],
        images=_resized(data.images, rows, spec.input_px, nearest=False, threads=threads),
        masks=_resized(data.masks, rows, spec.input_px, nearest=True, threads=threads) if segmentation else None,
        labels=None if segmentation else labels,
    )


def clinical_values(manifest: pd.DataFrame, rows: Any, spec: ExperimentSpec) -> Floats:
    """(n, k) float32 of the manifest's `rows`, a column for each of `spec.clinical`; NaN where it states nothing."""
    import pandas as pd

    chosen = manifest.iloc[rows]
    columns = [pd.to_numeric(chosen[str(name)].replace("", None)).to_numpy(np.float32) for name in spec.clinical]
    return np.stack(columns, axis=1) if columns else np.empty((len(chosen), 0), np.float32)


def require_trainable(train: Arrays, val: Arrays, spec: ExperimentSpec, left_out: dict[str, int]) -> None:
    """`DatasetError` unless there is something to learn from and something to choose by."""
    counts = f"{len(train)} for training and {len(val)} for validation (left out: {left_out or 'none'})"
    if spec.task is Task.SEGMENTATION:
        if len(train) < 2 or len(val) < 1:
            raise DatasetError(
                f"The dataset {spec.dataset} has too few images with disc and cup masks: {counts}",
                expected="at least 2 and 1",
                consequence="A segmenter cannot be trained on it",
                remedy="train a classifier, or take a dataset with masks of disc and cup",
            )
        return
    positive = 0 if train.labels is None else int(train.labels.sum())
    if len(val) < 1 or positive == 0 or positive == len(train):
        raise DatasetError(
            f"The dataset {spec.dataset} has {counts}; of those for training {positive} show glaucoma",
            expected="normal and glaucoma photographs for training, and at least one for validation",
            consequence="A classifier cannot be trained on it",
            remedy="take a dataset with both labels, or other split shares",
        )


def to_input(images: torch.Tensor) -> torch.Tensor:
    """(n, px, px, 3) uint8 RGB to (n, 3, px, px) float32 in 0..1."""
    return images.permute(0, 3, 1, 2).float().div_(255.0)


def normalise(images: torch.Tensor) -> torch.Tensor:
    """(n, 3, px, px) float32 in 0..1 to ImageNet's zero mean and unit deviation, which all networks here expect."""
    import torch

    mean = torch.tensor(IMAGENET_MEAN, device=images.device).view(1, 3, 1, 1)
    std = torch.tensor(IMAGENET_STD, device=images.device).view(1, 3, 1, 1)
    return (images - mean) / std


def model_input(images: Bytes, spec: ExperimentSpec) -> torch.Tensor:
    """(n, S, S, 3) uint8 RGB of any side to what the spec's network takes: (n, 3, input_px, input_px) float32."""
    import torch

    resized = _resized(images, np.arange(len(images)), spec.input_px, nearest=False, threads=1)
    return normalise(to_input(torch.from_numpy(resized)))


def clinical_input(manifest: pd.DataFrame, rows: Any, spec: ExperimentSpec) -> torch.Tensor | None:
    """What the spec's network takes beside `model_input`: `clinical_values`, or None where it takes none."""
    import torch

    return torch.from_numpy(clinical_values(manifest, rows, spec)) if spec.clinical else None


def _resized(source: Bytes, rows: Any, side_px: int, *, nearest: bool, threads: int) -> Bytes:
    import cv2

    result = np.empty((len(rows), side_px, side_px, *source.shape[3:]), dtype=np.uint8)
    larger = source.shape[1] < side_px
    method = cv2.INTER_NEAREST_EXACT if nearest else cv2.INTER_LINEAR if larger else cv2.INTER_AREA

    def fill(target: int) -> None:
        image = np.ascontiguousarray(source[rows[target]])
        result[target] = cv2.resize(image, (side_px, side_px), interpolation=method)

    if threads <= 1:
        for target in range(len(rows)):
            fill(target)
    else:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(fill, range(len(rows))))
    return result
