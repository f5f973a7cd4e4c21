"""Grad-CAM and Grad-CAM++ for a batch, in one forward pass and a backward pass through the head alone.

Only what comes after the target layer needs a gradient: the layer's output is cut from the graph and put back as a
leaf. That is about the price of a forward pass, and no gradient ever reaches a weight.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from glaucoma.errors import SettingsError
from glaucoma.explanation.settings import CamMethod
from glaucoma.models.fusion import logits_of

Target = Callable[[Tensor], Tensor]
"""From the model's output for a batch to one number per image (N,): what the map explains."""


class NoSpatialMapError(SettingsError):
    """The network has no layer whose activations are a map of the image: a transformer of tokens."""


@dataclass(frozen=True)
class Activations:
    """What the target layer held, and how the explained numbers answer to it."""

    features: Tensor
    """(N, C, h, w) float32, on the CPU."""
    gradients: Tensor
    """(N, C, h, w), the gradient of each image's number."""
    output: Tensor
    """The model's output for the batch."""

    def grad_cam(self) -> Tensor:
        """(N, h, w): channels summed with the mean of their gradient as weights; signed, before any ReLU."""
        weights = self.gradients.mean(dim=(2, 3), keepdim=True)
        return (weights * self.features).sum(dim=1)

    def grad_cam_pp(self) -> Tensor:
        """(N, h, w): Grad-CAM++; signed, before any ReLU.

        A channel's weight is the sum of its positive gradients, each times alpha = 1 / (2 + gradient * sum of the
        channel's activations), the closed form for an exponential on the score, which itself cancels and so cannot
        overflow. The derivation takes activations from 0 upwards; where a negative sum leaves no positive denominator,
        alpha is 0.
        """
        positive = self.gradients.clamp(min=0)
        denominator = 2 + self.gradients * self.features.sum(dim=(2, 3), keepdim=True)
        alpha = torch.where(denominator > 1e-6, 1 / denominator.clamp(min=1e-6), torch.zeros_like(denominator))
        weights = (positive * alpha).sum(dim=(2, 3), keepdim=True)
        return (weights * self.features).sum(dim=1)

    def heat(self, method: CamMethod) -> Tensor:
        """(N, h, w): the signed map of that method."""
        return self.grad_cam() if method is CamMethod.GRAD_CAM else self.grad_cam_pp()


def activations(
    model: nn.Module, layer: nn.Module, images: Tensor, target: Target, clinical: Tensor | None = None
) -> Activations:
    """Runs `model` on `images` (N, 3, H, W) and differentiates `target` by the output of `layer`.

    Clinical values (N, k), for a model that sees them, are held fixed.

    The model is used as it stands (call `eval()` first: with batch statistics the images would not be independent) and
    left as it was, its parameters' `requires_grad` included.

    Raises:
        SettingsError: The layer has no spatial map, or the explained number does not depend on it.
    """
    kept: list[Tensor] = []

    def cut(_module: nn.Module, _inputs: object, output: object) -> Tensor:
        if not isinstance(output, Tensor) or output.ndim != 4:
            raise SettingsError(
                f"The target layer gives {_described(output)}",
                expected="a map of shape (images, channels, height, width)",
                remedy="name a convolutional layer, or set target_layer to auto",
            )
        leaf = output.detach().requires_grad_(True)
        kept.append(leaf)
        return leaf.clone()  # what follows may write in place, which a leaf forbids

    handle = layer.register_forward_hook(cut)
    try:
        with frozen(model), torch.enable_grad():
            output = logits_of(model, images, clinical)
            numbers = target(output)
            if len(kept) != 1:
                raise SettingsError(f"The target layer runs {len(kept)} times in a pass", expected="once")
            if not numbers.requires_grad:
                raise SettingsError("The explained number does not depend on the target layer")
            (gradients,) = torch.autograd.grad(numbers.sum(), kept[0])
    finally:
        handle.remove()
    return Activations(kept[0].detach().float().cpu(), gradients.float().cpu(), output.detach().float().cpu())


def glaucoma_evidence(sign: Tensor | None = None) -> Target:
    """Explains the one logit of a classifier, times `sign` (N,): -1 asks for the evidence for normal.

    Without signs, each image's own: the evidence for what the model says.
    """

    def target(output: Tensor) -> Tensor:
        logits = output.flatten()
        chosen = torch.where(logits.detach() > 0, 1.0, -1.0) if sign is None else sign.to(logits)
        return logits * chosen

    return target


def find_layer(model: nn.Module, name: str, images: Tensor, clinical: Tensor | None = None) -> tuple[str, nn.Module]:
    """The layer to explain, with its name.

    `auto` is the last to finish among those that give a map of more than one cell: for timm's EfficientNets that is
    `bn2`, for ResNets `layer4`; where the model sees clinical values too, `image.` stands before it. It is found by
    running `images` (N, 3, H, W), with H = W, and their clinical values (N, k) once.

    Raises:
        NoSpatialMapError: `auto`, and no layer gives a map (a network of tokens).
        SettingsError: No layer of that name.
    """
    if name != "auto":
        modules = dict(model.named_modules())
        if name not in modules:
            near = difflib.get_close_matches(name, modules, n=5, cutoff=0.0)
            raise SettingsError(
                f"The model has no layer {name!r}",
                expected=f"one like {', '.join(near)}",
                remedy="correct target_layer, or set it to auto",
            )
        return name, modules[name]
    maps = _spatial_maps(model, images, clinical)
    if not maps:
        raise NoSpatialMapError(
            f"{type(model).__name__} ends in no map of shape (images, channels, height, width)",
            consequence="Class activation maps cannot be made of it",
            remedy="explain a convolutional network, or name one of its convolutional layers",
        )
    return maps[-1]


def _spatial_maps(model: nn.Module, images: Tensor, clinical: Tensor | None) -> list[tuple[str, nn.Module]]:
    """Name and module of every square map, in the order of finishing; none where tokens come after the last."""
    seen: list[tuple[str, nn.Module]] = []

    def note(name: str) -> Callable[[nn.Module, object, object], None]:
        def hook(module: nn.Module, _inputs: object, output: object) -> None:
            if not isinstance(output, Tensor) or output.ndim < 3 or output[0, 0].numel() == 1:
                return
            if output.ndim == 4 and output.shape[2] == output.shape[3]:
                seen.append((name, module))
            else:
                seen.clear()  # tokens (images, places, channels), or channels last: what came before was no last map

        return hook

    handles = [module.register_forward_hook(note(name)) for name, module in model.named_modules() if name]
    try:
        with torch.no_grad():
            logits_of(model, images, clinical)
    finally:
        for handle in handles:
            handle.remove()
    return seen


@contextmanager
def frozen(model: nn.Module) -> Iterator[None]:
    """No parameter asks for a gradient inside; afterwards each is as it was."""
    wanted = [p for p in model.parameters() if p.requires_grad]
    for parameter in wanted:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in wanted:
            parameter.requires_grad_(True)


def _described(output: object) -> str:
    return f"a tensor of shape {tuple(output.shape)}" if isinstance(output, Tensor) else f"a {type(output).__name__}"
