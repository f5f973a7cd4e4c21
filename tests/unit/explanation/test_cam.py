from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from torch import nn

from glaucoma.errors import SettingsError
from glaucoma.explanation.cam import activations, find_layer, glaucoma_evidence
from glaucoma.explanation.dri import enlarge


class Plain(nn.Module):
    """Non-negative features and a head with a hidden layer, so that the gradient varies from place to place."""

    def __init__(self, outputs: int = 1) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(inplace=True), nn.Conv2d(8, 12, 3, 2, 1), nn.ReLU(inplace=True)
        )
        self.squash = nn.Hardtanh(-0.2, 0.3, inplace=True)  # writes in place right after the explained layer
        self.pool = nn.AdaptiveAvgPool2d(2)
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(48, 16), nn.ReLU(), nn.Linear(16, outputs))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(self.pool(self.squash(self.features(images) - 0.02)))


@pytest.fixture
def model() -> nn.Module:
    torch.manual_seed(0)
    return Plain().eval()


@pytest.fixture
def images() -> torch.Tensor:
    return torch.randn(5, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def min_max(maps: np.ndarray) -> np.ndarray:
    flat = np.maximum(maps, 0).reshape(len(maps), -1)
    flat = flat - flat.min(axis=1, keepdims=True)
    return (flat / (flat.max(axis=1, keepdims=True) + 1e-12)).reshape(maps.shape)


def pytorch_grad_cam(kind: str, model: nn.Module, layer: nn.Module, images: torch.Tensor, sign: float) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from pytorch_grad_cam import GradCAM, GradCAMPlusPlus

        cam = {"grad_cam": GradCAM, "grad_cam_pp": GradCAMPlusPlus}[kind](model=model, target_layers=[layer])
        with cam:
            return cam(input_tensor=images, targets=[lambda out: sign * out.sum()] * len(images))


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_the_map_is_captums(model: nn.Module, images: torch.Tensor, sign: float) -> None:
    from captum.attr import LayerGradCam

    found = activations(model, model.features, images, glaucoma_evidence(torch.full((5,), sign)))
    theirs = LayerGradCam(lambda x: sign * model(x), model.features).attribute(images, target=0)
    torch.testing.assert_close(found.grad_cam(), theirs[:, 0].detach(), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("kind", ["grad_cam", "grad_cam_pp"])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_both_maps_are_those_of_pytorch_grad_cam(images: torch.Tensor, kind: str, sign: float) -> None:
    torch.manual_seed(3)
    model = Plain().eval()
    # that package adds 1e-6 to a denominator of squared gradients: they must be large against it
    for layer in (model.head[1], model.head[3]):
        layer.weight.data *= 30
    found = activations(model, model.features, images, glaucoma_evidence(torch.full((5,), sign)))
    ours = getattr(found, kind)().numpy()
    theirs = pytorch_grad_cam(kind, model, model.features, images, sign)
    large = np.stack([enlarge(np.maximum(one, 0), (32, 32)) for one in ours])
    np.testing.assert_allclose(min_max(large), min_max(theirs), atol=2e-3 if kind == "grad_cam_pp" else 2e-5)


def test_grad_cam_pp_is_the_written_out_formula_of_the_paper(model: nn.Module, images: torch.Tensor) -> None:
    """Equations 10, 11, 19 of Chattopadhyay et al. with exp on the score: its factor, common to a map, is left out."""
    found = activations(model, model.features, images, glaucoma_evidence(torch.ones(5)))
    a, g = found.features.double().numpy(), found.gradients.double().numpy()
    expected = np.zeros((5, *a.shape[2:]))
    for n in range(5):
        for k in range(a.shape[1]):
            total, weight = a[n, k].sum(), 0.0
            for i in range(a.shape[2]):
                for j in range(a.shape[3]):
                    d = g[n, k, i, j]
                    denominator = 2 * d**2 + total * d**3
                    weight += (d**2 / denominator if d else 0.0) * max(d, 0.0)
            expected[n] += weight * a[n, k]
    np.testing.assert_allclose(found.grad_cam_pp().numpy(), expected, atol=1e-6, rtol=1e-4)


def test_an_image_has_the_same_map_alone_and_in_a_batch(model: nn.Module, images: torch.Tensor) -> None:
    together = activations(model, model.features, images, glaucoma_evidence())
    for place in range(len(images)):
        alone = activations(model, model.features, images[place : place + 1], glaucoma_evidence())
        torch.testing.assert_close(alone.grad_cam()[0], together.grad_cam()[place], atol=1e-6, rtol=1e-4)
        torch.testing.assert_close(alone.grad_cam_pp()[0], together.grad_cam_pp()[place], atol=1e-6, rtol=1e-4)


def test_the_model_comes_back_as_it_was(model: nn.Module, images: torch.Tensor) -> None:
    model.features[0].weight.requires_grad_(False)
    before = {name: (p.detach().clone(), p.requires_grad) for name, p in model.named_parameters()}
    plain = model(images).detach()
    found = activations(model, model.features, images, glaucoma_evidence())
    assert all(p.grad is None for p in model.parameters())
    assert {n: p.requires_grad for n, p in model.named_parameters()} == {n: r for n, (_, r) in before.items()}
    assert all(torch.equal(p, before[n][0]) for n, p in model.named_parameters())
    assert not model.features._forward_hooks
    torch.testing.assert_close(found.output, plain)
    with pytest.raises(SettingsError):
        activations(model, model.head, images, glaucoma_evidence())
    assert not model.head._forward_hooks
    assert model.head[1].weight.requires_grad


def test_it_works_under_inference_without_gradients(model: nn.Module, images: torch.Tensor) -> None:
    with torch.no_grad():
        found = activations(model, model.features, images, glaucoma_evidence())
    assert found.gradients.abs().sum() > 0


def test_evidence_for_the_other_class_turns_the_map_around(model: nn.Module, images: torch.Tensor) -> None:
    for_it = activations(model, model.features, images, glaucoma_evidence(torch.ones(5))).grad_cam()
    against = activations(model, model.features, images, glaucoma_evidence(-torch.ones(5))).grad_cam()
    torch.testing.assert_close(for_it, -against)


def test_after_global_pooling_and_a_linear_head_the_map_sums_to_the_logit_less_its_bias(images: torch.Tensor) -> None:
    from glaucoma.models.small import SmallCnn

    torch.manual_seed(0)
    model = SmallCnn().eval()
    found = activations(model, model.features, images, glaucoma_evidence(torch.ones(5)))
    expected = found.output.flatten() - float(model.classifier.bias.detach())
    torch.testing.assert_close(found.grad_cam().sum(dim=(1, 2)), expected, atol=1e-5, rtol=1e-4)


def test_a_map_shows_the_photographs_part_of_the_logit_whatever_the_clinical_values(images: torch.Tensor) -> None:
    from glaucoma.models.fusion import ClinicalFusion
    from glaucoma.models.small import SmallCnn

    torch.manual_seed(0)
    model = ClinicalFusion(SmallCnn(), ["age_years"]).eval()
    ages = torch.tensor([[0.5], [-1.0], [2.0], [float("nan")], [0.0]])
    name, layer = find_layer(model, "auto", images, ages)
    assert name == "image.features"
    found = activations(model, layer, images, glaucoma_evidence(torch.ones(5)), ages)
    with torch.no_grad():
        torch.testing.assert_close(found.output, model(images, ages))
    other = activations(model, layer, images, glaucoma_evidence(torch.ones(5)), ages + 3)
    torch.testing.assert_close(found.grad_cam(), other.grad_cam())
    assert not torch.allclose(found.output, other.output)
    weights = model.classifier.weight[0, :96].detach()
    torch.testing.assert_close(
        found.grad_cam().sum(dim=(1, 2)), model.image(images).detach() @ weights, atol=1e-5, rtol=1e-4
    )


@pytest.mark.parametrize(
    ("name", "layer", "cells"),
    [("efficientnet_b0", "bn2", 2), ("resnet18", "layer4", 2), ("lcnet_050", "blocks", 2), ("convnext_atto", None, 2)],
)
def test_auto_takes_the_last_map_of_known_networks(name: str, layer: str | None, cells: int) -> None:
    import timm

    model = timm.create_model(name, num_classes=1).eval()
    found, module = find_layer(model, "auto", torch.zeros(1, 3, 64, 64))
    assert layer is None or found == layer
    maps = activations(model, module, torch.randn(2, 3, 64, 64), glaucoma_evidence()).grad_cam()
    assert maps.shape == (2, cells, cells)


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "swin_tiny_patch4_window7_224"])
def test_a_network_of_tokens_is_refused_in_words(name: str) -> None:
    import timm

    model = timm.create_model(name, num_classes=1, depth=2).eval() if "vit" in name else timm.create_model(
        name, num_classes=1, embed_dim=24, depths=(1, 1, 1, 1), num_heads=(1, 1, 1, 1)
    ).eval()  # fmt: skip
    with pytest.raises(SettingsError, match="ends in no map"):
        find_layer(model, "auto", torch.zeros(1, 3, 224, 224))


def test_a_layer_can_be_named_and_a_wrong_name_meets_the_nearest_ones(model: nn.Module, images: torch.Tensor) -> None:
    assert find_layer(model, "features.2", images)[1] is model.features[2]
    with pytest.raises(SettingsError, match=r"features\.2"):
        find_layer(model, "feature.2", images)
