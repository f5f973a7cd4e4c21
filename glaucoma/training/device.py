"""The device of a training: which one, held by whom, how full."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Callable, Iterator

import torch

from glaucoma.errors import SettingsError
from glaucoma.training.settings import Device
from glaucoma.workspace import Workspace

_DATA_SHARE = 0.4
"""Of the free GPU memory, how much the images may take; beyond it they stay in the machine's memory."""


def choose_device(wanted: Device) -> torch.device:
    """The device to train on; `SettingsError` where a GPU is asked for and none is visible."""
    available = torch.cuda.is_available()
    if wanted is Device.CUDA and not available:
        raise SettingsError(
            "No GPU is visible to this process",
            expected="a CUDA device, since device is cuda",
            remedy="set device to auto or cpu, or check the driver and CUDA_VISIBLE_DEVICES",
        )
    return torch.device("cuda", 0) if available and wanted is not Device.CPU else torch.device("cpu")


@contextlib.contextmanager
def held(device: torch.device, workspace: Workspace, wait: Callable[[], None]) -> Iterator[None]:
    """Holds the GPU for this process; while another one holds it, calls `wait`, which may raise. A CPU is not held."""
    if device.type != "cuda":
        yield
        return
    path = workspace.locks / f"gpu-{torch.cuda.get_device_properties(device).uuid}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as handle:
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                wait()
        yield


def configure(device: torch.device, threads: int, *, deterministic: bool) -> None:
    """Sets threads and, on a GPU, speed against determinism."""
    torch.set_num_threads(threads)
    if device.type == "cuda":
        torch.backends.cudnn.benchmark = not deterministic
        torch.use_deterministic_algorithms(deterministic, warn_only=True)
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")


def uses_bfloat16(device: torch.device) -> bool:
    """True where the GPU computes in bfloat16 itself; a CPU without it is many times slower with it."""
    return device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)


def fits(device: torch.device, n_bytes: int) -> bool:
    """True where the images can lie on the device for the whole run; always on a CPU, where they are already."""
    if device.type != "cuda":
        return True
    free, _ = torch.cuda.mem_get_info(device)
    return n_bytes < free * _DATA_SHARE


def memory_mb(device: torch.device) -> float | None:
    """Highest GPU memory so far, in MB; None on a CPU."""
    return torch.cuda.max_memory_allocated(device) / 1e6 if device.type == "cuda" else None
