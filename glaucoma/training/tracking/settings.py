"""The settings of tracking: which page people compare runs in, and what is copied there."""

from __future__ import annotations

from enum import StrEnum
from typing import Self

from pydantic import Field, model_validator

from glaucoma.settings import Settings


class TrackerKind(StrEnum):
    """Where runs are shown beside Prefect's pages."""

    NONE = "none"
    WANDB = "wandb"
    MLFLOW = "mlflow"


class WandbMode(StrEnum):
    """`offline` writes files in the workspace and asks no network; `online` sends while the training runs."""

    OFFLINE = "offline"
    ONLINE = "online"


class TrackingSettings(Settings):
    """What is shown of a training elsewhere. It changes nothing of what is learned, and never stops a training."""

    kind: TrackerKind = Field(
        default=TrackerKind.NONE,
        description="none; wandb: Weights & Biases; mlflow: a local page on SQLite, which needs the extra mlflow.",
    )
    project: str = Field(
        default="glaucoma",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_. -]{0,99}$",
        description="W&B's project, MLflow's experiment: the group of runs that are compared.",
    )
    mode: WandbMode = Field(
        default=WandbMode.OFFLINE,
        description="W&B: offline keeps all in the workspace until the flow sync-tracking sends it; online sends now.",
    )
    account_block: str | None = Field(
        default=None,
        min_length=1,
        max_length=200,
        description="W&B, online: name of the block of type wandb-account that holds the API key.",
    )
    log_checkpoint: bool = Field(default=True, description="Keep the best checkpoint with the finished run.")
    log_dataset: bool = Field(
        default=True,
        description="Keep the prepared dataset's manifest (patient ids included) and record with the finished run.",
    )
    log_photographs: bool = Field(
        default=False, description="Keep the prepared photographs and masks as well. They are copied; W&B is sent them."
    )
    end_timeout_s: float = Field(
        default=60.0, gt=0, le=3600, description="At a training's end, the longest wait for what is not yet copied."
    )

    @model_validator(mode="after")
    def _all_has_an_effect(self) -> Self:
        of_wandb = {"mode", "account_block"}
        idle = {TrackerKind.NONE: set(type(self).model_fields) - {"kind"}, TrackerKind.MLFLOW: of_wandb}
        for name in sorted(idle.get(self.kind, set())):
            if getattr(self, name) != type(self).model_fields[name].default:
                raise ValueError(f"{name} would have no effect with kind {self.kind}")
        if self.mode is WandbMode.ONLINE and not self.account_block:
            raise ValueError("mode online needs account_block, the name of a block wandb-account with the API key")
        if self.mode is WandbMode.OFFLINE and self.account_block:
            raise ValueError("account_block would have no effect with mode offline; the flow sync-tracking takes one")
        if self.log_photographs and not self.log_dataset:
            raise ValueError("log_photographs would have no effect: log_dataset is off")
        return self
