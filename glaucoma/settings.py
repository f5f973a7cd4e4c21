"""The base of all settings: frozen, strict about unknown keys, with the presets beside each field.

A field whose value depends on the preset is declared with `by_preset`. It has no fixed default in the JSON schema, so a
form leaves it empty and sends nothing, and an empty value means "what the preset says". A value that is given wins.
A switch cannot be left empty, so a form would send "off": such a field is a `PresetBool`, which may be null in a form.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Self, cast

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo, WithJsonSchema, model_validator
from pydantic.fields import ComputedFieldInfo, FieldInfo

from glaucoma.roots import confined, is_workers_run
from glaucoma.schema import Preset

_PRESETS = "presets"
_UNITS = {"s", "px", "kb"}
_ACRONYMS = {"auc", "cdr", "dri", "gpu", "id", "url"}


def _expanded(path: Path) -> Path:
    try:
        return path.expanduser()
    except RuntimeError as error:  # ~somebody whom this machine does not know
        raise ValueError(f"{path}: {error}") from error


PATHS = "paths"
TRUSTED, CONFINED = {PATHS: "trusted"}, {PATHS: "confined"}
"""Contexts for `model_validate`: what ARC wrote itself and reads again; what is a worker's run in whatever process."""


def _checked(path: Path, info: ValidationInfo) -> Path:
    how = (info.context or {}).get(PATHS)
    expanded = _expanded(path)
    if how == "trusted" or (how != "confined" and not is_workers_run()):
        return expanded
    return confined(expanded)


PATH_CHECK = AfterValidator(_checked)
UserPath = Annotated[Path, PATH_CHECK]
"""A path as people write it: `~` is their home folder, in forms and YAML files too, where no shell expands it.

In a worker's run it is resolved, and refused outside the worker's roots (`glaucoma.roots`). Every path in the settings
of a flow is of this type.
"""

PresetBool = Annotated[bool, WithJsonSchema({"anyOf": [{"type": "boolean"}, {"type": "null"}]})]
"""True or false by `by_preset`; null, in a form alone, is "what the preset says"."""


def _shown(value: Any) -> str:
    """A value as it is typed, in a form or on a command line."""
    if isinstance(value, bool):
        return "on" if value else "off"
    return str(list(value)) if isinstance(value, tuple) else str(value)


class _Default:
    """A default factory that names itself in a command's help."""

    def __init__(self, value: Any) -> None:
        self.value = value
        self.__name__ = "by preset"

    def __call__(self) -> Any:
        return self.value


def by_preset(*, smoke: Any, base: Any, large: Any, description: str, **constraints: Any) -> Any:
    """A pydantic field whose value follows the preset unless it is given; bounds go into `constraints`."""
    values = {Preset.SMOKE.value: smoke, Preset.BASE.value: base, Preset.LARGE.value: large}
    shown = ", ".join(f"{name} {_shown(value)}" for name, value in values.items())
    return Field(
        default_factory=_Default(base),
        description=f"{description} By preset: {shown}.",
        json_schema_extra={_PRESETS: values, **({"default": None} if isinstance(base, bool) else {})},
        **constraints,
    )


def is_by_preset(field: FieldInfo) -> bool:
    """True for a field that was declared with `by_preset`."""
    return isinstance(field.json_schema_extra, Mapping) and _PRESETS in field.json_schema_extra


def _title(name: str, field: FieldInfo | ComputedFieldInfo) -> str:
    """What a form calls a field: `stall_timeout_s` is "Stall timeout (s)"."""
    *words, last = [word.upper() if word in _ACRONYMS else word for word in name.split("_")]
    title = " ".join([*words, f"({last})" if last in _UNITS and words else last])
    return title[0].upper() + title[1:]


class Settings(BaseModel):
    """Settings of one stage: made once, checked when made, never changed."""

    model_config = ConfigDict(frozen=True, extra="forbid", field_title_generator=_title)

    @classmethod
    def for_preset(cls, preset: Preset | str, **given: Any) -> Self:
        """These settings as `preset` has them, with the given values on top."""
        return cls.model_validate(fill_from_preset(cls, given, Preset(preset)))


class PresetSettings(Settings):
    """Settings with a `preset` field of their own, which fills in whatever is not given, nested settings too."""

    preset: Preset = Field(
        default=Preset.BASE,
        description="How much work: smoke (minutes on two cores), base (hours on one GPU), large (days). "
        "Every other field overrides it.",
    )

    @model_validator(mode="before")
    @classmethod
    def _fill(cls, data: Any) -> Any:
        if not isinstance(data, Mapping):
            return data
        chosen = data.get("preset") or cls.model_fields["preset"].default
        if chosen not in set(Preset):
            return data  # pydantic names the wrong choice itself
        return fill_from_preset(cls, {**data, "preset": chosen}, Preset(chosen))


def fill_from_preset(model: type[BaseModel], given: Mapping[str, Any], preset: Preset) -> dict[str, Any]:
    """`given` plus the preset's values for every field that is absent or None, nested `Settings` included."""
    filled = dict(given)
    for name, field in model.model_fields.items():
        value = filled.get(name)
        if value is None and is_by_preset(field):
            presets: Any = field.json_schema_extra
            filled[name] = presets[_PRESETS][preset.value]
        elif _is_nested(field) and (value is None or isinstance(value, Mapping)):
            filled[name] = fill_from_preset(cast(type[BaseModel], field.annotation), value or {}, preset)
    return filled


def _is_nested(field: FieldInfo) -> bool:
    return isinstance(field.annotation, type) and issubclass(field.annotation, Settings)
