"""Whether what a checkpoint holds fits what it is to fill: asked before anything is loaded."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch

from glaucoma.errors import IntegrityError
from glaucoma.training.checkpoint_format import listed

_MOMENTS = {"step", "exp_avg", "exp_avg_sq"}
_STEP = torch.zeros(())


def require_same_tensors(what: str, saved: Any, wanted: Mapping[str, Any]) -> None:
    """`IntegrityError` unless `saved` can fill `wanted`, a state dict: the same names, shapes and types.

    To be called before anything is loaded: a refused checkpoint must not leave half of itself behind.
    """
    if not isinstance(saved, dict):
        raise IntegrityError(f"its {what} is a {type(saved).__name__}, not a dict")
    wrong = [f"{name} is missing" for name in wanted if name not in saved]
    wrong += [f"{str(name)[:80]} is unknown" for name in saved if name not in wanted]
    for name in wanted:
        one, other = saved.get(name), wanted[name]
        if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
            if one.shape != other.shape or one.dtype != other.dtype:
                wrong.append(f"{name} is {_kind(one)}, here {_kind(other)}")
        elif name in saved and type(one) is not type(other):
            wrong.append(f"{name} is a {type(one).__name__}, here a {type(other).__name__}")
    if wrong:
        raise IntegrityError(f"its {what} does not fit: {listed(wrong)}")


def require_same_optimizer(saved: Any, optimizer: torch.optim.Optimizer) -> None:
    """`IntegrityError` unless `saved` is a state of `optimizer`, an AdamW.

    That is: the same groups with the same options (the learning rate aside, which each step sets), and of each weight
    that was ever changed both moments, finite and of its shape.
    """
    weights = [list(group["params"]) for group in optimizer.param_groups]
    flat = [p for group in weights for p in group]
    groups = saved.get("param_groups") if isinstance(saved, dict) else None
    state = saved.get("state") if isinstance(saved, dict) else None
    if not isinstance(groups, list) or not isinstance(state, dict):
        raise IntegrityError("it has no state of an optimizer")
    found = [one.get("params") if isinstance(one, dict) else None for one in groups]
    numbers, start = [], 0
    for group in weights:
        numbers.append(list(range(start, start + len(group))))
        start += len(group)
    if found != numbers or not set(state) <= set(range(len(flat))):
        raise IntegrityError("its optimizer has other groups of weights")
    for one, here in zip(groups, optimizer.param_groups, strict=True):
        options = {name for name in one if name in here} - {"params", "lr"}  # a version of torch may know more
        wrong = [f"{name}: there {one[name]}, here {here[name]}" for name in sorted(options) if one[name] != here[name]]
        if wrong:
            raise IntegrityError(f"its optimizer has other options ({listed(wrong)})")
    for number, values in state.items():
        if not isinstance(values, dict) or values.keys() != _MOMENTS:
            raise IntegrityError(f"its optimizer has not {', '.join(sorted(_MOMENTS))} of weight {number}")
        for name, value in values.items():
            expected = flat[number] if name != "step" else _STEP
            fits = isinstance(value, torch.Tensor) and _kind(value) == _kind(expected)
            if not fits or not torch.isfinite(value).all():
                raise IntegrityError(f"its optimizer has {name} that does not fit weight {number}, {_kind(expected)}")


def require_same_scaler(saved: Any, wanted: Mapping[str, Any]) -> None:
    """`IntegrityError` unless `saved` is a state of fp16's loss scaling as `wanted` is: its options, a usable scale."""
    if not isinstance(saved, dict) or saved.keys() != wanted.keys():
        raise IntegrityError("its scaler is not one of this loss scaling")
    moved = {"scale": float, "_growth_tracker": int}
    wrong = [name for name in wanted if name not in moved and saved[name] != wanted[name]]
    wrong += [name for name, kind in moved.items() if type(saved[name]) is not kind or not 0 <= saved[name] < math.inf]
    if wrong or not saved["scale"]:
        raise IntegrityError(f"its scaler does not serve: {', '.join(wrong or ['scale'])}")


def _kind(tensor: torch.Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}"
