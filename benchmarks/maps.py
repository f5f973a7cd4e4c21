"""Grad-CAM against pytorch-grad-cam, and against the forward pass without which there is none."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.harness import Candidate, Comparison, Skipped
from benchmarks.place import Place
from glaucoma.explanation.cam import activations, glaucoma_evidence
from glaucoma.models.classifiers import build_classifier

_MODEL, _LAYER, _BATCH, _SIDE_PX = "resnet18", "layer4", 8, 224


def benchmark(place: Place) -> Iterator[Comparison | Skipped]:
    """Both explain the glaucoma logit of an untrained network; the maps are compared first."""
    stage = "Grad-CAM"
    try:
        from pytorch_grad_cam import GradCAM
        from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
    except ImportError:
        yield Skipped(stage, "pytorch-grad-cam is not installed")
        return
    torch.manual_seed(place.seed)
    model = build_classifier(_MODEL).eval()
    layer = model.get_submodule(_LAYER)
    images = torch.randn(_BATCH, 3, _SIDE_PX, _SIDE_PX)
    target = glaucoma_evidence(torch.ones(_BATCH))

    def own_maps() -> NDArray[np.float32]:
        maps = activations(model, layer, images, target).grad_cam().clamp(min=0).numpy()
        return np.stack([_scaled(cv2.resize(_scaled(one), (_SIDE_PX, _SIDE_PX))) for one in maps])

    def ours() -> None:
        own_maps()

    def forward() -> None:
        with torch.no_grad():
            model(images)

    with GradCAM(model=model, target_layers=[layer]) as peer:
        targets = [ClassifierOutputTarget(0)] * _BATCH
        theirs = np.asarray(peer(input_tensor=images, targets=targets))
    np.testing.assert_allclose(own_maps(), theirs, atol=1e-3)

    def grad_cam() -> None:
        with GradCAM(model=model, target_layers=[layer]) as tool:
            tool(input_tensor=images, targets=targets)

    yield Comparison(
        stage,
        Candidate("own, maps at the input's size", ours),
        (Candidate("pytorch-grad-cam", grad_cam), Candidate("limit: forward pass, no gradient", forward)),
        f"{_MODEL}, {_BATCH} x {_SIDE_PX} px",
    )


def _scaled(heat: NDArray[np.float32]) -> NDArray[np.float32]:
    """From 0 to 1, as pytorch-grad-cam scales its maps before and after it enlarges them."""
    risen = heat - heat.min()
    return np.asarray(risen / (1e-7 + risen.max()), dtype=np.float32)
