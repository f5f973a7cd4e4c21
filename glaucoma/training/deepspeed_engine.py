"""The engine on DeepSpeed's ZeRO stage 1: each process keeps and updates its share of AdamW's moments only.

Processes, precision and loss scaling are the Fabric engine's; DeepSpeed averages the gradients, steps, and hands the
weights round. To it the weights are 32 bits, so what it computes is AdamW on slices of all weights laid end to end.
A checkpoint holds the moments joined again, as torch's AdamW has them: any number of processes goes on from it, with
either strategy.
"""

from __future__ import annotations

import contextlib
import importlib
import logging
import math
import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import distributed, nn

from glaucoma.errors import SettingsError, TrainingError
from glaucoma.training.engine import Engine, Place
from glaucoma.training.fabric_engine import FabricEngine
from glaucoma.training.settings import Precision

_MOMENTS = ("exp_avg", "exp_avg_sq")
_ALIGNED = 64
"""DeepSpeed refuses buckets of an odd number of weights."""


class _Autocasting(nn.Module):
    """Enters the precision inside of DeepSpeed's forward pass, which switches off one that is entered outside."""

    def __init__(self, network: nn.Module, autocast: Callable[[], AbstractContextManager[Any]]) -> None:
        super().__init__()
        self.network, self._autocast = network, autocast

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        with self._autocast():
            logits: torch.Tensor = self.network(*inputs)
        return logits


class DeepSpeedEngine(FabricEngine):
    """See `Engine`."""

    def __init__(self, device: torch.device, place: Place, precision: Precision) -> None:
        self._deepspeed = _imported(device)
        super().__init__(device, place, precision)
        self._collected: dict[str, Any] | None = None

    def facts(self) -> dict[str, Any]:
        return {**super().facts(), "deepspeed": str(self._deepspeed.__version__)}

    def take(self, model: nn.Module, optimizer: torch.optim.Optimizer, *, compiled: bool) -> None:
        Engine.take(self, model, optimizer, compiled=compiled)
        whole = optimizer.state_dict()
        optimizer.state.clear()  # of weights that DeepSpeed puts its own slices in the place of
        self._sharded, self._zero, _, _ = self._deepspeed.initialize(
            model=_Autocasting(self._network, self._fabric.autocast),
            optimizer=optimizer,
            config=_configuration(sum(parameter.numel() for parameter in self._parameters)),
            dist_init_required=False,
        )
        self._network = self._sharded
        self._numbers = [group["params"] for group in whole["param_groups"]]
        self._options = [[name for name in group if name != "params"] for group in whole["param_groups"]]
        if whole["state"]:
            self._cut(whole["state"])

    def alone(self, enabled: bool) -> AbstractContextManager[Any]:
        self._sharded.set_gradient_accumulation_boundary(not enabled)
        return contextlib.nullcontext()

    def forget(self) -> None:
        """Nothing: DeepSpeed's step forgets them."""

    def backward(self, loss: torch.Tensor) -> None:
        if (scaler := self.scaler_state()) is not None:
            self._zero.override_loss_scale(scaler["scale"])
        self._sharded.backward(loss)

    def update(self, clip_norm: float | None) -> None:
        self._zero.clip_grad = clip_norm or 0.0
        self._sharded.step()
        if (scaler := self.scaler_state()) is not None:
            self.load_scaler(_rescaled(scaler, overflow=self._zero.overflow))
        elif self._zero.overflow:
            raise TrainingError(
                "A gradient is not a finite number: the training diverged",
                consequence="The training ended without a model",
                remedy="lower the learning rate, or set clip_norm",
            )

    def collect(self) -> None:
        state: dict[int, dict[str, torch.Tensor]] = {}
        for numbers, weights, flat in self._groups():
            shard = self._optimizer.state.get(flat)
            if not shard:
                continue  # no step was taken yet, in any process
            sizes = [weight.numel() for weight in weights]
            for name in _MOMENTS:
                joined = self._joined(shard[name])
                if joined is None:
                    continue
                pieces = torch.split(joined[: sum(sizes)], sizes)
                for number, weight, piece in zip(numbers, weights, pieces, strict=True):
                    state.setdefault(number, {"step": shard["step"].clone()})[name] = piece.view(weight.shape).clone()
        groups = [
            {**{name: group[name] for name in names}, "params": numbers}
            for group, names, numbers in zip(self._optimizer.param_groups, self._options, self._numbers, strict=True)
        ]
        self._collected = {"state": state, "param_groups": groups} if self.is_first else None

    def optimizer_state(self) -> dict[str, Any]:
        if self._collected is None:
            raise RuntimeError("the optimizer's state is asked for where it was not collected")
        collected, self._collected = self._collected, None
        return collected

    def close(self) -> None:
        if distributed.is_initialized() and self._deepspeed.comm.is_initialized():
            self._deepspeed.comm.destroy_process_group()  # all groups, and what DeepSpeed knows of them
        super().close()

    def _groups(self) -> list[tuple[list[int], list[nn.Parameter], torch.Tensor]]:
        """Of each of the optimizer's groups: its weights, by number and themselves, and this process's slice of them.

        The slices of all processes, by rank, are the weights laid end to end, and zeros until all are equally long.
        """
        return list(
            zip(self._numbers, self._zero.bit16_groups, self._zero.single_partition_of_fp32_groups, strict=True)
        )

    def _joined(self, slice_: torch.Tensor) -> torch.Tensor | None:
        """The slices of all processes end to end, in the first one's memory; None in the others."""
        mine = slice_.detach().cpu()
        slices = [torch.empty_like(mine) for _ in range(self.place.world)] if self.is_first else None
        distributed.gather(mine, slices, dst=0, group=self._group)
        return None if slices is None else torch.cat(slices)

    def _cut(self, state: dict[int, dict[str, torch.Tensor]]) -> None:
        """Gives the optimizer this process's slices of the moments in `state`, one entry a weight."""
        for numbers, weights, flat in self._groups():
            first, size = self.place.rank * flat.numel(), flat.numel()
            shard = {"step": max(values["step"] for values in state.values()).clone()}
            for name in _MOMENTS:
                pieces = [
                    state[number][name].reshape(-1) if number in state else torch.zeros_like(weight).reshape(-1)
                    for number, weight in zip(numbers, weights, strict=True)
                ]
                shard[name] = torch.zeros_like(flat, requires_grad=False)
                mine = torch.cat(pieces)[first : first + size]
                shard[name][: mine.numel()] = mine
            self._optimizer.state[flat] = shard


def _imported(device: torch.device) -> Any:
    """The package; told before which kind of device to use, for it would look for one itself."""
    os.environ.setdefault("DS_ACCELERATOR", device.type)
    try:
        package = importlib.import_module("deepspeed")
    except Exception as error:  # its import asks for compilers and libraries, with errors of its own
        raise SettingsError(
            f"The package deepspeed cannot be imported ({type(error).__name__}: {error})",
            expected="one that fits this machine's torch and CUDA",
            remedy="set strategy to ddp",
        ) from error
    package.utils.logger.setLevel(logging.WARNING)
    package.ops.__compatible_ops__ = {}  # else it compiles a sum through shared memory, on a CPU; gloo sums as well
    return package


def _configuration(parameters: int) -> dict[str, Any]:
    """Stage 1, nothing else; micro batches are counted by the learner, so to DeepSpeed each is a batch."""
    bucket = math.ceil(parameters / _ALIGNED) * _ALIGNED
    return {
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": 1,
        "steps_per_print": None,
        "zero_optimization": {
            "stage": 1,
            "reduce_bucket_size": bucket,  # allocated in full; its own default takes 2 GB
            "allgather_bucket_size": bucket,
        },
    }


def _rescaled(state: dict[str, Any], *, overflow: bool) -> dict[str, Any]:
    """The state of fp16's loss scaling after a step, by the rule of `torch.amp.GradScaler`."""
    if overflow:
        return {**state, "scale": state["scale"] * state["backoff_factor"], "_growth_tracker": 0}
    steps = state["_growth_tracker"] + 1
    if steps < state["growth_interval"]:
        return {**state, "_growth_tracker": steps}
    return {**state, "scale": state["scale"] * state["growth_factor"], "_growth_tracker": 0}
