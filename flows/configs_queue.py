"""The settings of what stands in the queues for the GPUs: a batch of experiments, a cycle's experiment, the queues."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from pydantic import Field, model_validator

from flows.configs import DatasetName, ExperimentConfig, FlowConfig, Key
from flows.queues import QueueChoice, require_fitting
from glaucoma.errors import SettingsError
from glaucoma.evaluation.settings import EvaluateSettings
from glaucoma.explanation.settings import ExplainSettings
from glaucoma.schema import Preset, Task
from glaucoma.settings import PresetSettings, Settings, UserPath, fill_from_preset
from glaucoma.training.settings import ExecutionSettings, TrainSettings

MOST_EXPERIMENTS = 500


class BatchDefault(Settings):
    """What every experiment of a batch has that does not say otherwise."""

    name: DatasetName | None = None
    prepared: Key = None
    task: Task = Field(
        default=Task.CLASSIFICATION, description="classification of glaucoma, or segmentation of disc and cup."
    )
    train: TrainSettings = Field(default_factory=TrainSettings, description="Model, loss, optimisation, execution.")
    evaluate: EvaluateSettings = Field(default_factory=EvaluateSettings, description="How it is measured.")
    explain: ExplainSettings = Field(default_factory=ExplainSettings, description="How it is explained.")
    queue: QueueChoice = Field(default_factory=QueueChoice, description="Where in the queue it stands.")


class BatchExperiment(BatchDefault):
    """One experiment of a batch; what is not given is as in `default`, field by field."""


class ScheduleConfig(FlowConfig):
    """Put a batch of experiments into the queues for the GPUs; all are checked before the first is submitted."""

    experiments: list[BatchExperiment] = Field(
        min_length=1,
        max_length=MOST_EXPERIMENTS,
        description="The experiments, in the order in which those of one queue are to run.",
        examples=[[{"train": {"classifier": "resnet18"}}, {"train": {"seed": 1}, "queue": {"priority": 2}}]],
    )
    default: BatchDefault = Field(
        default_factory=BatchDefault, description="What every experiment has that does not say otherwise."
    )
    rules: UserPath | None = Field(
        default=None, description="A YAML file with rules that no experiment may break. Empty: none are checked."
    )
    dry_run: bool = Field(default=False, description="Check all and show the order; submit nothing.")

    @model_validator(mode="before")
    @classmethod
    def _with_default(cls, data: Any) -> Any:
        """Lays each experiment over the default, and both over the preset."""
        if not isinstance(data, Mapping) or not isinstance(data.get("experiments"), list):
            return data
        default = _given(data.get("default") or {})
        chosen = data.get("preset") or cls.model_fields["preset"].default
        if not isinstance(default, Mapping) or chosen not in set(Preset):
            return data  # pydantic names what is wrong
        laid = [_laid(default, _given(one), Preset(chosen)) for one in data["experiments"]]
        return {**data, "experiments": laid}

    @model_validator(mode="after")
    def _named_and_fitting(self) -> Self:
        for number, one in enumerate(self.experiments, 1):
            if one.name is None:
                raise ValueError(f"experiment {number} names no dataset, and default.name neither")
            try:
                require_fitting(one.queue, one.train.execution)
            except SettingsError as error:
                raise ValueError(f"experiment {number}: {error}") from error
        return self

    def of(self, one: BatchExperiment, prepared_key: str) -> ExperimentConfig:
        """The settings of the run for one experiment of the batch, on exactly that prepared dataset."""
        shared = {name: getattr(one, name) for name in ("name", "task", "train", "evaluate", "explain")}
        return ExperimentConfig(preset=self.preset, workspace=self.workspace, prepared=prepared_key, **shared)

    @property
    def named(self) -> str:
        """What the run is called."""
        return f"{len(self.experiments)}{'-dry-run' if self.dry_run else ''}"


def _given(value: Any) -> Any:
    """What was given, as plain values; a model that was made in Python says which of its fields were."""
    return value.model_dump(exclude_unset=True) if isinstance(value, Settings) else value


def _laid(default: Mapping[str, Any], one: Any, preset: Preset) -> Any:
    if not isinstance(one, Mapping):
        return one
    return fill_from_preset(BatchExperiment, _over(default, one), preset)


def _over(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """`above` over `below`, nested settings field by field; an empty value gives way."""
    merged = dict(below)
    for name, value in above.items():
        beneath = merged.get(name)
        if isinstance(value, Mapping) and isinstance(beneath, Mapping):
            merged[name] = _over(beneath, value)
        elif value is not None or name not in merged:
            merged[name] = value
    return merged


class PlannedExperimentConfig(FlowConfig):
    """Run one experiment that a cycle has planned: train, evaluate on validation, explain."""

    cycle: str = Field(
        pattern=r"^[a-z0-9][a-z0-9_-]{0,62}-\d{4,9}-[0-9a-f]{6}$",
        description="Id of the cycle; what is trained is read from its plan.",
        examples=["refuge-0003-1a2b3c"],
    )
    experiment: str = Field(
        pattern=r"^(cls|seg)-[A-Za-z0-9._-]{1,200}$",
        description="Id of the experiment in the plan.",
        examples=["cls-lcnet_050-1a2b3c4d"],
    )
    execution: ExecutionSettings = Field(
        default_factory=ExecutionSettings, description="How the training is run and watched."
    )
    evaluate: EvaluateSettings = Field(default_factory=EvaluateSettings, description="How it is measured.")
    explain: ExplainSettings = Field(default_factory=ExplainSettings, description="How it is explained.")


class QueueConfig(PresetSettings):
    """Show what runs and waits in the work pools of the GPUs, in the order in which workers will take it."""

    most_rows: int = Field(
        default=200, ge=1, le=5000, description="Rows shown; those further down are only counted.", examples=[50]
    )
