"""A glance at this machine: processors, memory, disk, GPUs. What cannot be asked is not made up."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import psutil
from pydantic import BaseModel, ConfigDict, Field

from glaucoma.machine.drained import Drained, drained, this_host
from glaucoma.workspace import Workspace


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class GpuGlance(_Part):
    """One GPU, as its driver says."""

    gpu: int
    name: str
    memory_used_mb: float
    memory_total_mb: float
    drained: str = Field(description="Why it takes no new work; empty where it does.")


class MachineGlance(_Part):
    """The machine that the question was asked on."""

    host: str
    cpus: int
    load_1min: float
    memory_available_mb: float
    memory_total_mb: float
    disk: Path = Field(description="The workspace, whose disk it is.")
    disk_free_gb: float
    disk_total_gb: float
    gpus: list[GpuGlance]
    no_gpus: str = Field(description="Why there are none; empty where there are.")


def glance(workspace: Workspace) -> MachineGlance:
    """How this machine stands now."""
    memory, disk = psutil.virtual_memory(), shutil.disk_usage(workspace.root)
    gpus, why = _gpus({one.gpu: one for one in drained(workspace)})
    return MachineGlance(
        host=this_host(),
        cpus=os.cpu_count() or 1,
        load_1min=os.getloadavg()[0],
        memory_available_mb=memory.available / 1e6,
        memory_total_mb=memory.total / 1e6,
        disk=workspace.root,
        disk_free_gb=disk.free / 1e9,
        disk_total_gb=disk.total / 1e9,
        gpus=gpus,
        no_gpus=why,
    )


def _gpus(marked: dict[int, Drained]) -> tuple[list[GpuGlance], str]:
    import pynvml

    nvml: Any = pynvml
    try:
        nvml.nvmlInit()
    except nvml.NVMLError as error:
        return [], f"no NVIDIA driver ({error})"
    try:
        found = [_gpu(nvml, number, marked.get(number)) for number in range(nvml.nvmlDeviceGetCount())]
    except nvml.NVMLError as error:
        return [], f"the NVIDIA driver does not answer ({error})"
    finally:
        nvml.nvmlShutdown()
    return found, "" if found else "the NVIDIA driver sees no GPU"


def _gpu(nvml: Any, number: int, mark: Drained | None) -> GpuGlance:
    handle = nvml.nvmlDeviceGetHandleByIndex(number)
    memory, name = nvml.nvmlDeviceGetMemoryInfo(handle), nvml.nvmlDeviceGetName(handle)
    return GpuGlance(
        gpu=number,
        name=name.decode() if isinstance(name, bytes) else str(name),
        memory_used_mb=memory.used / 1e6,
        memory_total_mb=memory.total / 1e6,
        drained=mark.reason if mark else "",
    )
