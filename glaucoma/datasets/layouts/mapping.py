"""A layout described in a small YAML file: what it may say, and how it is read, bounded and checked."""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import yaml
from pydantic import BaseModel, Field, ValidationError, field_validator, model_validator

from glaucoma.datasets.layouts.patterns import Pattern
from glaucoma.errors import SettingsError
from glaucoma.schema import Label, SourcePart, Split
from glaucoma.settings import Settings

PLACES: Final = frozenset(["label", "patient", "eye", "site", "split"])
"""Named places in a pattern of photographs."""
STEM: Final = "stem"
"""The named place, in a pattern of masks, for the photograph's file name without its ending."""
HOW_TO: Final = "docs/how-to/describe-your-own-layout.md"
_MAX_BYTES = 64 * 1024
_MAX_DEPTH = 8
_MAX_EVENTS = 20_000


class TableColumns(Settings):
    """Headings of a table's columns, as the table writes them."""

    image: str = Field(
        default="", description="Names the photograph: its path or an end of it, with or without ending."
    )
    patient: str = Field(
        default="", description="Names the patient; the key of the table where it has no image column."
    )
    eye: str = Field(default="", description="OD or OS, right or left.")
    label: str = Field(default="", description="The diagnosis, in the words of `labels` or the usual ones.")
    site: str = Field(default="", description="Hospital or camera.")
    split: str = Field(default="", description="Train, val or test, in the words of `splits` or the usual ones.")
    stated_vertical_cdr: str = Field(default="", description="Vertical cup-to-disc ratio, 0 to 1.")
    age_years: str = Field(default="", description="Age.")
    iop_mmhg: str = Field(default="", description="Intraocular pressure.")
    stated_quality: str = Field(default="", description="Word or score for the image's quality.")

    @model_validator(mode="after")
    def _names_something(self) -> TableColumns:
        if not (self.image or self.patient):
            raise ValueError("a table needs an image column, or a patient column to be found by")
        return self


class TableMapping(Settings):
    """A table that says more of the photographs."""

    file: str = Field(description="Pattern of its path: `labels.xlsx`, `**/info*.csv`.")
    sheet: str = Field(default="", description="Name of an Excel sheet; empty: the first.")
    columns: TableColumns = Field(description="Which column says what.")

    @field_validator("file")
    @classmethod
    def _is_a_pattern(cls, value: str) -> str:
        Pattern.of(value, ())
        return value


class MaskValues(Settings):
    """Grey values of a mask file."""

    disc: tuple[int, ...] = Field(description="Of the disc outside the cup (the rim).", max_length=256)
    cup: tuple[int, ...] = Field(
        default=(), description="Of the cup; none: the masks say nothing of cups.", max_length=256
    )

    @field_validator("disc", "cup", mode="before")
    @classmethod
    def _one_or_more(cls, value: object) -> object:
        return (value,) if isinstance(value, str | int) else value

    @model_validator(mode="after")
    def _are_grey_values(self) -> MaskValues:
        both = [*self.disc, *self.cup]
        if not self.disc or any(not 0 <= value <= 255 for value in both) or len(set(both)) < len(both):
            raise ValueError("grey values lie from 0 to 255, at least one is the disc's, and none stands twice")
        return self


class MaskMapping(Settings):
    """Where masks lie: one file a photograph, or one for the disc and one for the cup."""

    file: str = Field(
        default="", description="Pattern of the mask of disc and cup, with {stem} and the images' places."
    )
    values: MaskValues | None = Field(default=None, description="Grey values in `file`; empty: by the usual rules.")
    disc: str = Field(default="", description="Pattern of the disc's file.")
    cup: str = Field(default="", description="Pattern of the cup's file.")
    threshold: float | None = Field(
        default=None,
        gt=0.0,
        le=1.0,
        description="Share of 255 from which a pixel of `disc` or `cup` counts (soft maps).",
    )
    inverted: bool = Field(default=False, description="The structure is dark in `disc` and `cup`; needs a threshold.")

    @model_validator(mode="after")
    def _fits_together(self) -> MaskMapping:
        for text in (self.file, self.disc, self.cup):
            if text:
                Pattern.of(text, {*PLACES, STEM})
        if bool(self.file) == bool(self.disc):
            raise ValueError("masks need either `file`, or `disc` (and perhaps `cup`)")
        if self.file and (self.cup or self.threshold is not None or self.inverted):
            raise ValueError("`cup`, `threshold` and `inverted` go with `disc`, not with `file`")
        if self.disc and self.values is not None:
            raise ValueError("`values` go with `file`, not with `disc`")
        if self.inverted and self.threshold is None:
            raise ValueError("`inverted` needs a `threshold`: without one the border tells which value is background")
        return self


class LayoutMapping(Settings):
    """How a dataset lies on disk. Patterns match the end of a path, in any letter case."""

    images: tuple[str, ...] = Field(
        description="Patterns of the photographs: text, * for anything in a name, ** for any folders, and the named "
        "places {label}, {patient}, {eye}, {site}, {split}. The first that matches counts.",
        min_length=1,
        max_length=32,
    )
    exclude: tuple[str, ...] = Field(
        default=(), description="Patterns of images that are no photographs.", max_length=32
    )
    label: Label | None = Field(default=None, description="The label of every photograph, where they have but one.")
    labels: dict[str, Label] = Field(
        default_factory=dict, description="The source's word -> normal, glaucoma, suspect or unknown.", max_length=1000
    )
    splits: dict[str, Split] = Field(default_factory=dict, description="The source's word -> train, val or test.")
    site: str = Field(default="", description="The site of every photograph, where nothing else tells.")
    origin: str = Field(default="", description="What the dataset is called; kept when datasets are merged.")
    stereo_half: SourcePart = Field(
        default=SourcePart.WHOLE, description="left or right: the half of each side-by-side file that is taken."
    )
    table: TableMapping | None = Field(default=None, description="A table that says more.")
    masks: MaskMapping | None = Field(default=None, description="Where masks lie.")

    @field_validator("images", "exclude", mode="before")
    @classmethod
    def _one_or_more(cls, value: object) -> object:
        return (value,) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _patterns_are_good(self) -> LayoutMapping:
        for text in self.images:
            Pattern.of(text, PLACES)
        for text in self.exclude:
            Pattern.of(text, ())
        return self


def read_mapping(path: Path) -> tuple[LayoutMapping, str]:
    """The mapping in the YAML file at `path`, and the SHA-256 of its bytes.

    Every value is text until the mapping's own types make more of it, so `no`, `1` and `on` stay words.

    Raises:
        SettingsError: No such file, longer than 64 KB, no YAML, aliases or tags or a key twice in it, or something that
            the mapping does not know; every problem is named.
    """
    try:
        with path.open("rb") as handle:
            content = handle.read(_MAX_BYTES + 1)
    except OSError as error:
        raise _refused(path, error.strerror or str(error)) from error
    if len(content) > _MAX_BYTES:
        raise _refused(path, f"it is longer than {_MAX_BYTES} bytes")
    try:
        value = _parsed(content.decode("utf-8-sig"))
        return LayoutMapping.model_validate(value), hashlib.sha256(content).hexdigest()
    except ValidationError as error:
        raise _refused(path, "; ".join(_sentences(error))) from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise _refused(path, " ".join(str(error).split())[:400]) from error


def _refused(path: Path, reason: str) -> SettingsError:
    return SettingsError(
        f"The mapping {path} cannot be used: {reason}",
        expected=f"a YAML file with {', '.join(LayoutMapping.model_fields)}",
        consequence="Nothing was read",
        remedy=f"see {HOW_TO}",
    )


def _parsed(text: str) -> object:
    """YAML's lists, mappings and texts; `ValueError` for whatever could grow, nest or hide."""
    depth = 0
    for number, event in enumerate(yaml.parse(text, Loader=yaml.SafeLoader)):
        if isinstance(event, yaml.AliasEvent):
            raise yaml.YAMLError("it uses an alias (*name)")
        if tag := getattr(event, "tag", None):
            raise ValueError(f"it uses the tag {tag}")
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > _MAX_DEPTH or number > _MAX_EVENTS:
            raise ValueError("it nests too deep or is too long")
    node = yaml.compose(text, Loader=yaml.SafeLoader)
    return {} if node is None else _value(node)


def _value(node: yaml.Node) -> object:
    if isinstance(node, yaml.MappingNode):
        found: dict[str, object] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.YAMLError("a key is a list or a mapping (a pattern that begins with a brace needs quotes)")
            if key.value in found:
                raise ValueError(f"the key {key.value!r} stands twice")
            found[str(key.value)] = _value(value)
        return found
    if isinstance(node, yaml.SequenceNode):
        return [_value(item) for item in node.value]
    return str(node.value)


def _sentences(error: ValidationError) -> list[str]:
    found = []
    for problem in error.errors(include_url=False):
        where = ".".join(str(part) for part in problem["loc"]) or "the mapping"
        if problem["type"] == "extra_forbidden":
            known = _keys_at(problem["loc"][:-1])
            near = difflib.get_close_matches(str(problem["loc"][-1]), known, n=1, cutoff=0.5)
            hint = f"; did you mean {near[0]}?" if near else f"; known are {', '.join(known)}"
            found.append(f"{where} is no key{hint}")
        else:
            found.append(f"{where}: {problem['msg'].removeprefix('Value error, ')}")
    return found


def _keys_at(place: Sequence[object]) -> list[str]:
    """The keys that the mapping knows at a place in it."""
    models: dict[tuple[object, ...], type[BaseModel]] = {
        (): LayoutMapping,
        ("table",): TableMapping,
        ("table", "columns"): TableColumns,
        ("masks",): MaskMapping,
        ("masks", "values"): MaskValues,
    }
    model = models.get(tuple(place))
    return list(model.model_fields) if model else []
