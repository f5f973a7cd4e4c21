# ruff: noqa: N802  # names of the driver's library
"""A stand-in for the module `pynvml`, at its functions' boundary: its answers are made by hand, in NVML's own units."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from glaucoma.machine.readings import DiskReading, GpuReading, HostReading, Reading
from glaucoma.workspace import Workspace

BEGAN = datetime(2026, 1, 2, 3, 0, 0, tzinfo=UTC)


class RefusedError(Exception):
    """As `pynvml.NVMLError`."""

    def __init__(self, value: int, text: str) -> None:
        super().__init__(text)
        self.value = value


class MadeUpDriver:
    """TEST DATA: two GPUs that never were. `refuses` names functions that answer with an error, by its code."""

    NVMLError: type[Exception] = RefusedError

    def __init__(self, refuses: dict[str, tuple[int, str]] | None = None, **answers: Any) -> None:
        self.refuses, self.answers, self.opened = refuses or {}, answers, 0

    def _answer(self, name: str, usual: Any) -> Any:
        if name in self.refuses:
            raise RefusedError(*self.refuses[name])
        return self.answers.get(name, usual)

    def nvmlInit(self) -> None:
        self._answer("nvmlInit", None)
        self.opened += 1

    def nvmlShutdown(self) -> None:
        self.opened -= 1

    def nvmlDeviceGetCount(self) -> int:
        return int(self._answer("nvmlDeviceGetCount", 2))

    def nvmlSystemGetDriverVersion(self) -> str:
        return "999.1"

    def nvmlDeviceGetHandleByIndex(self, index: int) -> Any:
        return self._answer("nvmlDeviceGetHandleByIndex", SimpleNamespace(index=index))

    def nvmlDeviceGetName(self, handle: Any) -> str:
        return str(self._answer("nvmlDeviceGetName", "Made-up GPU"))

    def nvmlDeviceGetUUID(self, handle: Any) -> str:
        return f"GPU-made-up-{handle.index}"

    def nvmlDeviceGetPciInfo(self, handle: Any) -> Any:
        return SimpleNamespace(busId=f"00000000:{handle.index + 1:X}B:00.0")

    def nvmlDeviceGetMemoryInfo(self, handle: Any) -> Any:
        return self._answer("nvmlDeviceGetMemoryInfo", SimpleNamespace(used=6_000_000_000, total=24_000_000_000))

    def nvmlDeviceGetUtilizationRates(self, handle: Any) -> Any:
        return self._answer("nvmlDeviceGetUtilizationRates", SimpleNamespace(gpu=93, memory=41))

    def nvmlDeviceGetTemperature(self, handle: Any, sensor: int) -> int:
        return int(self._answer("nvmlDeviceGetTemperature", 64))

    def nvmlDeviceGetPowerUsage(self, handle: Any) -> int:
        return int(self._answer("nvmlDeviceGetPowerUsage", 251_300))

    def nvmlDeviceGetEnforcedPowerLimit(self, handle: Any) -> int:
        return int(self._answer("nvmlDeviceGetEnforcedPowerLimit", 300_000))

    def nvmlDeviceGetFanSpeed(self, handle: Any) -> int:
        return int(self._answer("nvmlDeviceGetFanSpeed", 55))

    def nvmlDeviceGetTotalEccErrors(self, handle: Any, kind: int, counter: int) -> int:
        assert counter == 0, "since the driver was loaded"
        return 7 if kind == 0 else 0

    def nvmlDeviceGetComputeRunningProcesses(self, handle: Any) -> list[Any]:
        return list(self._answer("processes", [SimpleNamespace(pid=4711, usedGpuMemory=None)]))

    def nvmlDeviceGetCurrentClocksThrottleReasons(self, handle: Any) -> int:
        return int(self._answer("throttles", 0x4 | 0x40 | 0x1))


@pytest.fixture
def workspace(tmp_path):
    return Workspace.at(tmp_path / "workspace")


@pytest.fixture
def made_up_driver() -> type[MadeUpDriver]:
    return MadeUpDriver


@pytest.fixture
def made_up() -> Callable[..., Reading]:
    """Makes a reading of TEST DATA: `minute` after a fixed moment, figures of GPU 0, and of the machine."""

    def make(minute: float = 0.0, *, free_gb: float = 500.0, left_mb: float = 50_000.0, **gpu: Any) -> Reading:
        at = BEGAN + timedelta(minutes=minute)
        known = {"memory_used_mb": 1000.0, "memory_total_mb": 10_000.0, "load_percent": 50.0, "temperature_c": 50.0}
        known |= {"memory_load_percent": 30.0, "pci": "0000:3b:00", "ecc_uncorrected": 0}
        disks = (DiskReading(what="workspace", path="/w", total_gb=1000.0, free_gb=free_gb),)
        machine = HostReading(memory_total_mb=100_000.0, memory_available_mb=left_mb, disks=disks, load_1min=1.0)
        gpus = (GpuReading(gpu=0, **{**known, **gpu}),)
        return Reading(host="made-up-host", at=at, driver="999.1", gpus=gpus, machine=machine)

    return make
