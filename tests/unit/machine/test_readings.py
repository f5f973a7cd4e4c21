"""What is read of GPUs and of the machine. NVML is a stand-in (conftest.py); the machine is this one."""

from __future__ import annotations

import inspect
from datetime import UTC, datetime

from glaucoma.machine import gpus as gpus_module
from glaucoma.machine.gpus import pci_of, read_gpus
from glaucoma.machine.host import read_machine
from glaucoma.machine.nvml import NvmlFigures
from glaucoma.machine.table import UNKNOWN, machine_rows

NOT_SUPPORTED, LOST = (3, "Not Supported"), (15, "GPU is lost")


def test_every_figure_comes_in_the_unit_of_its_name(made_up_driver):
    driver = made_up_driver()
    found = read_gpus(driver)
    assert driver.opened == 0
    first, second = found.gpus
    assert (found.driver, found.none_because, second.gpu) == ("999.1", "", 1)
    assert (first.memory_used_mb, first.memory_total_mb, first.memory_used_percent) == (6000.0, 24000.0, 25.0)
    assert (first.load_percent, first.memory_load_percent, first.temperature_c) == (93.0, 41.0, 64.0)
    assert (first.power_w, first.power_limit_w, first.fan_percent) == (251.3, 300.0, 55.0)
    assert (first.ecc_corrected, first.ecc_uncorrected) == (7, 0)
    assert first.throttled == ("power cap", "too hot (hardware)"), "that it is idle is no throttle"
    assert [(one.pid, one.memory_mb) for one in first.processes] == [(4711, None)]
    assert first.error is None
    assert not first.unknown


def test_a_figure_that_the_gpu_does_not_have_is_unknown_with_the_reason_and_no_error(made_up_driver):
    refuses = dict.fromkeys(["nvmlDeviceGetFanSpeed", "nvmlDeviceGetUtilizationRates"], NOT_SUPPORTED)
    gpu = read_gpus(made_up_driver(refuses)).gpus[0]
    assert gpu.fan_percent is None
    assert gpu.load_percent is None
    assert gpu.memory_load_percent is None
    assert gpu.unknown == {"fan_percent": "Not Supported", "load": "Not Supported"}
    assert gpu.error is None
    assert gpu.power_w == 251.3


def test_a_gpu_that_fell_off_the_bus_is_an_error_and_the_rest_is_read(made_up_driver):
    gpu = read_gpus(made_up_driver({"nvmlDeviceGetMemoryInfo": LOST})).gpus[0]
    assert gpu.error == "GPU is lost"
    assert gpu.memory_used_percent is None
    gone = read_gpus(made_up_driver({"nvmlDeviceGetHandleByIndex": LOST})).gpus
    assert [(one.gpu, one.error, one.name) for one in gone] == [(0, "GPU is lost", None), (1, "GPU is lost", None)]


def test_without_driver_or_gpu_that_is_said(made_up_driver):
    missing = read_gpus(made_up_driver({"nvmlInit": (12, "NVML Shared Library Not Found")}))
    assert missing.gpus == ()
    assert missing.none_because == "no NVIDIA driver (NVML Shared Library Not Found)"
    assert read_gpus(made_up_driver(nvmlDeviceGetCount=0)).none_because == "the driver shows no GPU"


def test_the_real_module_has_every_function_that_is_used():
    import pynvml

    used = {name for name in dir(NvmlFigures) if name.startswith("nvml")}
    assert all(callable(getattr(pynvml, name)) for name in used)
    source = inspect.getsource(gpus_module)
    assert all(name in source for name in used - {"nvmlInit", "nvmlShutdown"})
    assert (pynvml.NVML_TEMPERATURE_GPU, pynvml.NVML_VOLATILE_ECC) == (0, 0)
    assert (pynvml.NVML_MEMORY_ERROR_TYPE_CORRECTED, pynvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED) == (0, 1)
    assert (pynvml.NVML_ERROR_GPU_IS_LOST, pynvml.NVML_ERROR_RESET_REQUIRED) == (15, 16)
    assert pynvml.nvmlClocksThrottleReasonHwThermalSlowdown == 0x40


def test_this_machine_is_read_and_a_gpu_is_never_made_up(tmp_path):
    reading = read_machine({"workspace": tmp_path / "not there yet"}, datetime.now(UTC))
    assert bool(reading.gpus) != bool(reading.no_gpus)
    machine = reading.machine
    assert 0 < machine.memory_available_mb <= machine.memory_total_mb
    assert 0 < machine.memory_available_percent <= 100
    assert machine.free_gb("workspace") > 0
    assert machine.free_gb("something else") is None
    assert machine.uptime_s > 0


def test_places_of_gpus_are_written_as_the_kernel_does():
    assert pci_of("00000000:3B:00.0") == pci_of(b"0000:3b:00.0") == "0000:3b:00"


def test_a_table_shows_a_dash_for_what_is_not_known(made_up):
    gpu, machine = machine_rows(made_up(temperature_c=None, ecc_uncorrected=2))
    assert gpu["temperature °C"] == UNKNOWN
    assert gpu["memory used/total GB"] == "1.0/10.0"
    assert "2 uncorrected memory errors" in gpu["notes"]
    assert "workspace: 500 of 1000 GB free" in machine["notes"]
    assert list(gpu) == list(machine), "all rows have the same columns"
