"""The engine on Lightning's Fabric: precisions below 32 bits, and several processes that share a step.

Fabric is given all it would else look for: device, number of processes, environment. So it starts no process, sets no
seed, and asks no scheduler.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from datetime import timedelta
from typing import Any, TypeVar, cast

import lightning
import torch
from lightning.fabric import Fabric
from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning.fabric.plugins.precision.amp import MixedPrecision
from lightning.fabric.plugins.precision.precision import Precision as FabricPrecision
from lightning.fabric.strategies.ddp import DDPStrategy
from lightning.fabric.strategies.strategy import Strategy as FabricStrategy
from torch import distributed, nn

from glaucoma.training.checkpoint_fit import require_same_scaler
from glaucoma.training.engine import Engine, Place
from glaucoma.training.settings import Precision

T = TypeVar("T")

_WAIT = timedelta(days=2)
"""For another process, which may wait for its GPU or validate; whether anything moves at all, the watchdog judges."""


class _Autocast(MixedPrecision):
    """Mixed precision that leaves the inputs as they are: a clinical value in 16 bits would lose its digits."""

    def convert_input(self, data: Any) -> Any:
        return data


class FabricEngine(Engine):
    """See `Engine`."""

    def __init__(self, device: torch.device, place: Place, precision: Precision) -> None:
        super().__init__(device, place)
        self.precision = precision
        environment: ClusterEnvironment = TorchElasticEnvironment() if place.world > 1 else LightningEnvironment()
        self._fabric = Fabric(
            accelerator=device.type,
            devices=[device.index or 0] if place.world == 1 and device.type == "cuda" else place.local_world,
            num_nodes=place.world // place.local_world,
            strategy=_strategy(device) if place.world > 1 else "auto",
            plugins=[_precision(precision, device), environment],
        )
        self._fabric.launch()
        # Flags and scores go by way of the CPU: asking the GPU for them would make it wait at each step.
        self._group: distributed.ProcessGroup | None = None
        if place.world > 1:
            self._group = cast("distributed.ProcessGroup", distributed.new_group(backend="gloo", timeout=_WAIT))

    def facts(self) -> dict[str, Any]:
        return {**super().facts(), "lightning": lightning.__version__}

    def take(self, model: nn.Module, optimizer: torch.optim.Optimizer, *, compiled: bool) -> None:
        super().take(model, optimizer, compiled=False)
        network = self._compile(model) if compiled else model
        self._wrapped, self._wrapped_optimizer = self._fabric.setup(network, optimizer, move_to_device=False)
        self._network = self._wrapped

    def alone(self, enabled: bool) -> AbstractContextManager[Any]:
        return self._fabric.no_backward_sync(self._wrapped, enabled=enabled)

    def forget(self) -> None:
        self._wrapped_optimizer.zero_grad(set_to_none=True)

    def backward(self, loss: torch.Tensor) -> None:
        self._fabric.backward(loss)

    def update(self, clip_norm: float | None) -> None:
        if clip_norm is not None:
            # fp16 meets infinite gradients on its way to a scale that fits, and leaves out those steps by itself.
            self._fabric.clip_gradients(
                self._wrapped, self._wrapped_optimizer, max_norm=clip_norm, error_if_nonfinite=False
            )
        self._wrapped_optimizer.step()

    def scaler_state(self) -> dict[str, Any] | None:
        return self._fabric.strategy.precision.state_dict() or None

    def load_scaler(self, state: dict[str, Any] | None) -> None:
        wanted = self.scaler_state()
        if state is not None and wanted is not None:  # else one of the two attempts is not in fp16
            require_same_scaler(state, wanted)
            self._fabric.strategy.precision.load_state_dict(state)

    def any(self, *flags: bool) -> list[bool]:
        if self._group is None:
            return list(flags)
        up = torch.tensor(flags, dtype=torch.uint8)
        distributed.all_reduce(up, op=distributed.ReduceOp.MAX, group=self._group)
        return [bool(flag) for flag in up.tolist()]

    def gathered(self, value: T) -> list[T]:
        if self._group is None:
            return [value]
        values: list[Any] = [None] * self.place.world
        distributed.all_gather_object(values, value, group=self._group)
        return values

    def from_first(self, value: T) -> T:
        if self._group is None:
            return value
        values: list[Any] = [value]
        distributed.broadcast_object_list(values, src=0, group=self._group)
        first: T = values[0]
        return first

    def share_buffers(self, model: nn.Module) -> None:
        if self._group is None:
            return
        for buffer in model.buffers():
            distributed.broadcast(buffer, src=0)

    def close(self) -> None:
        if self._group is not None and distributed.is_initialized():
            distributed.destroy_process_group()


def _precision(precision: Precision, device: torch.device) -> FabricPrecision:
    if precision is Precision.FP32:
        return FabricPrecision()
    return _Autocast("16-mixed" if precision is Precision.FP16 else "bf16-mixed", device.type)


def _strategy(device: torch.device) -> FabricStrategy:
    return DDPStrategy(
        process_group_backend="nccl" if device.type == "cuda" else "gloo",
        timeout=_WAIT,
        # Some encoders keep layers that a U-Net never reaches (EfficientNet's head), and DDP waits for their gradients.
        find_unused_parameters=True,
    )
