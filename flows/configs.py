"""The settings of every flow: one model each, from which the command line, the UI's form and YAML files are made."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from blocks.workspace import settle_workspace
from flows.queues import QueueChoice
from glaucoma.archives.settings import UnpackSettings
from glaucoma.datasets.drift_settings import DriftSettings
from glaucoma.datasets.integrity import CheckPlace
from glaucoma.datasets.merge_settings import MergeSettings
from glaucoma.datasets.pair_judgements import JudgedPair
from glaucoma.datasets.registry import RegisterSettings, RemoteSettings
from glaucoma.datasets.settings import NormalizeSettings
from glaucoma.datasets.validation_settings import Target, ValidateSettings
from glaucoma.evaluation.settings import EvaluateSettings
from glaucoma.explanation.settings import ExplainSettings
from glaucoma.planning.approval_settings import ApprovalSettings
from glaucoma.planning.retention import RetentionSettings
from glaucoma.planning.settings import PlanSettings
from glaucoma.preprocessing.settings import PreprocessSettings
from glaucoma.roots import is_workers_run
from glaucoma.schema import Split, Task
from glaucoma.settings import PresetSettings, UserPath
from glaucoma.synthetic.settings import SyntheticSettings
from glaucoma.training.settings import ExecutionSettings, TrainSettings
from glaucoma.workspace import NAME_PATTERN

DatasetName = Annotated[
    str,
    Field(
        pattern=NAME_PATTERN,
        description="Name of the dataset: lower-case letters, digits, '-' and '_'.",
        examples=["acrima"],
    ),
]
Key = Annotated[
    str | None,
    Field(pattern=r"^[0-9a-f]{16}$", description="Key of its version, 16 hexadecimal digits; empty: the newest."),
]
Version = Annotated[
    str | None,
    Field(pattern=r"^[0-9a-f]{16}$", description="Key of the dataset; empty: the version that was registered last."),
]
ArchivePath = Annotated[
    UserPath,
    Field(description="The archive of photographs (zip, tar, tar.gz/bz2/xz/zst, 7z, rar), on this run's machine."),
]


class FlowConfig(PresetSettings):
    """What every flow takes."""

    workspace: UserPath | None = Field(
        default=None,
        description="Folder for all that is made. Empty: ARC_WORKSPACE, else the workspace block, else ./workspace.",
    )

    @model_validator(mode="before")
    @classmethod
    def _know_the_workspace(cls, data: Any) -> Any:
        """Before any path is looked at: a worker's run may name paths in its workspace only."""
        if is_workers_run():
            settle_workspace()
        return data


class GenerateConfig(FlowConfig):
    """Generate an archive of artificial fundus photographs, for tests and for a first run."""

    archive: UserPath | None = Field(
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


DatasetVersion = Annotated[
    str,
    Field(pattern=rf"{NAME_PATTERN.removesuffix('$')}(/[0-9a-f]{{16}})?$", examples=["refuge", "own/0123456789abcdef"]),
]


class JudgeConfig(FlowConfig):
    """Say of pairs of photographs that look alike whether they are the same."""

    name: DatasetName
    dataset: Key = None
    by: str = Field(min_length=1, max_length=200, description="Who says so.", examples=["A. Reader"])
    pairs: list[JudgedPair] = Field(
        min_length=1,
        max_length=10_000,
        description="The pairs, by image_id, as the dataset's suspects.html and suspects.csv name them.",
    )


class MergeConfig(FlowConfig):
    """Make one dataset of several, each image's origin kept and no photograph on two sides of a split."""

    name: DatasetName
    datasets: list[DatasetVersion] = Field(
        min_length=2,
        max_length=100,
        description="The datasets to merge, each by its name, or by name/key for another version than the newest.",
    )
    merge: MergeSettings = Field(default_factory=MergeSettings, description="How the merged dataset is split.")


class ValidateConfig(FlowConfig):
    """Judge a dataset with Great Expectations; a critical failure is an error that lists all of them."""

    name: DatasetName
    what: Target = Field(
        default=Target.NORMALIZED,
        description="raw: the files of an unpacked archive. normalized: the dataset. prepared: what training reads.",
    )
    key: Key = Field(
        default=None,
        description="Of what is judged, 16 hexadecimal digits; empty: the newest, and of archives the one that the "
        "newest dataset of that name was made from.",
    )
    validation: ValidateSettings = Field(default_factory=ValidateSettings, description="What is expected of a dataset.")
    drift: DriftSettings = Field(
        default_factory=DriftSettings, description="Comparison with a reference, of what is normalized."
    )

    @model_validator(mode="after")
    def _only_datasets_drift(self) -> Self:
        if self.drift.reference and self.what is not Target.NORMALIZED:
            raise ValueError(f"drift.reference has no effect on what is {self.what}: only datasets are compared")
        return self


class DriftConfig(FlowConfig):
    """Compare a dataset with a reference: brightness, colour, sharpness, labels, vertical cup-to-disc ratio."""

    name: DatasetName
    dataset: Key = None
    validation: ValidateSettings = Field(default_factory=ValidateSettings, description="What is expected of a dataset.")
    drift: DriftSettings = Field(default_factory=DriftSettings, description="The reference, and what follows.")

    @model_validator(mode="after")
    def _has_a_reference(self) -> Self:
        if not self.drift.wanted:
            raise ValueError("drift.reference must name a dataset, and drift.gate be warn or stop")
        return self


class PreprocessConfig(FlowConfig):
    """Crop, equalise and resize a dataset's photographs, and pack them for training."""

    name: DatasetName
    dataset: Key = None
    preprocess: PreprocessSettings = Field(default_factory=PreprocessSettings, description="The steps.")


class RegisterConfig(FlowConfig):
    """Keep a dataset's version with DVC and in the registry."""

    name: DatasetName
    dataset: Key = None
    prepared: Key = Field(
        default=None,
        description="16 hexadecimal digits; empty: the newest that was prepared from the dataset, if there is one.",
    )
    registry: RegisterSettings = Field(default_factory=RegisterSettings, description="Where versions are kept.")


class RestoreConfig(FlowConfig):
    """Bring a registered version, old or new, back from the remote, every byte checked."""

    name: DatasetName
    version: Version = None
    replace_damaged: bool = Field(
        default=False,
        description="Also read the folders that are there, and replace one that is not as it was registered.",
    )
    registry: RemoteSettings = Field(default_factory=RemoteSettings, description="Where versions are kept.")


class DatasetsConfig(FlowConfig):
    """List every registered version of every dataset."""


class DatasetInfoConfig(FlowConfig):
    """Say what a registered version holds, what it was made from, where it lies, and how it was judged."""

    name: DatasetName
    version: Version = None


class CheckDatasetConfig(FlowConfig):
    """Read every byte of a registered version again; one that differs is an error that names its file."""

    name: DatasetName
    version: Version = None
    place: CheckPlace = Field(default=CheckPlace.WORKSPACE, description="Whose bytes are read.")
    registry: RemoteSettings = Field(
        default_factory=RemoteSettings, description="Where versions are kept, if the remote is read."
    )


class IntakeConfig(FlowConfig):
    """From an archive to a registered, prepared dataset: unpack, normalize, preprocess, register, each validated."""

    archive: ArchivePath
    name: DatasetName
    unpack: UnpackSettings = Field(default_factory=UnpackSettings, description="Limits on what an archive may hold.")
    normalize: NormalizeSettings = Field(default_factory=NormalizeSettings, description="Layout and splits.")
    validation: ValidateSettings = Field(default_factory=ValidateSettings, description="What is expected of a dataset.")
    drift: DriftSettings = Field(default_factory=DriftSettings, description="Comparison with a reference.")
    preprocess: PreprocessSettings = Field(default_factory=PreprocessSettings, description="The steps.")
    registry: RegisterSettings = Field(default_factory=RegisterSettings, description="Where versions are kept.")


class OneExperimentConfig(FlowConfig):
    """What every flow takes that trains one model."""

    name: DatasetName
    prepared: Key = None
    task: Task = Field(
        default=Task.CLASSIFICATION, description="classification of glaucoma, or segmentation of disc and cup."
    )
    train: TrainSettings = Field(default_factory=TrainSettings, description="Model, loss, optimisation, execution.")

    @model_validator(mode="after")
    def _weights_of_this_task(self) -> Self:
        own, other = "weights_path", "segmentation_weights_path"
        if self.task is Task.SEGMENTATION:
            own, other = other, own
        if getattr(self.train, other) is not None:
            raise ValueError(f"train.{other} would have no effect on {self.task}: its weights are train.{own}")
        return self


class TrainConfig(OneExperimentConfig):
    """Train one model on a prepared dataset; goes on from its last checkpoint where it was cut off."""


class EvaluateConfig(FlowConfig):
    """Measure a trained model on a split, every number with its interval."""

    experiment: str = Field(description="Id of a trained experiment.", examples=["cls-lcnet_050-1a2b3c4d"])
    split: Split = Field(
        default=Split.VAL, description="What it is measured on; a look at the test split is written to the ledger."
    )
    evaluate: EvaluateSettings = Field(default_factory=EvaluateSettings, description="How it is measured.")


class ExplainConfig(FlowConfig):
    """Show where a trained model looks: Grad-CAM, Grad-CAM++, Disc Relevance Index, overlays."""

    experiment: str = Field(description="Id of a trained experiment.", examples=["cls-lcnet_050-1a2b3c4d"])
    split: Split = Field(default=Split.VAL, description="The split whose photographs are explained.")
    explain: ExplainSettings = Field(default_factory=ExplainSettings, description="How it is explained.")


class ExperimentConfig(OneExperimentConfig):
    """Train, evaluate on validation and explain one model."""

    evaluate: EvaluateSettings = Field(default_factory=EvaluateSettings, description="How it is measured.")
    explain: ExplainSettings = Field(default_factory=ExplainSettings, description="How it is explained.")


class ResumeConfig(FlowConfig):
    """Go on with a training that was cut off, or with all: from the checkpoint to evaluation and explanation."""

    experiment: str | None = Field(
        default=None,
        min_length=1,
        description="Id of the experiment. Empty: all whose training was interrupted or cancelled, one by one.",
        examples=["cls-lcnet_050-1a2b3c4d"],
    )
    retry_failed: bool = Field(
        default=False,
        description="Also what failed by itself, such as for want of GPU memory; the same settings end the same way.",
    )
    execution: ExecutionSettings | None = Field(
        default=None, description="How it is run and watched. Empty, or a field not given: as its last run had it."
    )
    evaluate: EvaluateSettings = Field(default_factory=EvaluateSettings, description="How it is measured.")
    explain: ExplainSettings = Field(default_factory=ExplainSettings, description="How it is explained.")

    @property
    def named(self) -> str:
        """What the run is called."""
        return self.experiment or "all"


class HousekeepingConfig(FlowConfig):
    """Remove experiments that nobody needs, and what killed processes left; only says so in a dry run."""

    dry_run: bool = Field(default=True, description="Only say what would be removed, why, and how much it is.")
    keep: RetentionSettings = Field(default_factory=RetentionSettings, description="What is kept.")

    @property
    def named(self) -> str:
        """What the run is called."""
        return "dry-run" if self.dry_run else "removal"


class SyncTrackingConfig(FlowConfig):
    """Send runs that were tracked offline to W&B; a dry run, which is the default, lists them."""

    account_block: str | None = Field(
        default=None,
        min_length=1,
        max_length=200,
        description="Name of the block of type wandb-account with the API key. A dry run needs none.",
    )
    dry_run: bool = Field(default=True, description="Say what would be sent, and send nothing.")
    timeout_s: float = Field(default=600.0, gt=0, le=86_400, description="The longest that sending one run may take.")


class ResearchCycleConfig(FlowConfig):
    """One research cycle: archive in, report out."""

    name: DatasetName
    archive: UserPath | None = Field(
        default=None,
        description="The archive of photographs (zip, tar, tar.gz/bz2/xz/zst, 7z, rar), on the machine that runs this. "
        "Empty: the newest prepared dataset of that name.",
    )
    unpack: UnpackSettings = Field(default_factory=UnpackSettings, description="Limits on what an archive may hold.")
    normalize: NormalizeSettings = Field(default_factory=NormalizeSettings, description="Layout and splits.")
    validation: ValidateSettings = Field(default_factory=ValidateSettings, description="What is expected of a dataset.")
    drift: DriftSettings = Field(default_factory=DriftSettings, description="Comparison with a reference.")
    preprocess: PreprocessSettings = Field(default_factory=PreprocessSettings, description="The steps.")
    registry: RegisterSettings = Field(default_factory=RegisterSettings, description="Where versions are kept.")
    plan: PlanSettings = Field(default_factory=PlanSettings, description="How many experiments, and how new.")
    rules: UserPath | None = Field(
        default=None, description="A YAML file with the rules that no experiment may break. Empty: the default rules."
    )
    train: TrainSettings = Field(default_factory=TrainSettings, description="What the experiments start from.")
    evaluate: EvaluateSettings = Field(default_factory=EvaluateSettings, description="How models are measured.")
    explain: ExplainSettings = Field(default_factory=ExplainSettings, description="How models are explained.")
    queue: QueueChoice = Field(
        default_factory=QueueChoice,
        description="Where in the queue for the GPUs its experiments stand, where a worker runs the cycle.",
    )
    recovery_s: float = Field(
        default=180.0,
        ge=0,
        le=86_400,
        description="Where a worker runs the cycle and the run of an experiment crashes: so long it waits for the run "
        "that recover starts in its place, before it goes on without the experiment. Longer than the 30 s after which "
        "recover begins. 0: it does not wait.",
    )
    approval: ApprovalSettings = Field(
        default_factory=ApprovalSettings, description="When a plan waits for a person, with the variable arc_mode."
    )

    def intake(self, archive: Path) -> IntakeConfig:
        """The settings of this cycle's intake."""
        shared = {name: getattr(self, name) for name in IntakeConfig.model_fields if name != "archive"}
        return IntakeConfig(archive=archive, **shared)
