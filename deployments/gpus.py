"""Which GPU of this machine does what, and the workers that follow from it: one for each GPU, and those without one.

The policy is a file, `gpus.yaml` beside this module or the one that `ARC_GPU_POLICY` names.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, NamedTuple, Self

import yaml
from pydantic import BeforeValidator, Field, ValidationError, model_validator

from flows.queues import ALL, ANY, GPU_POOL, queue_names
from glaucoma.errors import SettingsError, TransientError, problems
from glaucoma.machine.processes import HELD
from glaucoma.settings import Settings

CONTROL_POOL, CPU_POOL, INFERENCE_POOL = "arc-control", "arc-cpu", "arc-inference"
CONTROL, CPU, CYCLES, INFERENCE = "control", "cpu", "cycles", "inference"
WHOLE_MACHINE, GPU_WORK_ON_CPU = "gpu-all", "gpu-cpu"
"""Roles of workers; the worker of a single GPU has the role `gpu<N>`, a second one for inference `inference<N>`."""
_ROLE = rf"({CONTROL}|{CPU}|{CYCLES}|{WHOLE_MACHINE}|{GPU_WORK_ON_CPU}|gpu\d+|{INFERENCE}\d*)"
POLICY_VARIABLE = "ARC_GPU_POLICY"
_POLICY = Path(__file__).with_name("gpus.yaml")


def _plain_number(value: Any) -> Any:
    if isinstance(value, str) and value.upper().startswith(("GPU-", "MIG-")):
        raise ValueError(f"{value} is a name; write the GPU's number, as `nvidia-smi` shows it. Slices are not served")
    return value


GpuNumber = Annotated[int, Field(ge=0, le=99, strict=True), BeforeValidator(_plain_number)]


class GpuNotShownError(TransientError):
    """The policy names a GPU that the driver does not show, or not yet: after a boot it may be late."""


class Driver(NamedTuple):
    """What the driver says."""

    gpus: list[int]
    """The GPUs that it shows, by its numbers."""
    problem: str = ""
    """Why it shows none, in its own words."""


class GpuPolicy(Settings):
    """Which GPUs train, which one answers, and how much runs beside them."""

    experiment: tuple[GpuNumber, ...] = Field(
        default=(), description="GPUs for trainings, by number, one run at a time on each."
    )
    inference: tuple[GpuNumber, ...] = Field(
        default=(), description="GPUs for evaluations and explanations; no training gets one of them."
    )
    detect: bool = Field(default=True, description="Leave out GPUs that the driver does not show.")
    cpu_runs: int = Field(default=2, ge=1, le=64, description="Runs of intake and data stages at once, on the CPU.")
    cycles: int = Field(default=2, ge=1, le=64, description="Research cycles at once, beside those.")
    control_runs: int = Field(default=4, ge=1, le=64, description="Short runs that look and steer, at once.")
    poll_s: float = Field(default=5, ge=1, le=300, description="How often a worker asks the server for work, seconds.")

    @model_validator(mode="after")
    def _no_gpu_twice(self) -> Self:
        every = [*self.experiment, *self.inference]
        twice = sorted({number for number in every if every.count(number) > 1})
        if twice:
            raise ValueError(f"GPU {', '.join(map(str, twice))} is named twice; each GPU has one use")
        return self


@dataclass(frozen=True)
class WorkerSpec:
    """One worker of a machine.

    Args:
        role: What it is for; `python -m deployments.worker <role>` starts it.
        name: What the server knows it by.
        pool: The work pool it serves.
        queues: Of that pool, the most urgent first.
        limit: Runs at once.
        environment: What it and its runs are told, beside the environment it is started in.
        gpus: The GPUs that its runs see, by the driver's numbers.
    """

    role: str
    name: str
    pool: str
    queues: tuple[str, ...]
    limit: int
    environment: Mapping[str, str] = field(default_factory=dict)
    gpus: tuple[int, ...] = ()


def load_policy(path: Path | None = None) -> GpuPolicy:
    """The policy of `path`, else of the file that `ARC_GPU_POLICY` names, else of `gpus.yaml`.

    Raises:
        SettingsError: No such file, no YAML, an unknown key, a value out of bounds, or a GPU with two uses.
    """
    chosen = path or Path(os.environ.get(POLICY_VARIABLE) or _POLICY).expanduser()
    try:
        return GpuPolicy.model_validate(yaml.safe_load(chosen.read_text(encoding="utf-8")) or {})
    except (OSError, UnicodeDecodeError, yaml.YAMLError, ValidationError) as error:
        raise SettingsError(
            f"The GPU policy {chosen} cannot be used: {problems(error)}",
            expected=f"YAML with {', '.join(GpuPolicy.model_fields)}",
            consequence="No worker was started",
            remedy=f"correct it after the example of {_POLICY}, or name another file with {POLICY_VARIABLE}",
        ) from error


def ask_driver() -> Driver:
    """The GPUs that the driver shows; none where there is no driver, or where it gives an error."""
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        return Driver([], str(error))
    try:
        return Driver(list(range(pynvml.nvmlDeviceGetCount())))
    except pynvml.NVMLError as error:
        return Driver([], str(error))
    finally:
        pynvml.nvmlShutdown()


def worker_name(role: str, host: str) -> str:
    """What the server knows a worker of that machine by."""
    return f"arc-{role}-{host}"


def is_worker_of(name: str, host: str) -> bool:
    """Whether a worker of that name is one of that machine, by this policy or an earlier one."""
    return re.fullmatch(worker_name(_ROLE, re.escape(host)), name) is not None


def queue_targets(policy: GpuPolicy) -> list[str]:
    """What a run of this policy can ask for: any GPU, one of them, or all."""
    return [ANY, *(f"gpu{number}" for number in policy.experiment), ALL]


def worker_specs(policy: GpuPolicy, present: Collection[int], host: str) -> list[WorkerSpec]:
    """The workers of a machine, in the order in which they are started.

    Args:
        present: GPUs that are there, by the driver's numbers; not looked at where the policy says `detect: false`.
        host: The machine's name, part of the workers' names.
    """
    return list(_specs(policy, _usable(policy.experiment, policy, present), present, host))


def left_out(policy: GpuPolicy, present: Collection[int]) -> list[str]:
    """A line for each thing of the policy that this machine does not get, and why."""
    lines = [
        f"GPU {number} ({use}): left out, the driver does not show it"
        for use, numbers in (("trainings", policy.experiment), ("evaluations", policy.inference))
        for number in numbers
        if number not in _usable(numbers, policy, present)
    ]
    usable = _usable(policy.experiment, policy, present)
    if usable and (orphans := [f"gpu{number}" for number in policy.experiment if number not in usable]):
        lines.append(f"trainings that ask for {', '.join(orphans)} run on GPU {usable[0]}")
    if not usable:
        lines.append("no GPU for trainings: they run on the CPU")
    if not _usable(policy.inference, policy, present):
        lines.append("no GPU for evaluations: they run on the CPU")
    return lines


def spec_of(role: str, policy: GpuPolicy, driver: Driver, host: str) -> WorkerSpec:
    """The worker with that role.

    Raises:
        GpuNotShownError: The policy names its GPUs, and the driver does not show them. This may pass.
        SettingsError: This machine has none; the message says which it has, and why others were left out.
    """
    specs = worker_specs(policy, driver.gpus, host)
    for spec in specs:
        if spec.role == role:
            return spec
    if role in {spec.role for spec in worker_specs(policy.model_copy(update={"detect": False}), [], host)}:
        raise GpuNotShownError(
            f"The driver does not show the GPUs of the worker {role!r}: "
            + (driver.problem or f"it shows GPU {', '.join(map(str, driver.gpus))} only"),
            expected=f"GPU {', '.join(map(str, (*policy.experiment, *policy.inference)))}, as the GPU policy says",
            consequence="The worker was not started; systemd tries again, as the driver may be late after a boot",
            remedy=f"where nvidia-smi fails too, mend the driver; else correct the GPU policy ({POLICY_VARIABLE})",
        )
    raise SettingsError(
        f"This machine has no worker with the role {role!r}",
        expected="one of " + ", ".join(spec.role for spec in specs),
        consequence="; ".join(left_out(policy, driver.gpus)),
        remedy=f"choose another role, or change the GPU policy ({POLICY_VARIABLE})",
    )


def _usable(numbers: Sequence[int], policy: GpuPolicy, present: Collection[int]) -> tuple[int, ...]:
    return tuple(number for number in numbers if not policy.detect or number in present)


def _specs(policy: GpuPolicy, gpus: Sequence[int], present: Collection[int], host: str) -> Iterator[WorkerSpec]:
    def worker(role: str, pool: str, queues: Sequence[str], limit: int, *numbers: int) -> WorkerSpec:
        environment = {
            # NVML and `nvidia-smi` count by the slot, CUDA by speed unless it is told.
            "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
            "CUDA_VISIBLE_DEVICES": ",".join(map(str, numbers)),
            # By the driver's numbers also where CUDA counts otherwise (a container): who watches the machine asks this.
            HELD: ",".join(map(str, numbers)),
            "PREFECT_WORKER_QUERY_SECONDS": f"{policy.poll_s:g}",
        }
        return WorkerSpec(role, worker_name(role, host), pool, tuple(queues), limit, environment, numbers)

    yield worker(CONTROL, CONTROL_POOL, ["default"], policy.control_runs)
    yield worker(CPU, CPU_POOL, ["default"], policy.cpu_runs)
    # Apart from those: cycles that wait for GPUs must not take the places of intake, nor intake theirs.
    yield worker(CYCLES, CPU_POOL, ["cycles"], policy.cycles)
    orphans = [number for number in policy.experiment if number not in gpus]
    for position, number in enumerate(gpus):
        served = [number, *(orphans if position == 0 else [])]
        whole = [ALL] if len(gpus) == 1 else []  # a single GPU is the whole machine
        targets = [ANY, *(f"gpu{one}" for one in served), *whole]
        yield worker(f"gpu{number}", GPU_POOL, queue_names(targets), 1, number)
    if len(gpus) > 1:
        yield worker(WHOLE_MACHINE, GPU_POOL, queue_names([ALL]), 1, *gpus)
    if not gpus:
        yield worker(GPU_WORK_ON_CPU, GPU_POOL, queue_names(queue_targets(policy)), 1)
    answering = _usable(policy.inference, policy, present)
    for position, number in enumerate(answering):
        yield worker(f"{INFERENCE}{number if position else ''}", INFERENCE_POOL, ["default"], 1, number)
    if not answering:
        yield worker(INFERENCE, INFERENCE_POOL, ["default"], 1)
