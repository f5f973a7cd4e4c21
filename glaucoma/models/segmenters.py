"""Segmenters of disc and cup, by the name of their encoder: U-Nets of segmentation_models_pytorch, and the own ones.

A segmenter has two channels with a sigmoid each: 0 is the whole disc (cup included), 1 the cup. So nested structures
need no third class for the rim, and each Dice is that of one channel.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from glaucoma.errors import SettingsError
from glaucoma.models.classifiers import timm_repository
from glaucoma.models.registry import is_plain, own_builder, own_names, unknown_model
from glaucoma.models.weights import Weights, find_weights, load_own, refuse_unused
from glaucoma.schema import Task

if TYPE_CHECKING:
    from torch import nn

_UNIVERSAL = "tu-"
_RENAMED = ("regnet", "res2", "resnest", "mobilenetv3", "gernet")


def known_segmenters() -> list[str]:
    """All names that `build_segmenter` takes; `tu-` stands before a timm model used as an encoder."""
    import segmentation_models_pytorch as smp
    import timm

    universal = [_UNIVERSAL + name for name in timm.list_models()]
    return sorted([*own_names(Task.SEGMENTATION), *smp.encoders.get_encoder_names(), *universal])


def build_segmenter(
    name: str,
    decoder_channels: Sequence[int],
    *,
    pretrained: bool = False,
    weights_path: Path | None = None,
    weights_dir: Path | None = None,
) -> nn.Module:
    """A network that maps (N, 3, H, W) float32, sides a multiple of 32, to (N, 2, H, W) logits of disc and cup.

    Pretrained weights are the encoder's (an own model's: all of it); the decoder is new.

    Raises:
        UnknownModelError: No such encoder.
        WeightsUnavailableError: `pretrained`, and no fitting weights are there.
        SettingsError: The encoder is known and does not serve in a U-Net.
    """
    own = own_builder(name, Task.SEGMENTATION)
    if own is not None:
        model = own(decoder_channels=tuple(decoder_channels))
        if pretrained:
            load_own(model, find_weights(name, None, weights_path, weights_dir))
        return model
    encoder = canonical_encoder(name)
    _require_known(name, encoder)
    if not pretrained:
        return _unet(encoder, decoder_channels)
    weights = find_weights(name, _repository(encoder), weights_path, weights_dir)
    if encoder.startswith(_UNIVERSAL):
        model = _unet(encoder, decoder_channels, weights)
    else:
        model = _unet(encoder, decoder_channels)
        weights.load_into(model.get_submodule("encoder"))
    refuse_unused(model.get_submodule("encoder"), weights)
    return model


def canonical_encoder(name: str) -> str:
    """The name that segmentation_models_pytorch itself uses: its older `timm-` encoders are `tu-` ones today."""
    short = name.removeprefix("timm-")
    if short == name or not short.startswith(_RENAMED):
        return name
    return f"{_UNIVERSAL}tf_{short}" if short.startswith("mobilenetv3") else f"{_UNIVERSAL}{short}"


def _require_known(name: str, encoder: str) -> None:
    import segmentation_models_pytorch as smp
    import timm

    known = (
        timm.is_model(encoder.removeprefix(_UNIVERSAL))
        if encoder.startswith(_UNIVERSAL)
        else encoder in smp.encoders.get_encoder_names()
    )
    if not known or not is_plain(name):
        raise unknown_model(name, known_segmenters(), "encoder")


def _repository(encoder: str) -> str | None:
    if encoder.startswith(_UNIVERSAL):
        return timm_repository(encoder.removeprefix(_UNIVERSAL))
    from segmentation_models_pytorch.encoders import encoders

    pretrained: dict[str, dict[str, Any]] = encoders[encoder].get("pretrained_settings") or {}
    source = pretrained.get("imagenet") or next(iter(pretrained.values()), {})
    repository: str | None = source.get("repo_id")
    return repository


def _unet(encoder: str, decoder_channels: Sequence[int], weights: Weights | None = None) -> nn.Module:
    import segmentation_models_pytorch as smp

    options: dict[str, Any] = {}
    if weights is not None:
        options = {"encoder_weights": True, "pretrained_cfg_overlay": weights.timm_overlay()}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of the names that canonical_encoder does not change
            model: nn.Module = smp.Unet(
                encoder_name=encoder,
                **{"encoder_weights": None, **options},
                decoder_channels=list(decoder_channels),
                classes=2,
            )
    except (RuntimeError, ValueError, TypeError, KeyError, AttributeError, AssertionError) as error:
        if weights is not None:
            raise weights.misfit(str(error)) from error
        raise SettingsError(
            f"A U-Net on the encoder {encoder!r} cannot be built ({error})", remedy="choose another encoder"
        ) from error
    return model
