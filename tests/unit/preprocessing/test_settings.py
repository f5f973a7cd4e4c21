from __future__ import annotations

import pytest
from pydantic import ValidationError

from glaucoma.preprocessing.settings import (
    DEFAULT_STEPS,
    KINDS,
    CentreCrop,
    Clahe,
    DiscCrop,
    FieldCrop,
    Normalise,
    PreprocessSettings,
    Resize,
    Step,
)


@pytest.mark.parametrize(
    ("wrong", "where"),
    [
        ({"image_size_px": 63}, "greater than or equal to 64"),
        ({"steps": [{"kind": "centre_crop", "share": 0.6}, {"kind": "resize"}]}, "less than or equal to 0.5"),
        ({"steps": [{"kind": "clahe", "channel": "red"}, {"kind": "resize"}]}, "'green' or 'lightness'"),
        ({"steps": [{"kind": "blur"}]}, "'blur' found using 'kind' does not match any of the expected tags"),
        ({"steps": [{"kind": "resize", "size": 3}]}, "Extra inputs are not permitted"),
        ({"steps": [{"share": 0.1}]}, "Unable to extract tag using discriminator 'kind'"),
        ({"sise": 1}, "Extra inputs are not permitted"),
    ],
)
def test_wrong_settings_are_refused_when_made(wrong: dict[str, object], where: str) -> None:
    with pytest.raises(ValidationError, match=where):
        PreprocessSettings.model_validate(wrong)


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ((), "the chain has no resize"),
        ((FieldCrop(), Clahe()), "the chain has no resize"),
        ((Resize(), Resize()), "resize stands 2 times"),
        ((Clahe(), Resize(), Clahe(tiles=4)), "clahe stands 2 times"),
        ((Normalise(), Resize(), Normalise()), "normalise by stretch stands 2 times"),
        ((Resize(), FieldCrop()), "field_crop stands after resize: pixels are resampled once, after all crops"),
        ((Resize(), DiscCrop()), "disc_crop stands after resize"),
        ((CentreCrop(), FieldCrop(), Resize()), "field_crop stands after centre_crop: it would undo centre_crop"),
        ((DiscCrop(), FieldCrop(), Resize()), "field_crop stands after disc_crop: it would undo disc_crop"),
    ],
)
def test_a_chain_in_a_wrong_order_is_refused_with_the_reason(steps: tuple[Step, ...], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        PreprocessSettings(steps=steps)


@pytest.mark.parametrize(
    "steps",
    [
        DEFAULT_STEPS,
        (Resize(),),
        (Clahe(), FieldCrop(), Resize()),
        (FieldCrop(), Normalise(), DiscCrop(), Clahe(), Resize(), Normalise(method="grey_world")),
    ],
)
def test_a_chain_reads_back_from_json_as_it_was(steps: tuple[Step, ...]) -> None:
    settings = PreprocessSettings(steps=steps)
    assert PreprocessSettings.model_validate_json(settings.model_dump_json()) == settings


def test_the_default_chain_is_the_field_less_its_edge_resized_then_equalised() -> None:
    kinds = [step.kind for step in PreprocessSettings().steps]
    assert kinds == ["field_crop", "centre_crop", "resize", "clahe"]


def test_the_description_names_every_kind_and_every_setting_of_it() -> None:
    described = PreprocessSettings.model_fields["steps"].description or ""
    for model in KINDS:
        assert str(model.model_fields["kind"].default) in described
        assert all(name in described for name in model.model_fields if name != "kind")


def test_the_preset_decides_the_size_unless_it_is_given() -> None:
    assert PreprocessSettings.for_preset("large").image_size_px == 768
    assert PreprocessSettings.for_preset("large", image_size_px=100).image_size_px == 100
