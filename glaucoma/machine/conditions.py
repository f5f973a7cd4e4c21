"""What a person is to be told of a machine: changes alone, by thresholds of which each has a way back.

Pure functions: what was told before and a reading go in; what is told now and the changes come out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from glaucoma.machine.readings import GpuReading, Reading
from glaucoma.machine.settings import ThresholdSettings
from glaucoma.machine.xid import Xid

HOT, ERROR, HUNG, FULL = "arc.gpu.hot", "arc.gpu.error", "arc.gpu.hung", "arc.gpu.memory-full"
REACHED = "arc.gpu.reached"
DISK_LOW, DISK_ENOUGH, MEMORY_LOW = "arc.disk.low", "arc.disk.enough", "arc.memory.low"
XID_SEEN = "xid seen"
"""The state that says up to when the kernel's log was read, in seconds since 1970."""

_CLOCK_S = 2.0
"""The kernel's log counts from the boot, whose time moves a little when the clock is set right."""

_HOW_TO_UNDRAIN = (
    "Where it was drained, it takes no new work until a person trusts it: "
    "prefect deployment run undrain/undrain --param config='{\"gpu\": %d}'"
)
_PLACE = ".pci."

States = Mapping[str, float]


@dataclass(frozen=True)
class Change:
    """Something that was not so before."""

    event: str
    message: str
    """For people, one sentence."""
    gpu: int | None = None
    """None: the machine."""
    drains: bool = False
    """Whether the GPU is to take no new work because of it."""
    ends: bool = False
    """Whether what is on it is to end too. Not where the driver is not heard: what computes there may be well, such as
    while a new driver is installed and its library does not speak to the old one that is still loaded."""
    figures: dict[str, float | int | str | None] = field(default_factory=dict)

    def resource(self, host: str) -> str:
        """The id by which Prefect knows what changed."""
        return f"arc.host.{host}" if self.gpu is None else f"arc.gpu.{host}.{self.gpu}"


def judge(
    reading: Reading, xids: Iterable[Xid], before: States, settings: ThresholdSettings
) -> tuple[dict[str, float], list[Change]]:
    """What is told now, and what changed.

    Args:
        xids: Of the kernel's log; those that were judged before are left out by their time.
        before: As the last call gave it; empty at the first.
    """
    now, changes = dict(before), []
    for gpu in reading.gpus:
        changes += [*_of_gpu(gpu, now, settings)]
    changes += [*_gone(reading, now), *_of_xids(reading, xids, now, settings), *_of_machine(reading, now, settings)]
    return now, changes


def out_of_reach(readings: Sequence[Reading], states: States) -> list[int]:
    """The GPUs that the driver could reach in none of these readings: an error each time, or not shown though known.

    Args:
        states: As `judge` gave them for the last one.
    """
    known = {int(key.removeprefix("gpu").removesuffix(".there")) for key in states if key.endswith(".there")}
    reached = {gpu.gpu for reading in readings for gpu in reading.gpus if gpu.error is None}
    return sorted(known - reached)


def crosses(was: bool, value: float | None, begins: float, ends: float) -> bool:
    """Whether it is so now: from `begins` on (whichever side that is) until `ends`; unknown changes nothing."""
    if value is None:
        return was
    if begins > ends:
        return value > ends if was else value >= begins
    return value < ends if was else value < begins


def _of_gpu(gpu: GpuReading, now: dict[str, float], settings: ThresholdSettings) -> Iterator[Change]:
    name = f"GPU {gpu.gpu}"
    for key, event, value, begins, ends, unit in (
        ("hot", HOT, gpu.temperature_c, settings.hot_c, settings.cool_c, "°C"),
        ("full", FULL, gpu.memory_used_percent, settings.memory_full_percent, settings.memory_free_percent, "%"),
    ):
        if _begins(now, f"gpu{gpu.gpu}.{key}", value, begins, ends):
            what = "is hot" if event == HOT else "has its memory full"
            message = f"{name} {what}: {value:.0f} {unit}, the limit is {begins:g} {unit}"
            yield Change(event, message, gpu.gpu, figures=_shown(gpu))
    was_out_of_reach = bool(now.get(f"gpu{gpu.gpu}.error")) or now.get(f"gpu{gpu.gpu}.there") == 0.0
    if _begins(now, f"gpu{gpu.gpu}.error", 0.0 if gpu.error is None else 1.0, 1.0, 0.5):
        yield Change(ERROR, f"The driver cannot reach {name}: {gpu.error}", gpu.gpu, drains=True, figures=_shown(gpu))
    if was_out_of_reach and gpu.error is None:
        yield Change(REACHED, f"The driver reaches {name} again. {_HOW_TO_UNDRAIN % gpu.gpu}", gpu.gpu)
    if gpu.ecc_uncorrected is not None:
        known = now.get(f"gpu{gpu.gpu}.ecc", 0.0)
        now[f"gpu{gpu.gpu}.ecc"] = gpu.ecc_uncorrected
        if gpu.ecc_uncorrected > known:
            message = f"{name} has {gpu.ecc_uncorrected} memory errors that could not be corrected"
            yield Change(ERROR, message, gpu.gpu, drains=True, ends=True, figures=_shown(gpu))
    now[f"gpu{gpu.gpu}.there"] = 1.0


def _gone(reading: Reading, now: dict[str, float]) -> Iterator[Change]:
    """GPUs that were there before and are not shown any more."""
    there = {gpu.gpu for gpu in reading.gpus}
    for key in [key for key in now if key.startswith("gpu") and key.endswith(".there")]:
        number = int(key.removeprefix("gpu").removesuffix(".there"))
        if number not in there and now[key]:
            now[key] = 0.0
            why = reading.no_gpus or f"it shows {len(there)}"
            message = f"GPU {number} is gone: the driver does not show it any more ({why})"
            yield Change(ERROR, message, number, drains=True)


def _places(reading: Reading, now: dict[str, float]) -> dict[str, int]:
    """Where each GPU sits, or last sat: of one that fell off its bus the driver does not tell it any more."""
    for gpu in reading.gpus:
        if gpu.pci is not None:
            for key in [key for key in now if key.startswith(f"gpu{gpu.gpu}{_PLACE}")]:
                del now[key]
            now[f"gpu{gpu.gpu}{_PLACE}{gpu.pci}"] = 1.0
    found = [key.removeprefix("gpu").split(_PLACE) for key in now if _PLACE in key]
    return {pci: int(number) for number, pci in found}


def _of_xids(
    reading: Reading, xids: Iterable[Xid], now: dict[str, float], settings: ThresholdSettings
) -> Iterator[Change]:
    places = _places(reading, now)
    seen = now.get(XID_SEEN, -_CLOCK_S)
    for xid in sorted(xids, key=lambda one: one.at):
        at = xid.at.timestamp()
        if at <= seen + _CLOCK_S:
            continue
        now[XID_SEEN] = max(now.get(XID_SEEN, 0.0), at)
        if xid.code in settings.fatal_xids and xid.pci in places:
            gpu = places[xid.pci]
            message = f"GPU {gpu} reports Xid {xid.code} ({xid.text or 'no text'})"
            figures: dict[str, float | int | str | None] = {"xid": xid.code, "xid_text": xid.text, "pci": xid.pci}
            yield Change(ERROR, message, gpu, drains=True, ends=True, figures=figures)


def _of_machine(reading: Reading, now: dict[str, float], settings: ThresholdSettings) -> Iterator[Change]:
    machine = reading.machine
    free = [disk.free_gb for disk in machine.disks if disk.free_gb is not None]
    least = min(free, default=None)
    figures: dict[str, float | int | str | None] = {
        **{f"{disk.what.replace(' ', '_')}_free_gb": disk.free_gb for disk in machine.disks},
        "memory_available_mb": machine.memory_available_mb,
    }
    was = bool(now.get("disk.low"))
    if _begins(now, "disk.low", least, settings.disk_low_gb, settings.disk_enough_gb):
        message = f"{least:.1f} GB are free on a disk of {reading.host}, the limit is {settings.disk_low_gb:g} GB"
        yield Change(DISK_LOW, message, figures=figures)
    elif was and not now["disk.low"]:
        yield Change(DISK_ENOUGH, f"{least:.1f} GB are free on the disks of {reading.host} again", figures=figures)
    left = machine.memory_available_percent
    low, enough = settings.host_memory_low_percent, settings.host_memory_enough_percent
    if _begins(now, "memory.low", left, low, enough):
        message = f"{left:.1f} % of the memory of {reading.host} is left, the limit is {low:g} %"
        yield Change(MEMORY_LOW, message, figures=figures)


def _begins(now: dict[str, float], key: str, value: float | None, begins: float, ends: float) -> bool:
    """Notes whether it is so, and says whether it was not so before."""
    was = bool(now.get(key))
    now[key] = float(crosses(was, value, begins, ends))
    return bool(now[key]) and not was


def _shown(gpu: GpuReading) -> dict[str, float | int | str | None]:
    return {
        "gpu_name": gpu.name,
        "temperature_c": gpu.temperature_c,
        "memory_used_mb": gpu.memory_used_mb,
        "memory_total_mb": gpu.memory_total_mb,
        "load_percent": gpu.load_percent,
        "power_w": gpu.power_w,
        "ecc_uncorrected": gpu.ecc_uncorrected,
        "error": gpu.error,
    }
