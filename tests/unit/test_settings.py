from __future__ import annotations

import pytest
from pydantic import Field, ValidationError

from glaucoma.schema import Preset
from glaucoma.settings import PresetBool, PresetSettings, Settings, UserPath, by_preset


class Stage(Settings):
    epochs: int = by_preset(smoke=1, base=10, large=100, ge=1, description="Epochs.")
    keep: bool = Field(default=True, description="Keep.")
    pretrained: PresetBool = by_preset(smoke=False, base=True, large=True, description="Pretrained.")
    widths: tuple[int, ...] = by_preset(smoke=(4, 2), base=(8, 4), large=(8, 4), description="Widths.")
    stall_timeout_s: float = Field(default=60.0, description="Patience.")
    max_cdr_error: float = Field(default=0.1, description="Error.")
    file: UserPath | None = Field(default=None, description="A file.")


class Config(PresetSettings):
    size: int = by_preset(smoke=64, base=512, large=768, description="Side.")
    stage: Stage = Field(default_factory=Stage)


@pytest.mark.parametrize(("preset", "size", "epochs"), [("smoke", 64, 1), ("base", 512, 10), ("large", 768, 100)])
def test_a_preset_fills_in_nested_settings_too(preset: str, size: int, epochs: int) -> None:
    config = Config(preset=Preset(preset))
    assert (config.size, config.stage.epochs, config.stage.keep) == (size, epochs, True)


def test_what_is_given_wins_over_the_preset() -> None:
    config = Config.model_validate({"preset": "large", "stage": {"epochs": 3}})
    assert (config.size, config.stage.epochs) == (768, 3)


def test_an_empty_value_of_a_form_means_what_the_preset_says() -> None:
    config = Config.model_validate({"preset": None, "size": None, "stage": None})
    assert config == Config()
    assert config.size == 512


def test_a_form_sees_the_presets_in_the_description_and_no_default_that_would_override_them() -> None:
    size = Config.model_json_schema()["properties"]["size"]
    assert "default" not in size
    assert size["description"] == "Side. By preset: smoke 64, base 512, large 768."


def test_a_switch_that_follows_the_preset_is_null_in_a_form_which_cannot_leave_it_empty() -> None:
    switch = Stage.model_json_schema()["properties"]["pretrained"]
    assert switch["anyOf"] == [{"type": "boolean"}, {"type": "null"}]
    assert switch["default"] is None
    assert "type" not in switch
    for preset, expected in (("smoke", False), ("base", True)):
        assert Config.model_validate({"preset": preset, "stage": {"pretrained": None}}).stage.pretrained is expected
    assert Config.model_validate({"preset": "base", "stage": {"pretrained": False}}).stage.pretrained is False
    with pytest.raises(ValidationError):
        Stage(pretrained=None)  # type: ignore[arg-type]


def test_a_form_shows_values_as_they_are_typed_and_names_with_their_units() -> None:
    fields = Stage.model_json_schema()["properties"]
    assert fields["widths"]["description"] == "Widths. By preset: smoke [4, 2], base [8, 4], large [8, 4]."
    assert fields["pretrained"]["description"] == "Pretrained. By preset: smoke off, base on, large on."
    assert [fields[name]["title"] for name in ("stall_timeout_s", "max_cdr_error", "keep")] == [
        "Stall timeout (s)",
        "Max CDR error",
        "Keep",
    ]


def test_a_home_folder_is_expanded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/reader")
    assert str(Stage.model_validate({"file": "~/b3.pth"}).file) == "/home/reader/b3.pth"
    with pytest.raises(ValidationError, match="~nobody-of-this-name"):
        Stage.model_validate({"file": "~nobody-of-this-name/b3.pth"})


def test_settings_round_trip_through_json() -> None:
    config = Config.model_validate({"preset": "smoke", "stage": {"epochs": 7}})
    assert Config.model_validate_json(config.model_dump_json()) == config


@pytest.mark.parametrize("wrong", [{"sise": 1}, {"stage": {"epoch": 1}}, {"stage": {"epochs": 0}}, {"preset": "huge"}])
def test_unknown_and_out_of_bounds_settings_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Config.model_validate(wrong)


def test_settings_never_change() -> None:
    with pytest.raises(ValidationError):
        Config().size = 3  # type: ignore[misc]


def test_a_stages_own_settings_follow_a_preset_by_name() -> None:
    assert Stage.for_preset("smoke") == Stage(epochs=1, pretrained=False, widths=(4, 2))
    assert Stage.for_preset(Preset.LARGE, epochs=5).epochs == 5
