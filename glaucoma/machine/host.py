"""The machine around the GPUs: load, memory, disks. And one reading of all of it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil

from glaucoma.machine.drained import this_host
from glaucoma.machine.gpus import read_gpus
from glaucoma.machine.nvml import NvmlFigures
from glaucoma.machine.readings import DiskReading, HostReading, Reading

_MB, _GB = 1e6, 1e9


def read_machine(folders: Mapping[str, Path], at: datetime, nvml: NvmlFigures | None = None) -> Reading:
    """All that is known of this machine now.

    Args:
        folders: What for -> a folder on the disk to watch.
        at: The time of the reading.
        nvml: The module to ask; `pynvml` where not given.
    """
    found = read_gpus(nvml)
    return Reading(
        host=this_host(),
        at=at,
        driver=found.driver,
        gpus=found.gpus,
        no_gpus=found.none_because,
        machine=read_host(folders, at),
    )


def read_host(folders: Mapping[str, Path], at: datetime) -> HostReading:
    """Load, memory and disks of this machine; what the system does not tell is None, with the reason."""
    unknown: dict[str, str] = {}

    def ask(figure: str, read: Any) -> Any:
        try:
            return read()
        except (OSError, psutil.Error, RuntimeError) as error:  # RuntimeError: psutil without /proc/vmstat
            unknown[figure] = str(error)
            return None

    load = ask("load_1min", os.getloadavg)
    memory = ask("memory", psutil.virtual_memory)
    swap = ask("swap", psutil.swap_memory)
    booted = ask("uptime_s", psutil.boot_time)
    disks = []
    for what, path in folders.items():
        usage = ask(f"disk of {what}", lambda path=path: shutil.disk_usage(_there(path)))
        total, free = (None, None) if usage is None else (usage.total / _GB, usage.free / _GB)
        disks.append(DiskReading(what=what, path=str(path), total_gb=total, free_gb=free))
    return HostReading(
        cpus=os.cpu_count(),
        load_1min=None if load is None else load[0],
        memory_total_mb=None if memory is None else memory.total / _MB,
        memory_available_mb=None if memory is None else memory.available / _MB,
        swap_total_mb=None if swap is None else swap.total / _MB,
        swap_used_mb=None if swap is None else swap.used / _MB,
        disks=tuple(disks),
        uptime_s=None if booted is None else max(0.0, at.timestamp() - booted),
        unknown=unknown,
    )


def _there(path: Path) -> Path:
    """`path`, or the nearest folder above it that is there."""
    return next(place for place in (path, *path.absolute().parents) if place.exists())
