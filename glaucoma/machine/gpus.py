"""The GPUs of this machine, read by NVML."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from glaucoma.machine.nvml import NoDriverError, NvmlFigures, opened
from glaucoma.machine.readings import GpuProcess, GpuReading

T = TypeVar("T")
_MB = 1e6
_TEMPERATURE_GPU = 0
_CORRECTED, _UNCORRECTED, _SINCE_LOADED = 0, 1, 0
_UNREACHABLE = {10: "timeout", 11: "interrupts", 15: "lost", 16: "reset required", 18: "mismatch", 999: "unknown"}
"""NVML's error codes that tell of a GPU out of reach; all others tell of a figure that it does not have."""
_THROTTLES = {
    0x002: "application clocks",
    0x004: "power cap",
    0x008: "hardware slowdown",
    0x010: "sync boost",
    0x020: "too hot (driver)",
    0x040: "too hot (hardware)",
    0x080: "power brake",
    0x100: "display clocks",
    0x200: "board limit",
    0x400: "reliability",
}


@dataclass(frozen=True)
class Gpus:
    """What the driver shows."""

    driver: str | None
    gpus: tuple[GpuReading, ...]
    none_because: str
    """Empty where there are GPUs."""


def read_gpus(nvml: NvmlFigures | None = None) -> Gpus:
    """All GPUs that the driver shows; where there are none, why.

    Args:
        nvml: The module to ask; `pynvml` where not given.
    """
    try:
        with opened(nvml) as module:
            driver = str(module.nvmlSystemGetDriverVersion())
            found = tuple(_read(module, number) for number in range(module.nvmlDeviceGetCount()))
    except NoDriverError as error:
        return Gpus(None, (), str(error))
    return Gpus(driver, found, "" if found else "the driver shows no GPU")


class _Asker:
    """Asks for one figure after the other, and writes down why one is not known."""

    def __init__(self, nvml: NvmlFigures) -> None:
        self._nvml = nvml
        self.unknown: dict[str, str] = {}
        self.error: str | None = None

    def __call__(self, figure: str, ask: Callable[[], T]) -> T | None:
        try:
            return ask()
        except self._nvml.NVMLError as error:
            self.unknown[figure] = str(error)
            if getattr(error, "value", None) in _UNREACHABLE:
                self.error = str(error)
            return None


def _read(nvml: NvmlFigures, number: int) -> GpuReading:
    ask = _Asker(nvml)
    gpu = ask("gpu", lambda: nvml.nvmlDeviceGetHandleByIndex(number))
    if gpu is None:
        return GpuReading(gpu=number, error=ask.error or ask.unknown["gpu"], unknown=ask.unknown)
    memory = ask("memory", lambda: nvml.nvmlDeviceGetMemoryInfo(gpu))
    load = ask("load", lambda: nvml.nvmlDeviceGetUtilizationRates(gpu))
    temperature = ask("temperature_c", lambda: nvml.nvmlDeviceGetTemperature(gpu, _TEMPERATURE_GPU))
    power = ask("power_w", lambda: nvml.nvmlDeviceGetPowerUsage(gpu))
    limit = ask("power_limit_w", lambda: nvml.nvmlDeviceGetEnforcedPowerLimit(gpu))
    fan = ask("fan_percent", lambda: nvml.nvmlDeviceGetFanSpeed(gpu))
    corrected = ask("ecc_corrected", lambda: nvml.nvmlDeviceGetTotalEccErrors(gpu, _CORRECTED, _SINCE_LOADED))
    uncorrected = ask("ecc_uncorrected", lambda: nvml.nvmlDeviceGetTotalEccErrors(gpu, _UNCORRECTED, _SINCE_LOADED))
    processes = ask("processes", lambda: nvml.nvmlDeviceGetComputeRunningProcesses(gpu))
    throttles = ask("throttled", lambda: nvml.nvmlDeviceGetCurrentClocksThrottleReasons(gpu))
    pci = ask("pci", lambda: nvml.nvmlDeviceGetPciInfo(gpu))
    return GpuReading(
        gpu=number,
        uuid=ask("uuid", lambda: str(nvml.nvmlDeviceGetUUID(gpu))),
        name=ask("name", lambda: str(nvml.nvmlDeviceGetName(gpu))),
        pci=None if pci is None else pci_of(pci.busId),
        memory_used_mb=None if memory is None else memory.used / _MB,
        memory_total_mb=None if memory is None else memory.total / _MB,
        load_percent=None if load is None else float(load.gpu),
        memory_load_percent=None if load is None else float(load.memory),
        temperature_c=None if temperature is None else float(temperature),
        power_w=None if power is None else power / 1000.0,
        power_limit_w=None if limit is None else limit / 1000.0,
        fan_percent=None if fan is None else float(fan),
        ecc_corrected=corrected,
        ecc_uncorrected=uncorrected,
        processes=None if processes is None else tuple(_process(one) for one in processes),
        throttled=None if throttles is None else tuple(why for bit, why in _THROTTLES.items() if throttles & bit),
        error=ask.error,
        unknown=ask.unknown,
    )


def pci_of(bus: str | bytes) -> str:
    """`0000:3b:00`, as the kernel's log names it, of NVML's `00000000:3B:00.0`."""
    text = bus.decode() if isinstance(bus, bytes) else bus
    domain, number, slot = text.lower().partition(".")[0].split(":")
    return f"{domain[-4:]}:{number}:{slot}"


def _process(process: Any) -> GpuProcess:
    used = process.usedGpuMemory
    return GpuProcess(pid=process.pid, memory_mb=None if used is None else used / _MB)
