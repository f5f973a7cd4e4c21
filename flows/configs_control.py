"""The settings of the flows that steer and look."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from flows.configs import FlowConfig, OneExperimentConfig
from glaucoma.planning.overview import ExperimentFilter

ExperimentId = Annotated[
    str,
    Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,119}$",
        description="Id of the experiment.",
        examples=["cls-lcnet_050-1a2b3c4d"],
    ),
]
CycleId = Annotated[
    str,
    Field(
        pattern=r"^[a-z0-9][a-z0-9_-]{0,99}$",
        description="Id of the cycle, which is its folder's name.",
        examples=["acrima-0001-1a2b3c"],
    ),
]
SnapshotId = Annotated[
    str,
    Field(
        pattern=r"^[0-9]{8}T[0-9]{6}Z-[0-9a-f]{6}$",
        description="Id of the snapshot; `snapshots` lists them.",
        examples=["20260105T080000Z-1a2b3c"],
    ),
]


class ExperimentsConfig(FlowConfig):
    """List experiments, newest first, with where they stand and what was measured."""

    show: ExperimentFilter = Field(default_factory=ExperimentFilter, description="Which ones.")


class ExperimentInfoConfig(FlowConfig):
    """Say all that is known of one experiment: status, progress, history, metrics, places, its flow run."""

    experiment: ExperimentId


class CreateConfig(OneExperimentConfig):
    """Make an experiment and do not run it: it is found by its id when it is scheduled or resumed."""


class CancelConfig(FlowConfig):
    """Cancel the flow runs that train an experiment, and wait until the training has ended."""

    experiment: ExperimentId
    rollback: bool = Field(
        default=False, description="Remove all that the experiment wrote, unless its training is complete."
    )
    whole_cycle: bool = Field(
        default=False,
        description="Also where the flow run that trains it is that of a whole cycle, which is cancelled then.",
    )
    patience_s: float = Field(
        default=180.0, ge=1, le=86_400, description="The longest to wait for the training's end; later is an error."
    )

    @property
    def named(self) -> str:
        """What the run is called."""
        return f"{self.experiment}-rollback" if self.rollback else self.experiment


class ArchiveConfig(FlowConfig):
    """Pack an experiment away into one checked file, or bring it back."""

    experiment: ExperimentId
    back: bool = Field(default=False, description="Bring it back into the workspace instead.")
    force: bool = Field(
        default=False,
        description="Pack it away although it is needed, such as the best of its task: later cycles do not find it "
        "then. One that is being trained stays in any case.",
    )

    @property
    def named(self) -> str:
        """What the run is called."""
        return f"{self.experiment}-back" if self.back else self.experiment


class DeleteConfig(FlowConfig):
    """Delete experiments for good, in the workspace or packed away; a dry run only says what would go."""

    experiments: list[ExperimentId] = Field(
        min_length=1, max_length=1000, description="Their ids. One that is needed or being trained stops all of it."
    )
    reason: str = Field(
        min_length=1, max_length=500, description="Why; the ledger keeps it.", examples=["the labels were wrong"]
    )
    dry_run: bool = Field(default=True, description="Only say what would be removed and how much it is.")

    @property
    def named(self) -> str:
        """What the run is called."""
        return "dry-run" if self.dry_run else "removal"


class ArchiveCycleConfig(FlowConfig):
    """Pack a cycle's plan, record and report away into one checked file, or bring them back."""

    cycle: CycleId
    back: bool = Field(default=False, description="Bring it back into the workspace instead.")
    experiments: bool = Field(
        default=False,
        description="With the cycle also those of its experiments that nothing else needs; the others stay.",
    )
    force: bool = Field(
        default=False, description="Pack it away although it has not ended: its next start plans it anew then."
    )

    @property
    def named(self) -> str:
        """What the run is called."""
        return f"{self.cycle}-back" if self.back else self.cycle


class SnapshotConfig(FlowConfig):
    """Keep the books as they are: ledger, registry, judgements, states of research, and what experiments there are."""

    reason: str = Field(
        default="by hand", min_length=1, max_length=200, description="What it is for; the list of snapshots shows it."
    )


class SnapshotsConfig(FlowConfig):
    """List the snapshots, newest first."""

    limit: int = Field(default=50, ge=1, le=10_000, description="The newest so many.")


class RollbackConfig(FlowConfig):
    """Put the books back as a snapshot has them, all or nothing; no experiment is removed."""

    snapshot: SnapshotId


class StatusConfig(FlowConfig):
    """Say how the whole system stands: server, workers, runs, mode, machine, cycles, errors."""

    last: int = Field(default=10, ge=1, le=200, description="So many of the newest runs, cycles and errors are listed.")
