"""The way to the NVIDIA driver: its library NVML, opened and closed, and one word for a driver that is not there."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, Protocol


class Nvml(Protocol):
    """What is used of the module `pynvml` to find the GPUs and their processes."""

    NVMLError: type[Exception]

    def nvmlInit(self) -> Any: ...  # noqa: N802
    def nvmlShutdown(self) -> Any: ...  # noqa: N802
    def nvmlDeviceGetCount(self) -> int: ...  # noqa: N802
    def nvmlDeviceGetHandleByIndex(self, index: int) -> Any: ...  # noqa: N802
    def nvmlDeviceGetComputeRunningProcesses(self, handle: Any) -> list[Any]: ...  # noqa: N802


class NvmlFigures(Nvml, Protocol):
    """What is used of it besides, to read a GPU's figures."""

    def nvmlSystemGetDriverVersion(self) -> str: ...  # noqa: N802
    def nvmlDeviceGetName(self, handle: Any) -> str: ...  # noqa: N802
    def nvmlDeviceGetUUID(self, handle: Any) -> str: ...  # noqa: N802
    def nvmlDeviceGetPciInfo(self, handle: Any) -> Any: ...  # noqa: N802
    def nvmlDeviceGetMemoryInfo(self, handle: Any) -> Any: ...  # noqa: N802
    def nvmlDeviceGetUtilizationRates(self, handle: Any) -> Any: ...  # noqa: N802
    def nvmlDeviceGetTemperature(self, handle: Any, sensor: int) -> int: ...  # noqa: N802
    def nvmlDeviceGetPowerUsage(self, handle: Any) -> int: ...  # noqa: N802
    def nvmlDeviceGetEnforcedPowerLimit(self, handle: Any) -> int: ...  # noqa: N802
    def nvmlDeviceGetFanSpeed(self, handle: Any) -> int: ...  # noqa: N802
    def nvmlDeviceGetTotalEccErrors(self, handle: Any, kind: int, counter: int) -> int: ...  # noqa: N802
    def nvmlDeviceGetCurrentClocksThrottleReasons(self, handle: Any) -> int: ...  # noqa: N802


class NoDriverError(Exception):
    """There is no driver to ask, or it refuses; the message is for people."""


@contextlib.contextmanager
def opened(nvml: Any = None) -> Iterator[Any]:
    """NVML, ready to be asked: the module `pynvml` where none is given.

    Raises:
        NoDriverError: There is no driver, or it refused what was asked inside the block.
    """
    if nvml is None:
        import pynvml

        nvml = pynvml
    try:
        nvml.nvmlInit()
    except nvml.NVMLError as error:
        raise NoDriverError(f"no NVIDIA driver ({error})") from error
    try:
        yield nvml
    except nvml.NVMLError as error:
        raise NoDriverError(f"the NVIDIA driver does not answer ({error})") from error
    finally:
        with contextlib.suppress(nvml.NVMLError):
            nvml.nvmlShutdown()
