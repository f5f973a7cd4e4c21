"""The settings of every flow: one model each, from which the command line, the UI's form and YAML files are made."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from glaucoma.archives.settings import UnpackSettings
from glaucoma.datasets.registry import RegisterSettings
from glaucoma.datasets.settings import NormalizeSettings
from glaucoma.datasets.validation_settings import ValidateSettings
from glaucoma.evaluation.settings import EvaluateSettings
from glaucoma.explanation.settings import ExplainSettings
from glaucoma.planning.settings import PlanSettings
from glaucoma.preprocessing.settings import PreprocessSettings
from glaucoma.schema import Split, Task
from glaucoma.settings import PresetSettings
from glaucoma.synthetic.settings import SyntheticSettings
from glaucoma.training.settings import TrainSettings
from glaucoma.workspace import NAME_PATTERN

DatasetName = Annotated[
    str,
    Field(
        pattern=NAME_PATTERN,
        description="Name of the dataset: lower-case letters, digits, '-' and '_'.",
        examples=["acrima"],
    ),
]
Key = Annotated[str | None, Field(pattern=r"^[0-9a-f]{16}$", description="16 hexadecimal digits; empty: the newest.")]
ArchivePath = Annotated[
    Path,
    Field(description="The archive of photographs (zip, tar, tar.gz, tar.bz2, tar.xz), on the machine that runs this."),
]


class FlowConfig(PresetSettings):
    """What every flow takes."""

    workspace: Path | None = Field(
        default=None,
        description="Folder for all that is made. Empty: ARC_WORKSPACE, else the workspace block, else ./workspace.",
    )


class GenerateConfig(FlowConfig):
    """Generate an archive of artificial fundus photographs, for tests and for a first run."""

    archive: Path | None = Field(
        default=None, description="The zip to write. Empty: incoming/generated.zip in the workspace."
    )
    synthetic: SyntheticSettings = Field(default_factory=SyntheticSettings, description="What is generated.")


class UnpackConfig(FlowConfig):
    """Unpack an archive of photographs, checking every member on the way."""

    archive: ArchivePath
    unpack: UnpackSettings = Field(default_factory=UnpackSettings, description="Limits on what an archive may hold.")


class NormalizeConfig(FlowConfig):
    """Make a dataset in the canonical form of an unpacked archive, split by patient."""

    name: DatasetName
    unpacked: Key = None
    normalize: NormalizeSettings = Field(default_factory=NormalizeSettings, description="Layout and splits.")


class ValidateConfig(FlowConfig):
    """Judge a dataset with Great Expectations; a critical failure is an error that lists all of them."""

    name: DatasetName
    dataset: Key = None
    validation: ValidateSettings = Field(default_factory=ValidateSettings, description="What is expected of a dataset.")


class PreprocessConfig(FlowConfig):
    """Crop, equalise and resize a dataset's photographs, and pack them for training."""

    name: DatasetName
    dataset: Key = None
    preprocess: PreprocessSettings = Field(default_factory=PreprocessSettings, description="The steps.")


class RegisterConfig(FlowConfig):
    """Keep a dataset's version with DVC and in the registry."""

    name: DatasetName
    dataset: Key = None
    prepared: Key = None
    registry: RegisterSettings = Field(default_factory=RegisterSettings, description="Where versions are kept.")


class IntakeConfig(FlowConfig):
    """From an archive to a registered, prepared dataset: unpack, normalize, validate, preprocess, register."""

    archive: ArchivePath
    name: DatasetName
    unpack: UnpackSettings = Field(default_factory=UnpackSettings, description="Limits on what an archive may hold.")
    normalize: NormalizeSettings = Field(default_factory=NormalizeSettings, description="Layout and splits.")
    validation: ValidateSettings = Field(default_factory=ValidateSettings, description="What is expected of a dataset.")
    preprocess: PreprocessSettings = Field(default_factory=PreprocessSettings, description="The steps.")
    registry: RegisterSettings = Field(default_factory=RegisterSettings, description="Where versions are kept.")


class TrainConfig(FlowConfig):
    """Train one model on a prepared dataset; goes on from its last checkpoint where it was cut off."""

    name: DatasetName
    prepared: Key = None
    task: Task = Field(
        default=Task.CLASSIFICATION, description="classification of glaucoma, or segmentation of disc and cup."
    )
    train: TrainSettings = Field(default_factory=TrainSettings, description="Model, loss, optimisation, execution.")


class EvaluateConfig(FlowConfig):
    """Measure a trained model on a split, every number with its interval."""

    experiment: str = Field(description="Id of a trained experiment.", examples=["cls-lcnet_050-1a2b3c4d"])
    split: Split = Field(default=Split.VAL, description="A look at the test split is written to the ledger.")
    evaluate: EvaluateSettings = Field(default_factory=EvaluateSettings, description="How it is measured.")


class ExplainConfig(FlowConfig):
    """Show where a trained model looks: Grad-CAM, Grad-CAM++, Disc Relevance Index, overlays."""

    experiment: str = Field(description="Id of a trained experiment.", examples=["cls-lcnet_050-1a2b3c4d"])
    split: Split = Field(default=Split.VAL, description="The split whose photographs are explained.")
    explain: ExplainSettings = Field(default_factory=ExplainSettings, description="How it is explained.")


class ExperimentConfig(FlowConfig):
    """Train, evaluate on validation and explain one model."""

    name: DatasetName
    prepared: Key = None
    task: Task = Field(
        default=Task.CLASSIFICATION, description="classification of glaucoma, or segmentation of disc and cup."
    )
    train: TrainSettings = Field(default_factory=TrainSettings, description="Model, loss, optimisation, execution.")
    evaluate: EvaluateSettings = Field(default_factory=EvaluateSettings, description="How it is measured.")
    explain: ExplainSettings = Field(default_factory=ExplainSettings, description="How it is explained.")


class ResearchCycleConfig(FlowConfig):
    """One research cycle: archive in, report out."""

    name: DatasetName
    archive: Path | None = Field(
        default=None,
        description="The archive of photographs (zip, tar, tar.gz, tar.bz2, tar.xz), on the machine that runs this. "
        "Empty: the newest prepared dataset of that name.",
    )
    unpack: UnpackSettings = Field(default_factory=UnpackSettings, description="Limits on what an archive may hold.")
    normalize: NormalizeSettings = Field(default_factory=NormalizeSettings, description="Layout and splits.")
    validation: ValidateSettings = Field(default_factory=ValidateSettings, description="What is expected of a dataset.")
    preprocess: PreprocessSettings = Field(default_factory=PreprocessSettings, description="The steps.")
    registry: RegisterSettings = Field(default_factory=RegisterSettings, description="Where versions are kept.")
    plan: PlanSettings = Field(default_factory=PlanSettings, description="How many experiments, and how new.")
    rules: Path | None = Field(
        default=None, description="A YAML file with the rules that no experiment may break. Empty: the default rules."
    )
    train: TrainSettings = Field(default_factory=TrainSettings, description="What the experiments start from.")
    evaluate: EvaluateSettings = Field(default_factory=EvaluateSettings, description="How models are measured.")
    explain: ExplainSettings = Field(default_factory=ExplainSettings, description="How models are explained.")

    def intake(self, archive: Path) -> IntakeConfig:
        """The settings of this cycle's intake."""
        shared = {name: getattr(self, name) for name in IntakeConfig.model_fields if name != "archive"}
        return IntakeConfig(archive=archive, **shared)
