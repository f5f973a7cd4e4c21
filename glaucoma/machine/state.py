"""Each GPU of a machine as it stands: its figures, what it is for, whether it takes work, what works on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pydantic import BaseModel, ConfigDict, Field

from glaucoma.machine.drained import drained
from glaucoma.machine.hangs import Work
from glaucoma.machine.readings import GpuReading, Reading
from glaucoma.machine.table import UNKNOWN, gpu_cells
from glaucoma.workspace import Workspace


class GpuState(BaseModel):
    """A GPU as it stands."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    gpu: int
    role: str | None = Field(description="By the policy file; None where it does not name the GPU.")
    drained: str | None = Field(description="Why it takes no new work; None: it does.")
    reading: GpuReading | None = Field(description="None for a GPU that is drained and the driver does not show.")
    work: tuple[Work, ...]

    def cells(self, run_names: Mapping[str, str]) -> dict[str, str]:
        """For a table.

        Args:
            run_names: Flow run -> its name.
        """
        on_it = [
            f"{run_names.get(work.run_id or '', work.run_id)}" + (f" ({work.experiment})" if work.experiment else "")
            for work in self.work
        ]
        return {
            "for": self.role or UNKNOWN,
            "takes work": "yes" if self.drained is None else f"no: {self.drained}",
            "works on": "; ".join(on_it) or "nothing",
            **gpu_cells(self.reading or GpuReading(gpu=self.gpu, error="the driver does not show it")),
        }


def gpu_states(
    reading: Reading, roles: Mapping[int, str], workspace: Workspace, work: Sequence[Work]
) -> list[GpuState]:
    """The state of each GPU that the driver shows, and of each that is drained.

    Args:
        roles: GPU -> what it is for.
        work: What works on them.
    """
    marks = {mark.gpu: mark.reason for mark in drained(workspace)}
    there = {gpu.gpu: gpu for gpu in reading.gpus}
    return [
        GpuState(
            gpu=number,
            role=roles.get(number),
            drained=marks.get(number),
            reading=there.get(number),
            work=tuple(one for one in work if one.gpu == number),
        )
        for number in sorted({*there, *marks})
    ]
