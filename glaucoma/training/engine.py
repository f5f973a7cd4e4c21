"""What a step needs of the machine: precision, and the other processes that share the step.

One process in 32 bits needs nothing but torch. For the rest Lightning's Fabric is used (`fabric_engine`), whose import
alone takes seconds and is left to those who need it.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import nn

from glaucoma.errors import SettingsError
from glaucoma.training.device import computes_bfloat16
from glaucoma.training.images_at_once import images_at_once
from glaucoma.training.settings import ExecutionSettings, Precision, Strategy
from glaucoma.training.spec import ExperimentSpec

T = TypeVar("T")


@dataclass(frozen=True)
class Place:
    """Which of the processes this one is."""

    rank: int = 0
    world: int = 1
    local_rank: int = 0
    """Among those of this machine; also the number of its GPU."""
    local_world: int = 1


def find_place(execution: ExecutionSettings) -> Place:
    """This process's place, from the variables that torchrun sets.

    Raises:
        SettingsError: They do not fit `execution.devices`.
    """
    values = {name: os.environ.get(name) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")}
    world = int(values["WORLD_SIZE"] or 1)
    if world != execution.devices:
        raise SettingsError(
            f"This process is one of {world} (WORLD_SIZE), and execution.devices is {execution.devices}",
            expected="the same number",
            consequence="Nothing was trained",
            remedy="start it with torchrun --nproc-per-node of execution.devices, or by glaucoma.training.supervise",
        )
    if world == 1:
        return Place()
    missing = [name for name in (*values, "MASTER_ADDR", "MASTER_PORT") if not os.environ.get(name)]
    if missing:
        raise SettingsError(
            f"Of {world} processes, this one does not know its place: {', '.join(missing)} not set",
            expected="the environment that torchrun sets",
            remedy="start it with torchrun, or by glaucoma.training.supervise",
        )
    rank, local_rank, local_world = (int(values[name] or 0) for name in ("RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE"))
    return Place(rank, world, local_rank, local_world)


def chosen_precision(wanted: Precision, device: torch.device) -> Precision:
    """What `auto` means here: bf16 on a GPU that computes in it itself, else 32 bits."""
    if wanted is not Precision.AUTO:
        return wanted
    return Precision.BF16 if computes_bfloat16(device) else Precision.FP32


def computed(engine: Engine, execution: ExecutionSettings, spec: ExperimentSpec) -> dict[str, str]:
    """What of an attempt's settings the weights depend on, by name; the number of workers, for one, is none of it."""
    return {
        "precision": str(engine.precision),
        "devices": str(engine.place.world),
        "images at once": str(images_at_once(spec, execution)),
        "strategy": str(execution.strategy),
        "compile": str(execution.compile),
        "deterministic": str(execution.deterministic or engine.device.type == "cpu"),
    }


def require_strategy(execution: ExecutionSettings) -> None:
    """`SettingsError` where the strategy cannot be had, or would change nothing."""
    if execution.strategy is not Strategy.DEEPSPEED:
        return
    if execution.devices == 1:
        raise SettingsError(
            "The strategy deepspeed has no effect on 1 process: it cuts the optimizer's state over several",
            expected="devices of 2 or more",
            remedy="set strategy to ddp",
        )
    if importlib.util.find_spec("deepspeed") is None:
        raise SettingsError(
            "The package deepspeed is not installed",
            expected="the extra deepspeed",
            remedy="pip install 'arc-glaucoma[deepspeed]', or set strategy to ddp",
        )


class Engine:
    """One process in 32 bits: plain torch. The base of the others, which share or scale what is done here."""

    precision = Precision.FP32

    def __init__(self, device: torch.device, place: Place) -> None:
        self.device, self.place = device, place

    @property
    def is_first(self) -> bool:
        """True in the one process that writes: progress, checkpoints, metadata."""
        return self.place.rank == 0

    def facts(self) -> dict[str, Any]:
        """How it computes, for the record."""
        return {"precision": str(self.precision), "devices": self.place.world, "lightning": None}

    def take(self, model: nn.Module, optimizer: torch.optim.Optimizer, *, compiled: bool) -> None:
        """Takes the network and its optimizer, filled and on the device; the caller keeps both.

        Args:
            compiled: The forward pass goes through torch.compile; `model` itself, and its state's names, stay.
        """
        self._model, self._optimizer = model, optimizer
        self._parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self._network = self._compile(model) if compiled else model

    @staticmethod
    def _compile(model: nn.Module) -> nn.Module:
        network: nn.Module = torch.compile(model)  # type: ignore[assignment]
        return network

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        """The network's logits in 32 bits, computed in the chosen precision."""
        logits: torch.Tensor = self._network(*inputs)
        return logits

    def alone(self, enabled: bool) -> AbstractContextManager[Any]:
        """Within it, where enabled, gradients are added up here and not yet shared: all micro batches but the last."""
        return contextlib.nullcontext()

    def forget(self) -> None:
        """Forgets the last step's gradients: after a step's first forward pass, before its first backward pass.

        Forgotten right after the update, their memory goes back to the system, and the next passes fetch it again page
        by page: on the CPU an eighth of a small network's step.
        """
        self._optimizer.zero_grad(set_to_none=True)

    def backward(self, loss: torch.Tensor) -> None:
        """Adds the loss's gradients to those that are there."""
        loss.backward()  # type: ignore[no-untyped-call]

    def update(self, clip_norm: float | None) -> None:
        """Shortens the gradient to `clip_norm`, and changes the weights by it."""
        if clip_norm is not None:
            nn.utils.clip_grad_norm_(self._parameters, clip_norm)
        self._optimizer.step()

    def scaler_state(self) -> dict[str, Any] | None:
        """The state of fp16's loss scaling; None without it."""
        return None

    def load_scaler(self, state: dict[str, Any] | None) -> None:
        """Puts that state back; `IntegrityError` where it is none."""

    def collect(self) -> None:
        """Brings to the first process what `optimizer_state` gives there; all call it, at the same moment."""

    def optimizer_state(self) -> dict[str, Any]:
        """What the optimizer needs to go on, whole; asked of the first process only, and after `collect`."""
        return self._optimizer.state_dict()

    def any(self, *flags: bool) -> list[bool]:
        """For each flag, whether one process at least has it up; all processes ask at the same moment."""
        return list(flags)

    def gathered(self, value: T) -> list[T]:
        """The values of all processes, by rank."""
        return [value]

    def from_first(self, value: T) -> T:
        """The value that the first process gives."""
        return value

    def share_buffers(self, model: nn.Module) -> None:
        """Gives all processes the first one's buffers (running means): each has its own from its own images."""

    def close(self) -> None:
        """Leaves the other processes."""


def make_engine(execution: ExecutionSettings, device: torch.device, place: Place) -> Engine:
    """The engine for these settings on this device.

    Raises:
        SettingsError: The strategy cannot be had here.
    """
    require_strategy(execution)
    precision = chosen_precision(execution.precision, device)
    if place.world == 1 and precision is Precision.FP32:
        return Engine(device, place)
    if execution.strategy is Strategy.DEEPSPEED:
        from glaucoma.training.deepspeed_engine import DeepSpeedEngine

        return DeepSpeedEngine(device, place, precision)
    from glaucoma.training.fabric_engine import FabricEngine

    return FabricEngine(device, place, precision)
