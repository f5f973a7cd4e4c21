"""The queues of the work pool for GPUs: by urgency, and by the GPU that a run asks for."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Annotated

from pydantic import Field

from glaucoma.errors import SettingsError
from glaucoma.settings import Settings
from glaucoma.training.settings import Device, ExecutionSettings

GPU_POOL = "arc-gpu"
INFERENCE_POOL = "arc-inference"
ANY, ALL = "any", "all"
URGENT, USUAL, WHENEVER = 0, 5, 10
_NAME = re.compile(r"^p(\d\d)-(any|all|gpu\d{1,2})$")

Target = Annotated[
    str,
    Field(
        pattern=r"^(any|all|gpu\d{1,2})$",
        description="any: whichever GPU is free first. gpu0, gpu1, ..: that one only. all: the whole machine.",
        examples=["any", "gpu1", "all"],
    ),
]


class QueueChoice(Settings):
    """Where in the queue for the GPUs a run stands."""

    priority: int = Field(
        default=USUAL, ge=URGENT, le=WHENEVER, description="0: before all others, to 10: when nothing else waits."
    )
    gpu: Target = ANY

    @property
    def name(self) -> str:
        """Of the work queue."""
        return queue_name(self.priority, self.gpu)


def require_fitting(queue: QueueChoice, execution: ExecutionSettings) -> None:
    """Refuses a training that its queue's workers could not run, or that would waste what they wait for.

    Raises:
        SettingsError: One GPU is asked for several devices, or the whole machine for one.
    """
    several = execution.devices > 1 and execution.device is not Device.CPU
    if several and queue.gpu != ALL:
        raise SettingsError(
            f"execution.devices is {execution.devices}, and queue.gpu is {queue.gpu}",
            expected="all: a worker of one GPU shows one to its runs",
            remedy="set queue.gpu to all, or execution.devices to 1",
        )
    if execution.devices == 1 and queue.gpu == ALL:
        raise SettingsError(
            "queue.gpu is all, and execution.devices is 1",
            expected="a process for each GPU that is waited for",
            remedy="set execution.devices to the number of GPUs for experiments, or queue.gpu to any",
        )


def queue_name(priority: int, target: str) -> str:
    """Of the work queue for runs of that priority (0 to 10) that ask for that target."""
    return f"p{priority:02d}-{target}"


def queue_names(targets: Iterable[str]) -> list[str]:
    """All queues for those targets, the most urgent first."""
    there = list(targets)
    return [queue_name(priority, target) for priority in range(URGENT, WHENEVER + 1) for target in there]


def instead_of(name: str) -> str | None:
    """The queue for any GPU of the same priority, where `name` is one for a single GPU; None for every other queue."""
    found = parse_queue(name)
    return queue_name(found[0], ANY) if found is not None and found[1] not in (ANY, ALL) else None


def parse_queue(name: str) -> tuple[int, str] | None:
    """(priority, target) of a queue of this project; None for any other name."""
    found = _NAME.match(name)
    return (int(found[1]), found[2]) if found else None
