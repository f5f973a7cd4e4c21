"""The settings of training: what is learned (part of an experiment's id) and how it is run (no part of it)."""

from __future__ import annotations

from enum import StrEnum
from typing import Self

from pydantic import Field, model_validator

from glaucoma.settings import PresetBool, Settings, UserPath, by_preset


class ClassificationLoss(StrEnum):
    """Losses of the one glaucoma logit."""

    FOCAL = "focal"
    CROSS_ENTROPY = "cross_entropy"


class SegmentationLoss(StrEnum):
    """Losses of the disc and cup channels."""

    DICE = "dice"
    DICE_FOCAL = "dice_focal"
    DICE_CE = "dice_ce"


class Device(StrEnum):
    """Where to train; `auto` takes the first visible GPU, else the CPU."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"


class ExecutionSettings(Settings):
    """How a training is run and watched: nothing here changes what it is, so nothing here is part of its id."""

    device: Device = Field(default=Device.AUTO, description="auto (a GPU where there is one), cpu or cuda.")
    threads: int = by_preset(smoke=1, base=4, large=8, ge=1, le=256, description="CPU threads of the child process.")
    stall_timeout_s: float = Field(
        default=600.0, gt=0, description="Without progress for this long, the training is stopped; a retry resumes it."
    )
    timeout_s: float | None = Field(
        default=None, gt=0, description="The longest that one attempt may take; none: no limit."
    )
    stop_grace_s: float = Field(
        default=20.0, gt=0, description="Time to save after a request to stop, before the child is killed."
    )
    checkpoint_every_s: float = Field(
        default=300.0, gt=0, description="Within an epoch, a checkpoint is written this often; at its end always."
    )
    deterministic: bool = Field(
        default=False,
        description="On a GPU: deterministic kernels, so that a resumed run is equal bit for bit. Slower.",
    )


class TrainSettings(Settings):
    """What the experiments of a cycle start from; a proposal changes some of it."""

    classifier: str = by_preset(
        smoke="resnet10t",
        base="efficientnet_b3",
        large="efficientnet_b3",
        description="Classification network: a timm model, or one of this project's own.",
    )
    encoder: str = by_preset(
        smoke="tu-tf_mobilenetv3_small_minimal_100",
        base="resnet34",
        large="efficientnet-b4",
        description="Segmentation: encoder of a U-Net (segmentation_models_pytorch), or an own segmenter.",
    )
    decoder_channels: tuple[int, ...] = by_preset(
        smoke=(48, 32, 24, 16, 8),
        base=(256, 128, 64, 32, 16),
        large=(256, 128, 64, 32, 16),
        min_length=5,
        max_length=5,
        description="Width of the U-Net's five decoder stages.",
    )
    input_px: int = by_preset(smoke=96, base=320, large=512, ge=32, le=2048, description="Classification: input side.")
    segmentation_input_px: int = by_preset(
        smoke=128, base=384, large=512, ge=32, le=2048, multiple_of=32, description="Segmentation: input side."
    )
    epochs: int = by_preset(
        smoke=12, base=40, large=80, ge=1, le=10_000, description="Passes over the classification images."
    )
    segmentation_epochs: int = by_preset(
        smoke=8, base=60, large=100, ge=1, le=10_000, description="Passes over the segmentation images."
    )
    batch_size: int = by_preset(
        smoke=16, base=32, large=32, ge=2, le=4096, description="Images a step, classification."
    )
    segmentation_batch_size: int = by_preset(
        smoke=8, base=16, large=16, ge=2, le=4096, description="Images a step, segmentation."
    )
    learning_rate: float = by_preset(
        smoke=3e-3,
        base=3e-4,
        large=3e-4,
        gt=0,
        le=1,
        description="Highest learning rate, classification (AdamW, cosine).",
    )
    segmentation_learning_rate: float = by_preset(
        smoke=5e-3, base=5e-4, large=5e-4, gt=0, le=1, description="Highest learning rate, segmentation."
    )
    weight_decay: float = Field(default=0.01, ge=0, le=1, description="AdamW's decoupled weight decay.")
    classification_loss: ClassificationLoss = Field(
        default=ClassificationLoss.FOCAL, description="focal or cross_entropy."
    )
    segmentation_loss: SegmentationLoss = Field(
        default=SegmentationLoss.DICE_FOCAL, description="dice, dice_focal or dice_ce."
    )
    balanced_sampling: bool = Field(
        default=True, description="Classification: draw both classes equally often in an epoch."
    )
    augment: float = by_preset(
        smoke=0.25,
        base=0.5,
        large=0.5,
        ge=0,
        le=1,
        description="Strength of flips, rotation, scale and brightness; 0 switches all off.",
    )
    pretrained: PresetBool = by_preset(
        smoke=False,
        base=True,
        large=True,
        description="Start from pretrained weights, found locally; nothing is downloaded.",
    )
    weights_path: UserPath | None = Field(
        default=None,
        description="Classification: weights file (.safetensors, .pth); else the workspace's folder weights, else the "
        "local hub cache. Needs pretrained.",
    )
    segmentation_weights_path: UserPath | None = Field(
        default=None, description="Segmentation: weights file of the encoder; else as above. Needs pretrained."
    )
    patience: int = by_preset(
        smoke=100, base=10, large=15, ge=1, description="Stop after this many epochs without a better validation score."
    )
    seed: int = Field(default=0, ge=0, lt=2**31, description="Seed of the weights, the order and the augmentations.")
    execution: ExecutionSettings = Field(
        default_factory=ExecutionSettings, description="How the training is run and watched."
    )

    @model_validator(mode="after")
    def _weights_are_used(self) -> Self:
        named = [n for n in ("weights_path", "segmentation_weights_path") if getattr(self, n) is not None]
        if named and not self.pretrained:
            raise ValueError(f"{' and '.join(named)} would have no effect: pretrained is off")
        return self
