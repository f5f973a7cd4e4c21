"""A machine's figures as rows of a table; a dash where a figure is not known."""

from __future__ import annotations

from typing import Any

from glaucoma.machine.readings import GpuReading, HostReading, Reading

UNKNOWN = "-"


def machine_rows(reading: Reading) -> list[dict[str, Any]]:
    """A row for each GPU, and one for the machine."""
    rows = [_row(f"GPU {gpu.gpu}", gpu_cells(gpu)) for gpu in reading.gpus]
    return [*rows, _row(reading.host, host_cells(reading.machine))]


def gpu_cells(gpu: GpuReading) -> dict[str, str]:
    """A GPU's figures, by what they are called in a table."""
    used, total = number(gpu.memory_used_mb, 1000), number(gpu.memory_total_mb, 1000)
    power, limit = number(gpu.power_w), number(gpu.power_limit_w)
    notes = [gpu.error or "", ", ".join(gpu.throttled or ())]
    if gpu.ecc_uncorrected:
        notes.append(f"{gpu.ecc_uncorrected} uncorrected memory errors")
    if gpu.ecc_corrected:
        notes.append(f"{gpu.ecc_corrected} corrected memory errors")
    return {
        "name": gpu.name or UNKNOWN,
        "memory used/total GB": f"{used}/{total}",
        "load %": number(gpu.load_percent),
        "memory bus %": number(gpu.memory_load_percent),
        "temperature °C": number(gpu.temperature_c),
        "power/limit W": f"{power}/{limit}",
        "fan %": number(gpu.fan_percent),
        "processes": UNKNOWN if gpu.processes is None else str(len(gpu.processes)),
        "notes": "; ".join(note for note in notes if note),
    }


def host_cells(machine: HostReading) -> dict[str, str]:
    """The machine's figures, in the same columns where they fit."""
    total = machine.memory_total_mb
    left = machine.memory_available_mb
    used = None if total is None or left is None else total - left
    disks = [f"{disk.what}: {number(disk.free_gb)} of {number(disk.total_gb)} GB free" for disk in machine.disks]
    up = UNKNOWN if machine.uptime_s is None else f"{machine.uptime_s / 86_400:.1f} days"
    load = UNKNOWN if machine.load_1min is None else f"{machine.load_1min:.1f}"
    return {
        "name": f"{machine.cpus or UNKNOWN} cores",
        "memory used/total GB": f"{number(used, 1000)}/{number(total, 1000)}",
        "notes": "; ".join([f"load {load}", f"swap {number(machine.swap_used_mb, 1000)} GB", *disks, f"up {up}"]),
    }


def number(value: float | None, unit: float = 1.0) -> str:
    """Three digits or so; a dash where it is not known."""
    if value is None:
        return UNKNOWN
    return f"{value / unit:.1f}" if abs(value / unit) < 100 else f"{value / unit:.0f}"


def _row(what: str, cells: dict[str, str]) -> dict[str, Any]:
    columns = dict.fromkeys(gpu_cells(GpuReading(gpu=0)), "")
    return {"what": what, **columns, **cells}
