"""This project's own networks, and the names of all that can be built. The one place to add a network."""

from __future__ import annotations

import difflib
import importlib
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from glaucoma.errors import SettingsError, UnknownModelError
from glaucoma.schema import Task

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class OwnModel:
    """A network of this project.

    Args:
        build: `package.module:function`. For classification it is called without arguments and its module maps
            (N, 3, H, W) float32 to (N, 1) logits; for segmentation it is called with `decoder_channels` and its module
            maps (N, 3, H, W), sides a multiple of 32, to (N, 2, H, W) logits: the whole disc, the cup.
    """

    task: Task
    build: str


_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,199}")

OWN_MODELS: dict[str, OwnModel] = {
    "small_cnn": OwnModel(Task.CLASSIFICATION, "glaucoma.models.small:build_small_cnn"),
    "small_unet": OwnModel(Task.SEGMENTATION, "glaucoma.models.small:build_small_unet"),
}


def own_builder(name: str, task: Task) -> Callable[..., nn.Module] | None:
    """The function that builds the own model `name` for `task`, or None where there is none of that name and task.

    Raises:
        SettingsError: The table's entry names no function.
    """
    entry = OWN_MODELS.get(name)
    if entry is None or entry.task is not task:
        return None
    module, _, function = entry.build.partition(":")
    try:
        builder: Callable[..., nn.Module] = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError) as error:
        raise SettingsError(
            f"The model {name!r} is registered as {entry.build!r}, which cannot be imported ({error})",
            expected="package.module:function",
            remedy="correct its line in glaucoma/models/registry.py",
        ) from error
    return builder


def own_names(task: Task) -> list[str]:
    """Names of the own models for `task`, sorted."""
    return sorted(name for name, entry in OWN_MODELS.items() if entry.task is task)


def is_plain(name: str) -> bool:
    """False for a name that is more than a name: timm would read a hub's address or a folder out of it."""
    return _PLAIN.fullmatch(name) is not None


def unknown_model(name: str, known: Iterable[str], kind: str) -> UnknownModelError:
    """The error that names the nearest known models."""
    names = sorted(set(known))
    near = difflib.get_close_matches(name, names, n=5, cutoff=0.4)
    return UnknownModelError(
        f"No {kind} is called {name!r}",
        expected=f"one of {len(names)} known ones; nearest: {', '.join(near) or ', '.join(names[:5])}",
        consequence="Nothing was trained",
        remedy="correct the name, or add the network as docs/how-to/add-a-model.md says",
    )
