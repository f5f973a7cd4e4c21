"""What an experiment is: all that is needed to run it again, and the id that follows from it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Self

from pydantic import Field, ValidationError, model_validator

from glaucoma.errors import SettingsError, WeightsUnavailableError, problems
from glaucoma.provenance import digest, file_sha256
from glaucoma.schema import Task
from glaucoma.settings import Settings, UserPath
from glaucoma.training.loss_settings import ClassificationLoss, LossOptions, SegmentationLoss, require_effect
from glaucoma.training.settings import AugmentSettings, ClinicalValue, ExecutionSettings, TrainSettings

__all__ = [
    "ExecutionSettings",
    "ExperimentSpec",
    "TrainSettings",
    "experiment_id",
    "spec_from",
]

_LOSSES: dict[Task, type[ClassificationLoss] | type[SegmentationLoss]] = {
    Task.CLASSIFICATION: ClassificationLoss,
    Task.SEGMENTATION: SegmentationLoss,
}
_PREFIX = {Task.CLASSIFICATION: "cls", Task.SEGMENTATION: "seg"}


class ExperimentSpec(Settings):
    """One experiment as data. Equal specs are the same experiment, in whatever workspace and on whatever machine."""

    task: Task = Field(description="segmentation or classification.")
    dataset: str = Field(description="Name of the dataset.")
    prepared_key: str = Field(description="Key of the prepared dataset.")
    model: str = Field(min_length=1, max_length=200, description="Classifier, or the segmenter's encoder.")
    decoder_channels: tuple[int, ...] = Field(
        default=(), description="Segmentation: width of the U-Net's decoder stages."
    )
    input_px: int = Field(ge=32, le=2048, description="Side of the network's square input.")
    epochs: int = Field(ge=1, le=10_000, description="Passes over the training images.")
    batch_size: int = Field(ge=2, le=4096, description="Images a step.")
    learning_rate: float = Field(gt=0, le=1, description="Highest learning rate (AdamW, warm-up, cosine).")
    weight_decay: float = Field(ge=0, le=1, description="AdamW's decoupled weight decay.")
    loss: str = Field(description="One of `ClassificationLoss` or `SegmentationLoss`.")
    loss_options: LossOptions = Field(default_factory=LossOptions, description="What the loss takes.")
    balanced_sampling: bool = Field(default=True, description="Classification: both classes equally often.")
    augment: float = Field(default=0.5, ge=0, le=1, description="Strength of the augmentation; 0: none.")
    augmentation: AugmentSettings = Field(
        default_factory=AugmentSettings, description="What augmentation changes, at strength 1."
    )
    clip_norm: float | None = Field(default=1.0, gt=0, description="Longest gradient (2-norm).")
    ema_decay: float = Field(default=0.0, ge=0, lt=1, description="Of the weights' moving average; 0: none.")
    warm_up_share: float = Field(default=0.05, ge=0, le=0.9, description="Share of steps with a rising learning rate.")
    clinical: tuple[ClinicalValue, ...] = Field(
        default=(), description="Classification: clinical values beside the photograph."
    )
    catch_up_margin: float | None = Field(
        default=None, ge=0, le=1, description="How far below the median of others it may lag before it is ended."
    )
    pretrained: bool = Field(default=False, description="Start from pretrained weights.")
    weights_path: UserPath | None = Field(
        default=None, description="Weights file; its bytes, not its place, are part of the id."
    )
    weights_sha256: str | None = Field(default=None, description="Of the weights file's bytes, where one is named.")
    patience: int = Field(default=10, ge=1, description="Epochs without a better validation score before stopping.")
    seed: int = Field(default=0, ge=0, lt=2**31, description="Of the weights, the order and the augmentations.")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        known = [str(name) for name in _LOSSES[self.task]]
        if self.loss not in known:
            raise ValueError(f"loss {self.loss!r} is none of {', '.join(known)}, the losses of {self.task}")
        require_effect(self.loss_options, (self.loss,), balanced_sampling=self.balanced_sampling)
        if len(set(self.clinical)) < len(self.clinical):
            raise ValueError(f"clinical names a value twice: {', '.join(self.clinical)}")
        if self.task is Task.SEGMENTATION and self.clinical:
            raise ValueError("clinical values have no effect on segmentation: leave clinical empty")
        if self.task is Task.SEGMENTATION and self.input_px % 32:
            raise ValueError(f"input_px {self.input_px} is no multiple of 32, which a U-Net of five stages needs")
        return self


def experiment_id(spec: ExperimentSpec) -> str:
    """`cls-<model>-<8 hex>` or `seg-<encoder>-<8 hex>`; the digits are a hash of the spec, its seed included.

    A weights file counts by its hash: moving it makes no new experiment.
    """
    content = spec.model_dump(mode="json", exclude={"weights_path"})
    name = re.sub(r"[^A-Za-z0-9_.-]+", "-", spec.model)[:60].strip(".-")
    return f"{_PREFIX[spec.task]}-{name}-{digest(content)[:8]}"


def spec_from(settings: TrainSettings, task: Task, dataset: str, prepared_key: str, **overrides: Any) -> ExperimentSpec:
    """The experiment that `settings` describe for `task`, with `overrides` of any of the spec's fields on top.

    Raises:
        SettingsError: An override is unknown or out of bounds.
        WeightsUnavailableError: The weights file that is named is not there.
    """
    segmentation = task is Task.SEGMENTATION
    share = settings.execution.devices if settings.scale_with_devices else 1
    values: dict[str, Any] = {
        "task": task,
        "dataset": dataset,
        "prepared_key": prepared_key,
        "model": settings.encoder if segmentation else settings.classifier,
        "decoder_channels": settings.decoder_channels if segmentation else (),
        "input_px": settings.segmentation_input_px if segmentation else settings.input_px,
        "epochs": settings.segmentation_epochs if segmentation else settings.epochs,
        "batch_size": share * (settings.segmentation_batch_size if segmentation else settings.batch_size),
        "learning_rate": share * (settings.segmentation_learning_rate if segmentation else settings.learning_rate),
        "loss": str(settings.segmentation_loss if segmentation else settings.classification_loss),
        "balanced_sampling": settings.balanced_sampling and not segmentation,
        "weight_decay": settings.weight_decay,
        "loss_options": settings.loss_options,
        "augment": settings.augment,
        "augmentation": settings.augmentation,
        "clip_norm": settings.clip_norm,
        "ema_decay": settings.ema_decay,
        "warm_up_share": settings.warm_up_share,
        "clinical": () if segmentation else settings.clinical,
        "catch_up_margin": settings.catch_up_margin,
        "pretrained": settings.pretrained,
        "weights_path": settings.segmentation_weights_path if segmentation else settings.weights_path,
        "patience": settings.patience,
        "seed": settings.seed,
    }
    values.update(overrides)
    if "loss_options" not in overrides:  # one form for both tasks: each experiment takes what concerns its loss
        values["loss_options"] = settings.loss_options.used_by(values["loss"])
    path = values["weights_path"]
    if values["pretrained"] and path is not None and values.get("weights_sha256") is None:
        values["weights_sha256"] = _weights_sha256(Path(path))
    try:
        return ExperimentSpec.model_validate(values)
    except ValidationError as error:
        raise SettingsError(
            f"The experiment's settings do not hold ({problems(error)})", remedy="change the settings that are named"
        ) from error


def _weights_sha256(path: Path) -> str:
    if not path.is_file():
        raise WeightsUnavailableError(
            f"The weights file {path} is not there",
            expected="a .safetensors or .pth file",
            remedy="correct weights_path (segmentation_weights_path), or set pretrained to false",
        )
    return file_sha256(path)
