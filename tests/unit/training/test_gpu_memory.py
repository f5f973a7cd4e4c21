# ruff: noqa: N802  # names of the driver's library
"""What NVML says after the end of a training. NVML itself is a stand-in here: its answers are made by hand."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from glaucoma.training.gpu_memory import wait_until_free


class RefusedError(Exception):
    """As `pynvml.NVMLError`."""


class Driver:
    """As the module `pynvml`: two GPUs, and for each look what their compute processes are."""

    NVMLError: type[Exception] = RefusedError

    def __init__(self, *looks: dict[int, int | None]) -> None:
        self.looks = list(looks)
        self.opened = 0

    def nvmlInit(self) -> None:
        self.opened += 1

    def nvmlShutdown(self) -> None:
        self.opened -= 1

    def nvmlDeviceGetCount(self) -> int:
        return 2

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        return index

    def nvmlDeviceGetComputeRunningProcesses(self, handle: int) -> list[Any]:
        if handle == 0:
            return [SimpleNamespace(pid=1, usedGpuMemory=5_000_000)]
        look = self.looks.pop(0) if len(self.looks) > 1 else self.looks[0]
        return [SimpleNamespace(pid=pid, usedGpuMemory=used) for pid, used in look.items()]


def test_memory_that_the_driver_frees_a_moment_later_is_waited_for() -> None:
    driver = Driver({77: 3_000_000_000}, {77: 1_000_000}, {})
    release = wait_until_free({77, 78}, 60, driver)
    assert release.checked
    assert release.free
    assert driver.opened == 0


def test_memory_that_stays_is_told_with_process_and_megabytes() -> None:
    release = wait_until_free({77, 78}, 0.0, Driver({77: 3_000_000_000, 78: None}))
    assert release.held_mb == {77: 3000.0, 78: None}
    assert not release.free
    assert "process 77 holds 3000 MB" in release.message
    assert "process 78 holds memory of an amount that the driver does not say" in release.message


def test_other_processes_of_the_gpu_are_nobodys_business() -> None:
    assert wait_until_free({77}, 60, Driver({99: 3_000_000_000})).free


@pytest.mark.parametrize("fails", ["nvmlInit", "nvmlDeviceGetCount", "nvmlDeviceGetComputeRunningProcesses"])
def test_a_driver_that_is_missing_or_refuses_is_told_and_nothing_is_done(
    fails: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise RefusedError("NVML Shared Library Not Found")

    driver = Driver({77: 1})
    monkeypatch.setattr(driver, fails, refuse)
    release = wait_until_free({77}, 60, driver)
    assert not release.checked
    assert release.free
    assert "GPU memory not checked" in release.message
    assert "Not Found" in release.message


def test_the_real_module_has_what_is_asked_of_it() -> None:
    import pynvml

    names = [name for name in vars(Driver) if name.startswith("nvml")]
    assert all(callable(getattr(pynvml, name)) for name in names)
    assert issubclass(pynvml.NVMLError, Exception)
    assert wait_until_free({2**22 + 1}, 0.0).free, "whatever this machine has, no such process holds a GPU"
