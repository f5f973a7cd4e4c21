"""Whether a training fits its limits, asked before its first step: weights counted, memory of a step estimated.

The estimate runs one step (forward, loss, backward) on torch's meta device, where tensors have shapes and no content,
and adds up what is alive at each moment. It takes about a second, whatever the size of the step.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from glaucoma.errors import GpuMemoryError, SettingsError, problems, shown_bytes
from glaucoma.training.device import computes_bfloat16
from glaucoma.training.host_memory import free_memory_bytes
from glaucoma.training.settings import ExecutionSettings, Precision
from glaucoma.training.spec import ExperimentSpec

TOLERANCE = 0.25
"""How far the estimate may lie beside what a step takes on a CPU (docs/explanation/checkpoints-and-limits.md)."""

_CPU_SLACK = 1.2
"""What the C library's allocator keeps of freed blocks, measured."""

_FP32_BYTES, _HALF_BYTES = 4, 2


@dataclass(frozen=True)
class Estimate:
    """What a training needs.

    Args:
        parameters: Of the network, counted.
        step_bytes: Highest memory of a step on one device, weights, optimizer and moving average included, without the
            images of the dataset and what CUDA takes for itself; None where the network does not run without content.
        images: Images at once on one device, for which that holds.
        reason: Why there is no estimate.
    """

    parameters: int
    step_bytes: int | None
    images: int
    reason: str = ""


def require_fits(
    spec: ExperimentSpec, execution: ExecutionSettings, device: torch.device, model: nn.Module
) -> Estimate:
    """What the training needs, where that is allowed and there.

    Args:
        model: The bare network (not compiled, not wrapped), on whatever device; it is left as it was.

    Raises:
        SettingsError: More than `max_parameters_millions` or `max_memory_gb`; or the latter is set, and the network's
            memory cannot be estimated.
        GpuMemoryError: Clearly more than is free, though no limit is set: a smaller micro batch may do.
    """
    parameters = sum(parameter.numel() for parameter in model.parameters())
    most = execution.max_parameters_millions
    if most is not None and parameters > most * 1e6:
        raise SettingsError(
            f"{spec.model} has {parameters / 1e6:.1f} million parameters",
            expected=f"at most {most:g} million (execution.max_parameters_millions)",
            consequence="Nothing was trained",
            remedy="take a smaller model, or raise the limit",
        )
    estimate = _estimate(spec, execution, device, model, parameters)
    if execution.max_memory_gb is not None:
        _require_allowed(spec, execution, estimate, model)
    elif estimate.step_bytes is not None:
        _require_free(spec, execution, estimate, device, model)
    return estimate


def free_bytes(device: torch.device) -> int:
    """What the device has free now; on a CPU what the machine has, or this process's control group if that is less."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return int(free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device))
    return free_memory_bytes()


def _require_allowed(spec: ExperimentSpec, execution: ExecutionSettings, estimate: Estimate, model: nn.Module) -> None:
    allowed_gb = execution.max_memory_gb or 0.0
    if estimate.step_bytes is None:
        raise SettingsError(
            f"The memory of a step of {spec.model} cannot be estimated ({estimate.reason}), and max_memory_gb is "
            f"{allowed_gb:g}",
            expected="a network that runs on torch's meta device, where max_memory_gb is set",
            consequence="Nothing was trained",
            remedy="leave execution.max_memory_gb empty, or take another model",
        )
    if estimate.step_bytes > allowed_gb * 1e9:
        raise SettingsError(
            _needs(spec, estimate),
            expected=f"at most {allowed_gb:g} GB (execution.max_memory_gb)",
            consequence="Nothing was trained",
            remedy=_remedy(spec, estimate, model, allowed_gb * 1e9) + ", or raise the limit",
        )


def _require_free(
    spec: ExperimentSpec, execution: ExecutionSettings, estimate: Estimate, device: torch.device, model: nn.Module
) -> None:
    if estimate.step_bytes is None:
        return
    sharing = int(os.environ.get("LOCAL_WORLD_SIZE", execution.devices)) if device.type == "cpu" else 1
    held = _n_bytes(model) if next(model.parameters()).device.type == device.type else 0
    free = free_bytes(device) // sharing + held
    if estimate.step_bytes * (1 - TOLERANCE) > free:
        where = "The GPU" if device.type == "cuda" else "This machine"
        raise GpuMemoryError(
            f"{_needs(spec, estimate)}. {where} has {shown_bytes(free)} for each of {sharing} process(es)",
            consequence="No step was tried",
            remedy=_remedy(spec, estimate, model, free) + ", or end what else uses the memory",
        )


def _needs(spec: ExperimentSpec, estimate: Estimate) -> str:
    return (
        f"A step of {spec.model} with {estimate.images} images of {spec.input_px} px needs about "
        f"{shown_bytes(estimate.step_bytes or 0)}"
    )


def _remedy(spec: ExperimentSpec, estimate: Estimate, model: nn.Module, allowed: float) -> str:
    """What to change, with the micro batch that would fit where there is one."""
    fixed = _fixed_bytes(spec, model)
    for_an_image = ((estimate.step_bytes or 0) - fixed) / estimate.images
    fitting = min(int((allowed - fixed) / for_an_image), estimate.images - 1) if for_an_image > 0 else 0
    smaller = f"set execution.micro_batch_size to {fitting}, or " if fitting >= 2 else ""
    return f"{smaller}take a smaller model or a smaller input_px"


def _estimate(
    spec: ExperimentSpec, execution: ExecutionSettings, device: torch.device, model: nn.Module, parameters: int
) -> Estimate:
    share = -(-spec.batch_size // execution.devices)
    images = min(execution.micro_batch_size or share, share)
    precision = execution.precision
    half = precision in (Precision.BF16, Precision.FP16) or (precision is Precision.AUTO and computes_bfloat16(device))
    try:
        moving = _moving_bytes(model, spec, images, torch.bfloat16 if half else torch.float32, device)
    except (AttributeError, RuntimeError, TypeError, ValueError) as error:
        return Estimate(parameters, None, images, problems(error))
    gradients = sum(p.numel() * _FP32_BYTES for p in model.parameters() if p.requires_grad)
    if device.type == "cpu":
        moving = int(moving * _CPU_SLACK)
    if half:  # gradients are kept in 32 bits, and autocast keeps the weights in 16 beside them
        moving += gradients // 2 + parameters * _HALF_BYTES
    if images < share:  # those of the micro batches before
        moving += gradients
    if execution.devices > 1:  # the buckets in which the gradients are sent
        moving += gradients
    at_the_optimizer = gradients * (3 if device.type == "cuda" else 1)  # on a GPU it computes all of them at once
    return Estimate(parameters, _fixed_bytes(spec, model) + max(moving, at_the_optimizer), images)


def _fixed_bytes(spec: ExperimentSpec, model: nn.Module) -> int:
    """What lies there at all times: weights, AdamW's two moments, the moving average."""
    trained = sum(p.numel() * p.element_size() for p in model.parameters() if p.requires_grad)
    return _n_bytes(model) * (2 if spec.ema_decay else 1) + 2 * trained


def _n_bytes(model: nn.Module) -> int:
    return sum(t.numel() * t.element_size() for t in (*model.parameters(), *model.buffers()))


class _Alive(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Adds up the bytes of all tensors that operations inside it make, while they are alive.

    Args:
        copies: Convolutions copy all that they read and write into a layout of their own, as oneDNN does on a CPU.
    """

    def __init__(self, known: Mapping[str, torch.Tensor], *, copies: bool) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = self.highest = 0
        self._copies = copies
        self._alive: dict[int, weakref.ref[Any] | None] = {t.untyped_storage()._cdata: None for t in known.values()}

    def __torch_dispatch__(
        self, operation: Callable[..., Any], types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        made = operation(*args, **(kwargs or {}))
        tensors = [one for one in tree_leaves(made) if isinstance(one, torch.Tensor)]
        for one in tensors:
            self._hold(one.untyped_storage())
        if self._copies and "convolution" in str(operation):
            tensors += [one for one in args if isinstance(one, torch.Tensor)]
            self.highest = max(self.highest, self.now + sum(one.numel() * one.element_size() for one in tensors))
        return made

    def _hold(self, storage: torch.UntypedStorage) -> None:
        key, n_bytes = storage._cdata, storage.nbytes()
        if key in self._alive:
            return
        self.now += n_bytes
        self.highest = max(self.highest, self.now)

        def freed(_: Any) -> None:
            self.now -= n_bytes
            del self._alive[key]

        self._alive[key] = weakref.ref(storage, freed)


def _moving_bytes(model: nn.Module, spec: ExperimentSpec, images: int, kind: torch.dtype, device: torch.device) -> int:
    """Highest sum of inputs, activations, gradients and what operations need beside, in one step with that type."""
    modes = [(module, module.training) for module in model.modules()]
    parameters = {
        name: torch.empty_like(p, device="meta", dtype=kind).requires_grad_(p.requires_grad)
        for name, p in model.named_parameters()
    }
    buffers = {
        name: torch.empty_like(b, device="meta", dtype=kind if b.is_floating_point() else b.dtype)
        for name, b in model.named_buffers()
    }
    model.train()
    try:
        with torch.random.fork_rng(devices=[]), _Alive({**parameters, **buffers}, copies=device.type == "cpu") as alive:
            inputs = [torch.empty(images, 3, spec.input_px, spec.input_px, device="meta").to(kind)]
            if spec.clinical:
                inputs.append(torch.empty(images, len(spec.clinical), device="meta", dtype=kind))
            logits = torch.func.functional_call(model, {**parameters, **buffers}, tuple(inputs)).float()
            binary_cross_entropy_with_logits(logits, torch.empty_like(logits)).backward()  # type: ignore[no-untyped-call]
    finally:
        for module, training in modes:
            module.training = training
    return int(alive.highest)
