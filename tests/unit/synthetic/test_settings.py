from __future__ import annotations

import pytest
from pydantic import ValidationError

from glaucoma.synthetic.settings import SyntheticLayout, SyntheticSettings


@pytest.mark.parametrize(
    ("preset", "patients", "height"), [("smoke", 80, 480), ("base", 300, 1200), ("large", 1500, 2056)]
)
def test_a_preset_sets_patients_and_height(preset: str, patients: int, height: int) -> None:
    settings = SyntheticSettings.for_preset(preset)
    assert (settings.patients, settings.photo_height_px) == (patients, height)


def test_shares_above_one_together_are_refused() -> None:
    with pytest.raises(ValidationError, match="more than 1 together"):
        SyntheticSettings(glaucoma_share=0.7, suspect_share=0.4)


@pytest.mark.parametrize("layout", [SyntheticLayout.REFUGE, SyntheticLayout.ACRIMA])
def test_layouts_without_a_word_for_suspects_refuse_them(layout: SyntheticLayout) -> None:
    with pytest.raises(ValidationError, match="no word for a suspect"):
        SyntheticSettings(layout=layout, suspect_share=0.1)


@pytest.mark.parametrize(
    "wrong", [{"patients": 0}, {"sites": 5}, {"photo_height_px": 20}, {"patient": 3}, {"seed": -1}]
)
def test_values_out_of_bounds_and_unknown_keys_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValidationError):
        SyntheticSettings.model_validate(wrong)


def test_every_setting_is_described() -> None:
    assert all(field.description for field in SyntheticSettings.model_fields.values())
