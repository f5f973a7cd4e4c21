import time

import pytest
import torch
from safetensors.torch import save_file

from glaucoma.errors import SettingsError, UnknownModelError, WeightsUnavailableError
from glaucoma.models import registry
from glaucoma.models.classifiers import build_classifier, known_classifiers
from glaucoma.models.registry import OWN_MODELS, OwnModel, own_names
from glaucoma.models.segmenters import build_segmenter, canonical_encoder, known_segmenters
from glaucoma.models.small import SmallCnn
from glaucoma.models.weights import find_weights
from glaucoma.schema import Task

NARROW = (16, 16, 8, 8, 8)
SMALL_ENCODER = "tu-tf_mobilenetv3_small_minimal_100"


@pytest.fixture(autouse=True)
def no_network(monkeypatch, tmp_path):
    """Anything that would fetch fails at once, and the hub cache is empty."""

    def refuse(*args, **kwargs):
        raise AssertionError("this would use the network")

    monkeypatch.setattr("socket.socket.connect", refuse)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.file_download.constants.HF_HUB_CACHE", str(tmp_path / "hub"))


@pytest.mark.parametrize("name", ["lcnet_050", "small_cnn", "lcnet_050.ra2_in1k"])
def test_a_classifier_gives_one_logit_an_image(name):
    logits = build_classifier(name).eval()(torch.zeros(2, 3, 64, 64))
    assert logits.shape == (2, 1)


@pytest.mark.parametrize("name", [SMALL_ENCODER, "resnet18", "small_unet"])
def test_a_segmenter_gives_disc_and_cup_at_the_inputs_size(name):
    logits = build_segmenter(name, NARROW).eval()(torch.zeros(1, 3, 64, 96))
    assert logits.shape == (1, 2, 64, 96)


@pytest.mark.parametrize("name", own_names(Task.CLASSIFICATION) + own_names(Task.SEGMENTATION))
def test_every_own_model_trains(name):
    own = OWN_MODELS[name]
    model = build_classifier(name) if own.task is Task.CLASSIFICATION else build_segmenter(name, NARROW)
    model(torch.randn(2, 3, 64, 64)).sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_older_encoder_names_lead_to_todays():
    assert canonical_encoder("timm-mobilenetv3_small_minimal_100") == SMALL_ENCODER
    assert canonical_encoder("timm-regnetx_002") == "tu-regnetx_002"
    assert canonical_encoder("resnet34") == "resnet34"
    assert build_segmenter("timm-mobilenetv3_small_minimal_100", NARROW) is not None


@pytest.mark.parametrize(("name", "nearest"), [("eficientnet_b3", "efficientnet_b3"), ("small_cn", "small_cnn")])
def test_an_unknown_classifier_names_the_nearest(name, nearest):
    with pytest.raises(UnknownModelError, match=nearest):
        build_classifier(name)


@pytest.mark.parametrize(
    ("name", "nearest"), [("resnet43", "resnet34"), ("smal_unet", "small_unet"), ("tu-lcnet_05", "tu-lcnet_050")]
)
def test_an_unknown_segmenter_names_the_nearest(name, nearest):
    with pytest.raises(UnknownModelError, match=nearest):
        build_segmenter(name, NARROW)


@pytest.mark.parametrize(
    "name",
    ["hf-hub:timm/lcnet_050.ra2_in1k", "hf_hub:timm/lcnet_050", "local-dir:/tmp/lcnet_050", "lcnet_050./../../../etc/x",
     "lcnet_050.a:b", "/tmp/lcnet_050", "lcnet_050.x y", "lcnet_050.\n"],
)  # fmt: skip
def test_a_name_that_is_an_address_or_a_path_is_no_models_name_whatever_it_begins_with(name, tmp_path):
    with pytest.raises(UnknownModelError):
        build_classifier(name, pretrained=True, weights_dir=tmp_path)
    for encoder in (name, f"tu-{name}"):
        with pytest.raises(UnknownModelError):
            build_segmenter(encoder, NARROW, pretrained=True, weights_dir=tmp_path)


def test_a_classifier_is_no_segmenter_and_the_other_way_round():
    with pytest.raises(UnknownModelError):
        build_classifier("small_unet")
    with pytest.raises(UnknownModelError):
        build_segmenter("small_cnn", NARROW)


def test_all_presets_models_are_known():
    from glaucoma.schema import Preset
    from glaucoma.training.settings import TrainSettings

    for preset in Preset:
        settings = TrainSettings.for_preset(preset)
        assert settings.classifier in known_classifiers()
        assert settings.encoder in known_segmenters()


def test_an_encoder_that_does_not_serve_is_told():
    with pytest.raises(SettingsError, match="tu-vit_tiny_patch16_224"):
        build_segmenter("tu-vit_tiny_patch16_224", NARROW)


@pytest.mark.parametrize("name", ["efficientnet_b3", "lcnet_050"])
def test_missing_weights_are_told_fast_and_offline_with_every_place_looked_at(name, tmp_path):
    began = time.monotonic()
    with pytest.raises(WeightsUnavailableError) as caught:
        build_classifier(name, pretrained=True, weights_dir=tmp_path / "weights")
    assert time.monotonic() - began < 2
    message = str(caught.value)
    for part in (f"weights/{name}.safetensors", f"weights/{name}.pth", f"timm/{name}.", "hub", "pretrained to false"):
        assert part in message


@pytest.mark.parametrize(("name", "repository"), [("resnet34", "smp-hub/resnet34.imagenet"), (SMALL_ENCODER, "timm/")])
def test_missing_encoder_weights_name_their_repository(name, repository, tmp_path):
    with pytest.raises(WeightsUnavailableError, match=repository):
        build_segmenter(name, NARROW, pretrained=True, weights_dir=tmp_path)


def test_a_named_file_that_is_missing_is_not_replaced_by_another(tmp_path):
    write_weights(tmp_path / "small_cnn.pth", SmallCnn())
    with pytest.raises(WeightsUnavailableError, match=r"other\.pth"):
        build_classifier("small_cnn", pretrained=True, weights_path=tmp_path / "other.pth", weights_dir=tmp_path)


def trained(name="lcnet_050"):
    """A network as it is published: 1,000 classes and its own weights."""
    import timm

    torch.manual_seed(99)
    return timm.create_model(name)


def write_weights(path, model):
    state = {key: value.contiguous() for key, value in model.state_dict().items()}
    if path.suffix == ".safetensors":
        save_file(state, path)
    else:
        torch.save(state, path)


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_weights_in_the_workspace_are_loaded_but_for_the_head(suffix, tmp_path):
    source = trained()
    write_weights(tmp_path / f"lcnet_050{suffix}", source)
    model = build_classifier("lcnet_050", pretrained=True, weights_dir=tmp_path)
    torch.testing.assert_close(model.conv_stem.weight, source.conv_stem.weight)
    torch.testing.assert_close(model.conv_head.weight, source.conv_head.weight)
    assert model.classifier.weight.shape[0] == 1


def test_weights_in_the_local_hub_cache_are_found(tmp_path, monkeypatch):
    source = trained()
    cached = tmp_path / "model.safetensors"
    write_weights(cached, source)
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda repository, name: str(cached))
    model = build_classifier("lcnet_050", pretrained=True, weights_dir=tmp_path / "empty")
    torch.testing.assert_close(model.conv_stem.weight, source.conv_stem.weight)


def test_an_encoders_weights_are_loaded_into_a_unet(tmp_path):
    source = trained(SMALL_ENCODER.removeprefix("tu-"))
    write_weights(tmp_path / f"{SMALL_ENCODER.removeprefix('tu-')}.safetensors", source)
    model = build_segmenter(SMALL_ENCODER, NARROW, pretrained=True, weights_dir=tmp_path)
    torch.testing.assert_close(model.encoder.model.conv_stem.weight, source.conv_stem.weight)


def test_a_plain_encoders_weights_are_loaded_into_a_unet(tmp_path):
    torch.manual_seed(98)
    source = build_segmenter("resnet18", NARROW).encoder
    write_weights(tmp_path / "resnet18.pth", source)
    model = build_segmenter("resnet18", NARROW, pretrained=True, weights_dir=tmp_path)
    torch.testing.assert_close(model.encoder.conv1.weight, source.conv1.weight)


def test_weights_of_another_network_are_refused(tmp_path):
    write_weights(tmp_path / "small_cnn.pth", trained())
    with pytest.raises(WeightsUnavailableError, match="do not fit"):
        build_classifier("small_cnn", pretrained=True, weights_dir=tmp_path)
    for wrong in (SmallCnn(), trained("lcnet_075")):
        write_weights(tmp_path / "lcnet_050.pth", wrong)
        with pytest.raises(WeightsUnavailableError, match="do not fit"):
            build_classifier("lcnet_050", pretrained=True, weights_dir=tmp_path)


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
@pytest.mark.parametrize("content", [b"", b"not weights", b"\x80\x02cos\nsystem\n."])
def test_a_damaged_weights_file_is_told_and_runs_no_code(suffix, content, tmp_path):
    (tmp_path / f"small_cnn{suffix}").write_bytes(content)
    with pytest.raises(WeightsUnavailableError, match="cannot be read"):
        find_weights("small_cnn", None, None, tmp_path)


def test_a_new_network_needs_one_line_in_the_table(monkeypatch):
    monkeypatch.setitem(OWN_MODELS, "linear", OwnModel(Task.CLASSIFICATION, "glaucoma_extra:build"))
    monkeypatch.setattr(registry.importlib, "import_module", lambda name: {"glaucoma_extra": _Extra}[name])
    assert "linear" in known_classifiers()
    assert build_classifier("linear")(torch.zeros(2, 3, 32, 32)).shape == (2, 1)


def test_a_wrong_line_in_the_table_is_told(monkeypatch):
    monkeypatch.setitem(OWN_MODELS, "broken", OwnModel(Task.CLASSIFICATION, "glaucoma.models.small:build_smal_cnn"))
    with pytest.raises(SettingsError, match=r"models/registry\.py"):
        build_classifier("broken")


class _Extra:
    @staticmethod
    def build():
        return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.LazyLinear(1))
