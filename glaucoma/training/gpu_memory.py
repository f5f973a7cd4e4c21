"""Whether the GPUs are free of processes that have ended, by the driver's own account (NVML).

A killed process gives its GPU memory back when the driver has torn its context down, a moment after it is gone. In a
container that does not see the host's process ids, the driver may name other ids or none: then nothing is found, and
the answer is only as good as that.
"""

from __future__ import annotations

import time
from collections.abc import Collection
from dataclasses import dataclass

from glaucoma.machine.nvml import NoDriverError, Nvml, opened

WAIT_S = 2.0
_LOOK_EVERY_S = 0.05


@dataclass(frozen=True)
class GpuRelease:
    """What was seen of the GPUs after some processes ended."""

    checked: bool
    """False where there is no driver or no GPU to ask."""
    held_mb: dict[int, float | None]
    """By process id: what is still held; None where the driver does not say how much."""
    message: str

    @property
    def free(self) -> bool:
        return not self.held_mb


def wait_until_free(pids: Collection[int], timeout_s: float = WAIT_S, nvml: Nvml | None = None) -> GpuRelease:
    """Waits until none of `pids` is among the GPUs' compute processes, at most `timeout_s`.

    Without a GPU or a driver it says so and does nothing.

    Args:
        nvml: The module to ask; `pynvml` where not given.
    """
    until = time.monotonic() + timeout_s
    try:
        with opened(nvml) as module:
            while True:
                held = _held(module, pids)
                if not held or time.monotonic() >= until:
                    break
                time.sleep(_LOOK_EVERY_S)
            count = module.nvmlDeviceGetCount()
    except NoDriverError as error:
        return GpuRelease(False, {}, f"GPU memory not checked: {error}")
    if not count:
        return GpuRelease(False, {}, "GPU memory not checked: the driver sees no GPU")
    if held:
        shown = ", ".join(f"process {pid} holds {_shown(mb)}" for pid, mb in sorted(held.items()))
        return GpuRelease(True, held, f"{timeout_s:g} s after the training's end its GPU memory is not free: {shown}")
    return GpuRelease(True, {}, f"GPU memory checked on {count} GPUs: none of the ended processes holds any")


def _held(nvml: Nvml, pids: Collection[int]) -> dict[int, float | None]:
    held: dict[int, float | None] = {}
    for index in range(nvml.nvmlDeviceGetCount()):
        for process in nvml.nvmlDeviceGetComputeRunningProcesses(nvml.nvmlDeviceGetHandleByIndex(index)):
            if process.pid in pids:
                used = None if process.usedGpuMemory is None else process.usedGpuMemory / 1e6
                before = held.get(process.pid)
                held[process.pid] = used if before is None else before + (used or 0.0)
    return held


def _shown(mb: float | None) -> str:
    return "memory of an amount that the driver does not say" if mb is None else f"{mb:.0f} MB"
