"""Classifiers with one logit (glaucoma), by name: every model of timm, and the own ones."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from glaucoma.errors import SettingsError
from glaucoma.models.registry import is_plain, own_builder, own_names, unknown_model
from glaucoma.models.weights import Weights, find_weights, load_own, refuse_unused
from glaucoma.schema import Task

if TYPE_CHECKING:
    from torch import nn


def known_classifiers() -> list[str]:
    """All names that `build_classifier` takes, pretrained tags left out."""
    import timm

    return sorted([*own_names(Task.CLASSIFICATION), *timm.list_models()])


def build_classifier(
    name: str,
    *,
    pretrained: bool = False,
    weights_path: Path | None = None,
    weights_dir: Path | None = None,
    input_px: int | None = None,
) -> nn.Module:
    """A network that maps (N, 3, H, W) float32, normalised as ImageNet, to (N, 1) logits.

    The head is new in any case. Weights come from local files alone; see `glaucoma.models.weights`.

    Args:
        name: A timm name, with or without a tag (`efficientnet_b3.ra2_in1k`), or an own model's.
        input_px: Side of the input; only transformers with a fixed grid need to know it.

    Raises:
        UnknownModelError: No such model.
        WeightsUnavailableError: `pretrained`, and no fitting weights are there.
        SettingsError: The model cannot take images of this side.
    """
    own = own_builder(name, Task.CLASSIFICATION)
    if own is not None:
        model = own()
        if pretrained:
            load_own(model, find_weights(name, None, weights_path, weights_dir))
        return model
    import timm

    if not is_plain(name) or not timm.is_model(name):
        raise unknown_model(name, known_classifiers(), "classifier")
    weights: Weights | None = None
    if pretrained:
        weights = find_weights(name, timm_repository(name), weights_path, weights_dir)
    model = _create(name, weights, input_px)
    if weights is not None:
        refuse_unused(model, weights)
    return model


def timm_repository(name: str) -> str | None:
    """The repository in the hub cache that holds timm's weights for `name`, if timm names one."""
    import timm

    config = timm.get_pretrained_cfg(name)
    return config.hf_hub_id if config is not None else None


def _create(name: str, weights: Weights | None, input_px: int | None) -> nn.Module:
    import timm

    options: dict[str, object] = {"num_classes": 1, "pretrained": weights is not None}
    if weights is not None:
        options["pretrained_cfg_overlay"] = weights.timm_overlay()
    config = timm.get_pretrained_cfg(name)
    if input_px is not None and config is not None and config.fixed_input_size:
        options["img_size"] = input_px
    try:
        model: nn.Module = timm.create_model(name, **options)
    except (RuntimeError, KeyError, AssertionError, ValueError, TypeError) as error:
        if weights is not None:
            raise weights.misfit(str(error)) from error
        raise SettingsError(
            f"The classifier {name!r} cannot be built for images of {input_px} px ({error})",
            remedy="choose another input_px or another model",
        ) from error
    return model
