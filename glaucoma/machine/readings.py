"""What is read of a machine: each figure with its unit, or unknown with the reason; never made up."""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field

WORKSPACE, HOME = "workspace", "prefect home"
"""What the watched disks are for."""


class _Figures(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class GpuProcess(_Figures):
    """A process that computes on a GPU. In a container its number may be the host's, and no process here has it."""

    pid: int
    memory_mb: float | None = Field(description="None where the driver does not say.")


class GpuReading(_Figures):
    """One GPU at one moment, by NVML."""

    gpu: int = Field(description="Its number, as the driver counts.")
    uuid: str | None = None
    name: str | None = None
    pci: str | None = Field(default=None, description="Where it sits, as the kernel's log names it: 0000:3b:00.")
    memory_used_mb: float | None = None
    memory_total_mb: float | None = None
    load_percent: float | None = Field(default=None, description="Share of the time in which it computed.")
    memory_load_percent: float | None = Field(default=None, description="Share of it in which its memory moved.")
    temperature_c: float | None = None
    power_w: float | None = None
    power_limit_w: float | None = None
    fan_percent: float | None = None
    ecc_corrected: int | None = Field(default=None, description="Since the driver was loaded.")
    ecc_uncorrected: int | None = Field(default=None, description="Since the driver was loaded.")
    processes: tuple[GpuProcess, ...] | None = None
    throttled: tuple[str, ...] | None = Field(default=None, description="Why its clock is lower than it could be.")
    error: str | None = Field(default=None, description="What the driver says of a GPU that it cannot reach.")
    unknown: dict[str, str] = Field(default_factory=dict, description="Figure -> why it is not known.")

    @property
    def memory_used_percent(self) -> float | None:
        if self.memory_used_mb is None or not self.memory_total_mb:
            return None
        return 100.0 * self.memory_used_mb / self.memory_total_mb


class DiskReading(_Figures):
    """The file system that holds a folder."""

    what: str
    path: str
    total_gb: float | None = None
    free_gb: float | None = None


class HostReading(_Figures):
    """The machine around the GPUs."""

    cpus: int | None = None
    load_1min: float | None = Field(default=None, description="Processes that ran or wanted to, mean of a minute.")
    memory_total_mb: float | None = None
    memory_available_mb: float | None = None
    swap_total_mb: float | None = None
    swap_used_mb: float | None = None
    disks: tuple[DiskReading, ...] = ()
    uptime_s: float | None = None
    unknown: dict[str, str] = Field(default_factory=dict, description="Figure -> why it is not known.")

    @property
    def memory_available_percent(self) -> float | None:
        if self.memory_available_mb is None or not self.memory_total_mb:
            return None
        return 100.0 * self.memory_available_mb / self.memory_total_mb

    def free_gb(self, what: str) -> float | None:
        """Of the disk that is for `what`; None where it is not known."""
        return next((disk.free_gb for disk in self.disks if disk.what == what), None)


class Reading(_Figures):
    """A machine at one moment."""

    host: str
    at: datetime
    driver: str | None = Field(default=None, description="Its version; None where there is none.")
    gpus: tuple[GpuReading, ...] = ()
    no_gpus: str = Field(default="", description="Why there are none; empty where there are some.")
    machine: HostReading
