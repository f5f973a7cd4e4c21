"""The settings of training: what is learned (part of an experiment's id) and how it is run (no part of it)."""

from __future__ import annotations

from enum import StrEnum
from typing import Self

from pydantic import Field, model_validator

from glaucoma.settings import PresetBool, Settings, UserPath, by_preset
from glaucoma.training.loss_settings import ClassificationLoss, LossOptions, SegmentationLoss, require_effect
from glaucoma.training.tracking.settings import TrackingSettings


class AugmentSettings(Settings):
    """The furthest that a photograph is changed at strength 1, each in its own way. Safe for the fundus.

    No shift of hue and nothing cut out: the colour of the rim and the disc itself carry the diagnosis.
    """

    flip: bool = Field(default=True, description="Mirror left-right and up-down, each for half of the images.")
    rotation_deg: float = Field(default=20.0, ge=0, le=180, description="Rotation, up to this, both ways.")
    scale: float = Field(default=0.15, ge=0, le=0.5, description="Scale, by up to this share, both ways.")
    shift: float = Field(default=0.05, ge=0, le=0.5, description="Shift, by up to this share of the side.")
    brightness: float = Field(default=0.25, ge=0, lt=1, description="Brightness, by up to this share, both ways.")
    contrast: float = Field(default=0.25, ge=0, lt=1, description="Contrast, by up to this share, both ways.")
    gamma: float = Field(default=0.0, ge=0, lt=1, description="Gamma, by up to this share, both ways.")
    blur_px: float = Field(default=0.0, ge=0, le=5, description="Gaussian blur, standard deviation up to this.")
    noise: float = Field(default=0.0, ge=0, le=0.2, description="Gaussian noise, deviation up to this share of white.")


class ClinicalValue(StrEnum):
    """What a classifier may see beside the photograph: columns of the manifest."""

    AGE_YEARS = "age_years"
    IOP_MMHG = "iop_mmhg"


class Device(StrEnum):
    """Where to train; `auto` takes the first visible GPU, else the CPU."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"


class Precision(StrEnum):
    """What the network computes in; the weights stay in 32 bits.

    `auto`: bf16 on a GPU that computes in it itself, else 32 bits.
    """

    AUTO = "auto"
    FP32 = "fp32"
    BF16 = "bf16"
    FP16 = "fp16"


class Strategy(StrEnum):
    """How several devices share a step."""

    DDP = "ddp"
    DEEPSPEED = "deepspeed"


class ExecutionSettings(Settings):
    """How a training is run and watched: nothing here changes what it is, so nothing here is part of its id."""

    device: Device = Field(default=Device.AUTO, description="auto (a GPU where there is one), cpu or cuda.")
    devices: int = Field(
        default=1, ge=1, le=64, description="Processes that share each step, one a GPU; on the CPU by gloo."
    )
    strategy: Strategy = Field(
        default=Strategy.DDP,
        description="How several devices share a step: ddp, or deepspeed (its extra), which also cuts the optimizer's "
        "state over them and learns the same.",
    )
    precision: Precision = Field(
        default=Precision.AUTO,
        description="auto (bf16 on a GPU that computes in it, else fp32), fp32, bf16 or fp16. On a CPU 16 bits "
        "work, and most are many times slower with them.",
    )
    compile: bool = Field(
        default=False, description="torch.compile: faster steps on a GPU, a minute or more before the first."
    )
    micro_batch_size: int | None = Field(
        default=None,
        ge=2,
        description="Images at once on one device; a step adds up as many as its batch needs. None: the whole batch. "
        "Halved by itself where the memory does not hold it.",
    )
    workers: int = Field(
        default=0,
        ge=0,
        le=64,
        description="Processes that prepare batches ahead, and augment where there is no GPU; 0: the training itself. "
        "None are started where all images lie on the GPU.",
    )
    max_parameters_millions: float | None = Field(
        default=None, gt=0, description="A network with more is refused before training. None: no limit."
    )
    max_memory_gb: float | None = Field(
        default=None,
        gt=0,
        description="A step that is estimated to need more memory is refused before training. None: what the device "
        "has free.",
    )
    threads: int = by_preset(smoke=1, base=4, large=8, ge=1, le=256, description="CPU threads of the child process.")
    stall_timeout_s: float = Field(
        default=600.0,
        gt=0,
        description="Without a step, a validated batch or a loaded image for this long, the training is stopped; "
        "a retry resumes it.",
    )
    timeout_s: float | None = Field(
        default=None, gt=0, description="The longest that one attempt may take; none: no limit."
    )
    stop_grace_s: float = Field(
        default=12.0,
        gt=0,
        description="Time to save after a request to stop. All that follows takes at most 8 s more; a worker kills a "
        "cancelled run after 30 s.",
    )
    checkpoint_every_s: float = Field(
        default=300.0,
        gt=0,
        description="The longest time without a checkpoint. One is written at an epoch's end too, where all saving "
        "stays within 2 % of the time, and always at the end and on a stop.",
    )
    deterministic: bool = Field(
        default=False,
        description="On a GPU: deterministic kernels, so that a resumed run is equal bit for bit. Slower.",
    )
    retries: int = Field(
        default=3, ge=0, le=100, description="Further attempts after what can pass, each from the last checkpoint."
    )
    first_retry_delay_s: float = Field(
        default=60.0,
        ge=0,
        le=86_400,
        description="Before the first of them; each further one waits twice as long, a day at the most.",
    )
    rollback: bool = Field(
        default=False, description="When the run is cancelled, remove all that the experiment wrote."
    )
    tracking: TrackingSettings = Field(
        default_factory=TrackingSettings, description="Where else people see and compare runs."
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
        default=SegmentationLoss.DICE_FOCAL, description="Of disc and cup: dice, tversky, lovasz, and sums of two."
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
    clip_norm: float | None = Field(
        default=1.0,
        gt=0,
        description="Longest gradient (2-norm of all together); a longer one is shortened. None: any.",
    )
    ema_decay: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="Of a moving average of the weights, which is then validated and kept; 0: none. Often 0.999. The "
        "first steps use less, so that the random start is forgotten.",
    )
    warm_up_share: float = Field(
        default=0.05, ge=0, le=0.9, description="Share of all steps in which the learning rate rises; then a cosine."
    )
    loss_options: LossOptions = Field(default_factory=LossOptions, description="What the losses take.")
    augmentation: AugmentSettings = Field(
        default_factory=AugmentSettings, description="What augmentation changes, at strength 1."
    )
    clinical: tuple[ClinicalValue, ...] = Field(
        default=(), description="Classification: clinical values that the network sees beside the photograph."
    )
    catch_up_margin: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="End a training whose best validation score lies further than this below the median of the "
        "finished experiments on the same data after as large a share of their epochs. None: never.",
    )
    scale_with_devices: bool = Field(
        default=False, description="Multiply batch and learning rate by execution.devices; else a step stays as it is."
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

    @model_validator(mode="after")
    def _augmentation_is_used(self) -> Self:
        if self.augment == 0 and self.augmentation != AugmentSettings():
            raise ValueError("augmentation would have no effect: augment, its strength, is 0")
        return self

    @model_validator(mode="after")
    def _loss_options_are_used(self) -> Self:
        losses = (str(self.classification_loss), str(self.segmentation_loss))
        require_effect(self.loss_options, losses, balanced_sampling=bool(self.balanced_sampling))
        return self
