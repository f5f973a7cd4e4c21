"""Errors of memory, of a GPU and of processes that read ahead, told apart: a step too large, and what can pass."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from glaucoma.errors import ArcError, GpuMemoryError, TransientError, problems

_MARKS = ("CUDA error", "CUDA out of memory", "CUBLAS_STATUS", "CUDNN_STATUS", "cuDNN error", "CUDA driver error")
"""In the messages of those errors of CUDA and its libraries that torch raises as a plain RuntimeError."""

_CPU_MARKS = ("DefaultCPUAllocator: can't allocate memory", "DefaultCPUAllocator: not enough memory")
"""In the messages of torch's own allocator on the CPU."""

_WORKER_MARK = "DataLoader worker (pid"
"""In the message of torch's RuntimeError for a data worker that was killed or ended, whatever code runs at the time."""


def is_gpu_error(error: BaseException) -> bool:
    """True for what CUDA, cuDNN and cuBLAS report while they work; False for a driver that is missing or too old."""
    import torch

    if isinstance(error, torch.OutOfMemoryError | torch.AcceleratorError):
        return True
    return isinstance(error, RuntimeError) and any(mark in str(error) for mark in _MARKS)


def is_out_of_memory(error: BaseException) -> bool:
    """True where the GPU's memory was the matter."""
    import torch

    return isinstance(error, torch.OutOfMemoryError) or (
        is_gpu_error(error) and ("out of memory" in str(error) or "_STATUS_ALLOC_FAILED" in str(error))
    )


def is_out_of_host_memory(error: BaseException) -> bool:
    """True where torch was refused memory of the machine itself."""
    return isinstance(error, RuntimeError) and any(mark in str(error) for mark in _CPU_MARKS)


def training_error(error: Exception, images: int) -> ArcError | None:
    """What an error of memory or of a GPU means to a training; None for another error.

    Args:
        images: How many photographs a step takes at once on one device.
    """
    host = is_out_of_host_memory(error)
    if host or is_out_of_memory(error):
        return GpuMemoryError(
            f"The {'machine' if host else 'GPU'}'s memory does not hold {images} images at once ({problems(error)})",
            consequence="The training stopped; its last checkpoint is kept",
            remedy="lower micro_batch_size, batch_size (segmentation_batch_size) or the input's side, or end what else "
            f"uses the {'memory' if host else 'GPU'}",
        )
    if isinstance(error, MemoryError):
        return TransientError(
            f"The machine's memory is full ({problems(error)})",
            consequence="The training stopped; its last checkpoint is kept",
            remedy="end what else uses the memory, or lower workers or the input's side; then start it again",
        )
    if not is_gpu_error(error):
        return None
    return TransientError(
        f"The GPU reported an error ({problems(error)})",
        consequence="The training stopped; its last checkpoint is kept",
        remedy="start it again, and it resumes; where it comes back, look at the GPU with nvidia-smi",
    )


def lost_worker_error(error: Exception) -> TransientError | None:
    """What the end of a process that reads ahead means to a training; None for another error."""
    if not (isinstance(error, RuntimeError) and _WORKER_MARK in str(error)):
        return None
    return TransientError(
        f"A process that prepares batches was lost ({problems(error)})",
        consequence="The training stopped; its last checkpoint is kept",
        remedy="start it again, and it resumes; where it comes back, the memory may be full: lower execution.workers",
    )


@contextlib.contextmanager
def gpu_errors_can_pass(what: str) -> Iterator[None]:
    """Raises the GPU's errors in `what` as `TransientError`, and all others as they are.

    Here a full memory counts as transient too: what only predicts needs little, so another process is in the way.
    """
    try:
        yield
    except RuntimeError as error:
        if not is_gpu_error(error):
            raise
        raise TransientError(
            f"The GPU reported an error in {what} ({problems(error)})",
            consequence="Nothing was written",
            remedy="start it again in a new process (after some errors CUDA stays unusable in the old one), "
            "or end what else fills the GPU's memory",
        ) from error
