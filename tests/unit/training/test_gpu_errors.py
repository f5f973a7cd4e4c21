"""What a GPU's error means, without a GPU: torch's own exceptions, raised by hand."""

from __future__ import annotations

import pytest
import torch

from glaucoma.errors import GpuMemoryError, TransientError, is_retryable
from glaucoma.training.gpu_errors import gpu_errors_can_pass, is_gpu_error, lost_worker_error, training_error

FULL = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    RuntimeError("CUDA error: out of memory"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
]
PASSING = [
    torch.AcceleratorError("CUDA error: an illegal memory access was encountered"),
    RuntimeError("CUDA error: uncorrectable ECC error encountered"),
    RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"),
]
OTHERS = [
    RuntimeError("mat1 and mat2 shapes cannot be multiplied (1x2 and 3x4)"),
    RuntimeError("The NVIDIA driver on your system is too old"),
    ValueError("CUDA error in a file's name"),
]


@pytest.mark.parametrize("error", FULL, ids=str)
def test_a_step_that_does_not_fit_the_gpu_is_told_with_the_batch_size_and_not_tried_again(error: RuntimeError) -> None:
    told = training_error(error, 32)
    assert type(told) is GpuMemoryError
    assert not is_retryable(told)
    assert "The GPU's memory does not hold 32 images at once" in str(told)
    assert "lower micro_batch_size, batch_size" in str(told)


def test_a_step_that_does_not_fit_the_machines_own_memory_is_told_as_that() -> None:
    with pytest.raises(RuntimeError) as refused:
        torch.empty(2**50, dtype=torch.uint8)
    told = training_error(refused.value, 32)
    assert type(told) is GpuMemoryError
    assert "The machine's memory does not hold 32 images at once" in str(told)
    assert not is_gpu_error(refused.value)


def test_memory_that_python_itself_is_refused_can_pass() -> None:
    assert type(training_error(MemoryError("Unable to allocate 3 TiB"), 32)) is TransientError


@pytest.mark.parametrize("error", PASSING, ids=str)
def test_other_errors_of_the_gpu_can_pass(error: RuntimeError) -> None:
    told = training_error(error, 32)
    assert type(told) is TransientError
    assert str(error).splitlines()[0] in str(told)


@pytest.mark.parametrize(
    "text",
    [
        "DataLoader worker (pid 123) is killed by signal: Killed. ",
        "DataLoader worker (pid 123) is killed by signal: Bus error. It is possible that ... out of shared memory.",
        "DataLoader worker (pid(s) 123, 124) exited unexpectedly",
    ],
)
def test_a_lost_process_that_reads_ahead_can_pass(text: str) -> None:
    told = lost_worker_error(RuntimeError(text))
    assert type(told) is TransientError
    assert "123" in str(told)
    assert all(lost_worker_error(error) is None for error in (*FULL, *PASSING, *OTHERS))


@pytest.mark.parametrize("error", OTHERS, ids=str)
def test_an_error_of_the_program_stays_what_it_is(error: Exception) -> None:
    assert not is_gpu_error(error)
    if isinstance(error, RuntimeError):
        assert training_error(error, 32) is None
    with pytest.raises(type(error)) as raised, gpu_errors_can_pass("evaluate of cls-a-1"):
        raise error
    assert raised.value is error


@pytest.mark.parametrize("error", [*FULL, *PASSING], ids=str)
def test_a_prediction_that_the_gpu_ended_can_be_tried_again(error: RuntimeError) -> None:
    with (
        pytest.raises(TransientError, match="in evaluate of cls-a-1") as raised,
        gpu_errors_can_pass("evaluate of cls-a-1"),
    ):
        raise error
    assert raised.value.__cause__ is error
