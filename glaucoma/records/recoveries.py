"""Which crashed runs were taken up again, with what, and how often: written down before it is done."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from glaucoma.errors import InputError, IntegrityError, problems
from glaucoma.provenance import exclusive, write_json
from glaucoma.records.ended import experiments_of_run
from glaucoma.records.resumable import require_resumable
from glaucoma.workspace import Workspace


class Recovery(BaseModel):
    """`recoveries/<crashed run>.json`: what was started in place of a run that was lost."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    crashed_run: UUID
    at: datetime
    experiments: tuple[str, ...] = Field(default=(), description="A new run of `resume` for each.")
    again: bool = Field(default=False, description="The same deployment was started again, with the same parameters.")
    depth: int = Field(default=0, ge=0, description="How many crashes of the same work were taken up so before.")
    counted: bool = Field(default=True, description="False: a person wanted it, and it counts towards no limit.")
    left: dict[str, str] = Field(default_factory=dict, description="Experiment -> why it was left alone.")
    started: tuple[UUID, ...] = Field(default=(), description="The new runs; empty while they are being made.")


class Recoveries:
    """All that were taken up in a workspace, a file each."""

    def __init__(self, workspace: Workspace) -> None:
        self._folder = workspace.root / "recoveries"
        self._lock = workspace.locks / "recoveries.lock"

    def begin(self, wanted: Recovery, most: int | None) -> tuple[Recovery, bool]:
        """Writes down what is about to be done for a crash; what was written for it before stays as it is.

        Experiments that were taken up `most` times already are left alone; None: no limit, and this one does not count.

        Returns:
            What is to be done, and whether it was written down by an earlier call.

        Raises:
            IntegrityError: A file of an earlier one cannot be read, so that nothing can be counted.
        """
        with exclusive(self._lock):
            if (before := self.of(wanted.crashed_run)) is not None:
                return before, True
            counts = self.counts()
            left = {
                name: f"was taken up {counts[name]} times already"
                for name in wanted.experiments
                if most is not None and counts.get(name, 0) >= most
            }
            allowed = tuple(name for name in wanted.experiments if name not in left)
            change = {"experiments": allowed, "left": {**wanted.left, **left}, "counted": most is not None}
            kept = wanted.model_copy(update=change)
            self._write(kept)
            return kept, False

    def finish(self, recovery: Recovery, started: tuple[UUID, ...]) -> Recovery:
        """Writes down which runs were made."""
        done = recovery.model_copy(update={"started": started})
        with exclusive(self._lock):
            self._write(done)
        return done

    def of(self, run_id: UUID) -> Recovery | None:
        """What was done for this crash; None where nothing was."""
        path = self._folder / f"{run_id}.json"
        try:
            return Recovery.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValidationError) as error:
            raise IntegrityError(
                f"{path} cannot be read ({problems(error)})",
                consequence="Nothing is taken up again",
                remedy="look at it, and remove it if it is of no use",
            ) from error

    def started_by(self, run_id: UUID) -> Recovery | None:
        """The recovery that started this run; None where a person or a schedule did."""
        return next((one for one in self._all() if run_id in one.started), None)

    def counts(self) -> dict[str, int]:
        """How often each experiment was taken up by itself."""
        found: dict[str, int] = {}
        for one in self._all():
            for name in one.experiments if one.counted else ():
                found[name] = found.get(name, 0) + 1
        return found

    def _all(self) -> list[Recovery]:
        there = sorted(self._folder.glob("[0-9a-f]*.json"))
        return [one for path in there if (one := self.of(UUID(path.stem))) is not None]

    def _write(self, recovery: Recovery) -> None:
        write_json(self._folder / f"{recovery.crashed_run}.json", recovery.model_dump(mode="json"))


def lost_experiments(
    run_id: UUID, workspace: Workspace, *, failed_too: bool = False
) -> tuple[list[str], dict[str, str]]:
    """The experiments that a lost run was training and that can go on; and the others, with the reason.

    A living training holds its experiment's lock, and is left alone.

    Args:
        failed_too: Also those that failed by themselves.
    """
    wanted, left = [], {}
    for experiment, _ in experiments_of_run(str(run_id), workspace):
        try:
            require_resumable(experiment, workspace, failed_too=failed_too)
        except InputError as error:
            left[experiment.experiment_id] = error.found
        else:
            wanted.append(experiment.experiment_id)
    return wanted, left
