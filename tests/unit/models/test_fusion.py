from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from glaucoma.errors import DatasetError, SettingsError
from glaucoma.models.classifiers import build_classifier
from glaucoma.models.fusion import ClinicalFusion, logits_of
from glaucoma.schema import Task
from glaucoma.training.build import build_model
from glaucoma.training.scores import area_under_roc
from glaucoma.training.settings import TrainSettings
from glaucoma.training.spec import ExperimentSpec, spec_from
from glaucoma.workspace import Workspace

BOTH = ("age_years", "iop_mmhg")
NAN = float("nan")


def make_spec(clinical: tuple[str, ...] = BOTH, **overrides: object) -> ExperimentSpec:
    values = {"model": "small_cnn", "input_px": 32, "clinical": clinical, **overrides}
    return spec_from(TrainSettings.for_preset("smoke"), Task.CLASSIFICATION, "eyes", "0" * 16, **values)


def fused(name: str = "small_cnn", clinical: tuple[str, ...] = BOTH, seed: int = 0) -> ClinicalFusion:
    torch.manual_seed(seed)
    model = build_model(make_spec(clinical, model=name))
    assert isinstance(model, ClinicalFusion)
    return model


def people(n: int, seed: int) -> tuple[Tensor, np.ndarray, Tensor]:
    """Photographs of noise, age and pressure of the people, a tenth of each missing; above 60 it is glaucoma."""
    rng = np.random.default_rng(seed)
    images = torch.from_numpy(rng.normal(size=(n, 3, 32, 32)).astype(np.float32))
    values = np.stack([rng.uniform(35, 85, n), rng.normal(16, 3, n)], axis=1).astype(np.float32)
    labels = torch.from_numpy((values[:, :1] > 60).astype(np.float32))
    values[:, 1][rng.random(n) < 0.1] = NAN
    return images, values, labels


def trained(model: ClinicalFusion, steps: int = 60) -> ClinicalFusion:
    model.set_clinical_scale(people(96, seed=1)[1])
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    model.train()
    for step in range(steps):
        images, values, labels = people(64, seed=100 + step)  # new ones, so that no photograph can be learned by heart
        optimizer.zero_grad()
        loss = nn.functional.binary_cross_entropy_with_logits(model(images, torch.from_numpy(values)), labels)
        loss.backward()
        optimizer.step()
    return model.eval()


def test_where_age_alone_decides_the_network_uses_it():
    model = trained(fused())
    images, values, labels = people(200, seed=2)
    rng = np.random.default_rng(3)

    def auc(shown: np.ndarray) -> float:
        with torch.inference_mode():
            return area_under_roc(labels.numpy()[:, 0], model(images, torch.from_numpy(shown)).numpy()[:, 0])

    assert auc(values) > 0.95
    assert abs(auc(rng.permutation(values)) - 0.5) < 0.15
    assert abs(auc(np.full_like(values, NAN)) - 0.5) < 0.15


@pytest.mark.parametrize("name", ["small_cnn", "lcnet_050", "convnext_atto"])
def test_a_fused_network_gives_one_logit_an_image_and_a_gradient_to_every_weight(name):
    model = fused(name)
    logits = model(torch.randn(2, 3, 64, 64), torch.tensor([[60.0, NAN], [NAN, 21.0]]))
    assert logits.shape == (2, 1)
    logits.sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


@pytest.mark.parametrize("name", ["lcnet_050", "convnext_atto"])
def test_the_photographs_part_is_timms_pooled_features(name):
    torch.manual_seed(0)
    plain = build_classifier(name).eval()
    model = fused(name).eval()
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        expected = plain.forward_head(plain.forward_features(images), pre_logits=True)
        torch.testing.assert_close(model.image(images), expected)
    assert model.classifier.in_features == expected.shape[1] + 16


def test_without_clinical_values_the_network_is_unchanged_bit_for_bit():
    torch.manual_seed(5)
    plain = build_classifier("lcnet_050").state_dict()
    torch.manual_seed(5)
    model = build_model(make_spec((), model="lcnet_050"))
    found = model.state_dict()
    assert list(found) == list(plain)
    assert all(torch.equal(found[name], plain[name]) for name in plain)
    images = torch.randn(2, 3, 64, 64)
    assert torch.equal(logits_of(model.eval(), images, None), model(images))


def test_a_missing_value_stands_at_the_training_mean_and_is_told_from_it():
    model = fused()
    model.set_clinical_scale(np.array([[50, 15], [70, NAN], [NAN, 25]], np.float32))
    assert model.clinical_mean.tolist() == [60, 20]
    assert model.clinical_std.tolist() == [10, 5]
    seen: list[Tensor] = []
    model.clinical.register_forward_hook(lambda _module, inputs, _output: seen.append(inputs[0]))
    model(torch.zeros(3, 3, 32, 32), torch.tensor([[60.0, 20.0], [NAN, 30.0], [40.0, NAN]]))
    assert seen[0].tolist() == [[0, 0, 0, 0], [0, 2, 1, 0], [-2, 0, 0, 1]]


def test_values_that_are_all_missing_give_a_valid_logit_and_valid_gradients():
    model = fused()
    model.set_clinical_scale(np.array([[50, 15], [70, 20]], np.float32))
    logits = model(torch.randn(3, 3, 32, 32), torch.full((3, 2), NAN))
    assert torch.isfinite(logits).all()
    logits.sum().backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in model.parameters())


def test_a_value_that_never_differs_is_not_divided_by_zero():
    model = fused(clinical=("age_years",))
    model.set_clinical_scale(np.full((4, 1), 60, np.float32))
    assert (model.clinical_mean.item(), model.clinical_std.item()) == (60, 1)


def test_a_value_that_no_training_photograph_has_is_refused():
    with pytest.raises(DatasetError, match="None of the 3 training photographs has a value for iop_mmhg"):
        fused().set_clinical_scale(np.array([[50, NAN]] * 3, np.float32))


def test_the_scale_travels_in_the_state_dict():
    model = fused()
    model.set_clinical_scale(people(20, seed=0)[1])
    other = fused(seed=9)
    other.load_state_dict(model.state_dict())
    images, values, _ = people(4, seed=4)
    clinical = torch.from_numpy(values)
    assert torch.equal(model.eval()(images, clinical), other.eval()(images, clinical))


def test_an_image_has_the_same_logit_alone_and_in_a_batch():
    model = trained(fused(), steps=3)
    images, values, _ = people(6, seed=4)
    clinical = torch.from_numpy(values)
    together = model(images, clinical)
    for place in range(6):
        alone = model(images[place : place + 1], clinical[place : place + 1])
        torch.testing.assert_close(alone[0], together[place])


def test_half_precision_serves():
    model = fused("resnet10t")
    with torch.autocast("cpu", torch.bfloat16):
        logits = model(torch.randn(2, 3, 64, 64), torch.tensor([[60.0, NAN], [NAN, 21.0]]))
    logits.float().sum().backward()
    assert torch.isfinite(logits).all()
    assert all(torch.isfinite(parameter.grad).all() for parameter in model.parameters())


@pytest.fixture
def weights(tmp_path) -> Callable[[str, nn.Module], Workspace]:
    def write(name: str, source: nn.Module) -> Workspace:
        workspace = Workspace.at(tmp_path)
        workspace.weights.mkdir(parents=True, exist_ok=True)
        save_file(
            {k: v.contiguous() for k, v in source.state_dict().items()}, workspace.weights / f"{name}.safetensors"
        )
        return workspace

    return write


@pytest.mark.parametrize("name", ["lcnet_050", "small_cnn"])
def test_pretrained_weights_are_loaded_as_without_clinical_values(name, weights):
    import timm

    torch.manual_seed(99)
    source = build_classifier(name) if name == "small_cnn" else timm.create_model(name)
    workspace = weights(name, source)
    model = build_model(make_spec(model=name, pretrained=True), workspace)
    kept = model.get_submodule("image").state_dict()
    assert len(kept) > 10
    assert all(torch.equal(kept[key], source.state_dict()[key]) for key in kept)


def test_a_network_whose_head_cannot_be_taken_off_is_told():
    with pytest.raises(SettingsError, match=r"Linear cannot be joined.*reset_classifier"):
        ClinicalFusion(nn.Linear(2, 1), BOTH)
