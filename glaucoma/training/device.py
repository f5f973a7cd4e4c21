"""The device of a training: which one, held by whom, how full."""

from __future__ import annotations

import contextlib
import functools
import gc
import os
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from glaucoma.errors import SettingsError
from glaucoma.schema import Task
from glaucoma.training.gpu_locks import Wait, hold, join, lock_folder
from glaucoma.training.settings import Device
from glaucoma.workspace import Workspace

_DATA_SHARE = 0.4
"""Of the free GPU memory, how much the images may take; beyond it they stay in the machine's memory."""


def choose_device(wanted: Device, local_rank: int = 0) -> torch.device:
    """The device to train on: of several processes of one machine, each its own GPU.

    Raises:
        SettingsError: A GPU is asked for and none is visible, or fewer than there are processes.
    """
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if wanted is Device.CUDA and count == 0:
        raise SettingsError(
            "No GPU is visible to this process",
            expected="a CUDA device, since device is cuda",
            remedy="set device to auto or cpu, or check the driver and CUDA_VISIBLE_DEVICES",
        )
    if wanted is Device.CPU or count == 0:
        return torch.device("cpu")
    if local_rank >= count:
        raise SettingsError(
            f"This is process {local_rank + 1} of this machine, and {count} GPU(s) are visible to it",
            expected="a GPU for each process",
            consequence="Nothing was trained",
            remedy="lower execution.devices, check CUDA_VISIBLE_DEVICES, or set device to cpu",
        )
    return torch.device("cuda", local_rank)


@contextlib.contextmanager
def held(
    device: torch.device, workspace: Workspace, wait: Wait, *, local_rank: int = 0, local_world: int = 1
) -> Iterator[None]:
    """Holds the GPU for this process, or all GPUs of its training on this machine; a CPU is not held.

    Args:
        wait: Called again and again while another training holds them, with what is waited for; may raise.
        local_rank: Of this process among those of its training on this machine; the first takes the GPUs of all.
        local_world: How many those are.
    """
    if device.type != "cuda":
        yield
        return
    folder = lock_folder(workspace)
    if local_world == 1:
        holding = hold([gpu_name(device.index or 0)], folder, wait)
    elif local_rank == 0:
        visible = range(min(local_world, torch.cuda.device_count()))  # a process without one tells that itself
        holding = hold([gpu_name(number) for number in visible], folder, wait, _launch())
    else:
        holding = join(gpu_name(local_rank), folder, wait, _launch())
    with holding:
        yield


def gpu_name(number: int) -> str:
    """What a GPU that this process sees is called among all of the machine: its UUID, else its number there."""
    uuid = getattr(torch.cuda.get_device_properties(number), "uuid", None) if torch.cuda.is_available() else None
    if uuid is not None:
        return str(uuid)
    visible = [one.strip() for one in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if one.strip()]
    return visible[number] if number < len(visible) else str(number)


def _launch() -> str:
    """What all processes of one start of a training on this machine have in common, and no others."""
    told = (os.environ.get(name, "") for name in ("TORCHELASTIC_RUN_ID", "TORCHELASTIC_RESTART_COUNT"))
    return ":".join([*told, str(os.getppid())])


def configure(device: torch.device, threads: int, *, deterministic: bool) -> None:
    """Sets threads and, on a GPU, speed against determinism."""
    torch.set_num_threads(threads)
    if device.type == "cuda":
        torch.cuda.set_device(device)
        torch.backends.cudnn.benchmark = not deterministic
        torch.use_deterministic_algorithms(deterministic, warn_only=True)
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")


def computes_bfloat16(device: torch.device) -> bool:
    """True where the GPU computes in bfloat16 itself; a CPU without it is many times slower with it."""
    return device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)


def placed(model: nn.Module, device: torch.device, task: Task) -> nn.Module:
    """`model` on `device`, its weights laid out as is fastest there.

    Channels last is that on a GPU, and for a U-Net on a CPU too (a step of the small one takes 0.6 of the time); the
    small classifier gains nothing by it there.
    """
    if device.type == "cuda" or task is Task.SEGMENTATION:
        model = model.to(memory_format=torch.channels_last)
    return model.to(device)


def seed_torch(seed: int, device: torch.device) -> None:
    """Seeds what torch draws from by default, on the CPU and on `device`.

    As `torch.manual_seed`, which takes half a millisecond where CUDA is not in use: for each device that might be used
    later it keeps the call, with a trace of where it came from.
    """
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)


def release(device: torch.device) -> None:
    """Gives back the GPU memory that nothing uses any more; the caller has let go of its tensors."""
    if device.type == "cuda":
        gc.collect()
        torch.cuda.empty_cache()


def fits(device: torch.device, n_bytes: int) -> bool:
    """True where the images can lie on the device for the whole run; always on a CPU, where they are already."""
    if device.type != "cuda":
        return True
    free, _ = torch.cuda.mem_get_info(device)
    return n_bytes < free * _DATA_SHARE


def memory_mb(device: torch.device) -> float | None:
    """Highest GPU memory so far, in MB; None on a CPU."""
    return torch.cuda.max_memory_allocated(device) / 1e6 if device.type == "cuda" else None


def utilization_percent(device: torch.device) -> float | None:
    """How busy the GPU is just now, by NVML; None on a CPU, and where the driver does not tell (a slice of a GPU)."""
    if device.type != "cuda":
        return None
    import pynvml

    try:
        handle = _nvml_handle(str(torch.cuda.get_device_properties(device).uuid))
        return float(pynvml.nvmlDeviceGetUtilizationRates(handle).gpu)
    except pynvml.NVMLError:
        return None


@functools.cache
def _nvml_handle(uuid: str) -> Any:
    """NVML counts GPUs in another order than CUDA does, so the GPU is found by its id."""
    import pynvml

    pynvml.nvmlInit()
    return pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{uuid}")
