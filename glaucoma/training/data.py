"""A prepared dataset as arrays for training: 8-bit, resized once and kept in memory, or read as they are needed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from glaucoma.errors import DatasetError, IntegrityError
from glaucoma.schema import Column, Label, Split, StructureState, Task
from glaucoma.training.host_memory import free_memory_bytes
from glaucoma.training.spec import ExperimentSpec
from glaucoma.workspace import Workspace

if TYPE_CHECKING:
    import pandas as pd
    import torch

Bytes = np.ndarray[Any, np.dtype[np.uint8]]
Floats = np.ndarray[Any, np.dtype[np.float32]]
_MEMORY_SHARE = 0.5
"""Of the free memory, how much the resized images of a split may take; beyond it they are read for each batch."""
_CHUNK = 256

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Arrays:
    """The images of one split, in the order of the manifest.

    Args:
        images: (n, px, px, 3) uint8 RGB at the network's input side; with `rows`: the packed (N, S, S, 3) of all
            splits, on the disk.
        masks: Segmentation: (n, px, px), or (N, S, S), uint8 of `MaskValue`; else None.
        labels: Classification: (n,) uint8, 1 is glaucoma; else None.
        clinical: (n, k) float32 in the order of `spec.clinical`, NaN where the manifest has no value; None without any.
        rows: (n,) int64, where the split's images lie in `images`; None: they are all there is in it.
    """

    image_ids: list[str]
    images: Bytes
    masks: Bytes | None
    labels: Bytes | None
    clinical: Floats | None = None
    rows: Any = None

    def __len__(self) -> int:
        return len(self.image_ids)

    @property
    def in_memory(self) -> bool:
        return self.rows is None

    def gather(self, indices: Any, side_px: int, threads: int = 1) -> tuple[Bytes, Bytes | None]:
        """Images (n, side_px, side_px, 3), and masks, of `indices` into the split: the same from memory and disk."""
        if self.rows is None:
            return self.images[indices], None if self.masks is None else self.masks[indices]
        rows = self.rows[indices]
        images = _resized(self.images, rows, side_px, nearest=False, threads=threads)
        masks = None if self.masks is None else _resized(self.masks, rows, side_px, nearest=True, threads=threads)
        return images, masks

    def in_chunks(self, side_px: int, threads: int = 1) -> Iterator[tuple[slice, Bytes, Bytes | None]]:
        """All of them as `gather` gives them, some at a time, with their place: few enough to tell how far it is."""
        for start in range(0, len(self), _CHUNK):
            some = np.arange(start, min(start + _CHUNK, len(self)))
            yield slice(start, start + len(some)), *self.gather(some, side_px, threads)


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
    from glaucoma.datasets.manifest import read_manifest  # pandas: half a second that a watching parent never needs

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


def untold(n_images: int) -> None:
    """Tells nobody how many images are loaded."""


def load_arrays(
    data: PreparedData,
    spec: ExperimentSpec,
    split: Split,
    threads: int = 1,
    copies: int = 1,
    loaded: Callable[[int], None] = untold,
) -> Arrays:
    """The usable images of `split`, resized to the spec's input side (area; masks nearest).

    They are kept in memory where they take less than half of what is free; else each batch is read from the packed
    array and resized, which gives the same bytes.

    Args:
        copies: Processes of this machine that load the same, each for itself.
        loaded: Told now and then how many are resized.
    """
    rows = data.rows(spec.task, split)
    segmentation = spec.task is Task.SEGMENTATION
    labels = (data.manifest[Column.LABEL].to_numpy()[rows] == str(Label.GLAUCOMA)).astype(np.uint8)
    packed = Arrays(
        image_ids=[str(value) for value in data.manifest[Column.IMAGE_ID].to_numpy()[rows]],
        images=data.images,
        masks=data.masks if segmentation else None,
        labels=None if segmentation else labels,
        clinical=clinical_values(data.manifest, rows, spec) if spec.clinical else None,
        rows=rows,
    )
    needed_bytes = copies * len(rows) * spec.input_px**2 * (4 if segmentation else 3)
    if needed_bytes > _MEMORY_SHARE * free_memory_bytes():
        return packed
    images = np.empty((len(rows), spec.input_px, spec.input_px, 3), np.uint8)
    masks = np.empty(images.shape[:3], np.uint8) if segmentation else None
    for place, some, of_them in packed.in_chunks(spec.input_px, threads):
        images[place] = some
        if masks is not None and of_them is not None:
            masks[place] = of_them
        loaded(place.stop)
    return replace(packed, images=images, masks=masks, rows=None)


def clinical_values(manifest: pd.DataFrame, rows: Any, spec: ExperimentSpec) -> Floats:
    """(n, k) float32: the values of `spec.clinical`, in its order, of the manifest's `rows`; NaN where it has none.

    Units and bounds are those of the manifest's columns: years, mmHg.
    """
    import pandas as pd

    values = np.empty((len(rows), len(spec.clinical)), np.float32)
    for column, name in enumerate(spec.clinical):
        texts = manifest[Column(str(name))].iloc[rows]
        values[:, column] = pd.to_numeric(texts.replace("", np.nan)).to_numpy(dtype=np.float32)
    return values


def clinical_input(manifest: pd.DataFrame, rows: Any, spec: ExperimentSpec) -> torch.Tensor | None:
    """What the spec's network takes beside `model_input`: `clinical_values`, or None where it takes none."""
    import torch

    return torch.from_numpy(clinical_values(manifest, rows, spec)) if spec.clinical else None


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
    _require_clinical(train, spec)


def _require_clinical(train: Arrays, spec: ExperimentSpec) -> None:
    if train.clinical is None:
        return
    known = ~np.isnan(train.clinical)
    empty = [str(name) for column, name in enumerate(spec.clinical) if not known[:, column].any()]
    if empty:
        raise DatasetError(
            f"No image for training of the dataset {spec.dataset} has a value of {' or of '.join(empty)}",
            expected="a value for some of them at least, in the manifest's column of that name",
            consequence="A classifier cannot learn from clinical values that are not there",
            remedy="take a dataset that states them, or leave them out of clinical",
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
