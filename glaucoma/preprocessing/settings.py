"""What the user may choose about preprocessing: a chain of typed steps, and the rules of its order.

Crops come first, then the one resize; steps that change intensities may stand anywhere. Crops only choose a square of
the photograph, so however many there are, its pixels are resampled once.
"""

from __future__ import annotations

from collections import Counter
from enum import StrEnum
from itertools import pairwise
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, field_validator

from glaucoma.settings import Settings, by_preset


class _OneStep(Settings):
    """The base of all steps: a form must say which kind it sends, for the kind decides how the rest is read."""

    model_config = ConfigDict(json_schema_extra={"required": ["kind"]})


class FieldCrop(_OneStep):
    """Cut the photograph down to the square around its field of view; without it the whole photograph is kept."""

    kind: Literal["field_crop"] = "field_crop"


class CentreCrop(_OneStep):
    """Narrow the square, half at each edge, in photographs with a round field (whole retinas), not in disc crops."""

    kind: Literal["centre_crop"] = "centre_crop"
    share: float = Field(default=0.1, ge=0.0, le=0.5, description="Share of the square's side that is removed.")


class WithoutDisc(StrEnum):
    """What becomes of a photograph in which no disc is known."""

    SET_ASIDE = "set_aside"
    KEEP = "keep"
    """It keeps the square that the steps before gave it."""


class DiscCrop(_OneStep):
    """Cut the photograph down to a square around the optic disc."""

    kind: Literal["disc_crop"] = "disc_crop"
    experiment: str | None = Field(
        default=None,
        min_length=1,
        description="Id of a trained segmentation experiment that marks the disc, in every photograph. Empty: the "
        "dataset's masks.",
    )
    side_disc_diameters: float = Field(
        default=2.0, ge=1.0, le=10.0, description="Side of the square, in diameters of the disc (its longer one)."
    )
    without_disc: WithoutDisc = Field(
        default=WithoutDisc.SET_ASIDE,
        description="A photograph without a known disc: set it aside, or keep it with the square of the steps before.",
    )


class Interpolation(StrEnum):
    """How pixels are resampled."""

    AREA = "area"
    """Mean of all pixels that fall into one; cubic where the picture is enlarged."""
    LINEAR = "linear"
    CUBIC = "cubic"
    LANCZOS = "lanczos"


class Resize(_OneStep):
    """Resample the square to `image_size_px`; masks by their nearest pixel."""

    kind: Literal["resize"] = "resize"
    interpolation: Interpolation = Field(
        default=Interpolation.AREA, description="area averages when shrinking; the others skip pixels and alias."
    )


class ClaheChannel(StrEnum):
    """Which channel contrast-limited adaptive histogram equalisation works on."""

    GREEN = "green"
    """The green channel, where vessels and the cup's edge show best; red and blue stay as they are."""
    LIGHTNESS = "lightness"
    """L of CIE LAB: contrast rises, hue stays."""


class Clahe(_OneStep):
    """Local contrast: contrast-limited adaptive histogram equalisation inside the field of view."""

    kind: Literal["clahe"] = "clahe"
    channel: ClaheChannel = Field(default=ClaheChannel.GREEN, description="The green channel, or lightness (LAB).")
    clip_limit: float = Field(default=2.0, gt=0.0, le=40.0, description="Higher is stronger.")
    tiles: int = Field(default=8, ge=1, le=64, description="Tiles along each side.")


class NormaliseMethod(StrEnum):
    """How the intensities of one photograph are brought to a common footing; statistics are those of the field."""

    STRETCH = "stretch"
    """One line for all channels from the 0.5 and 99.5 % points to 0 and 255: brightness and contrast, hue stays."""
    GREY_WORLD = "grey_world"
    """Each channel gets the same mean: takes a camera's colour cast away (Buchsbaum 1980)."""
    LOCAL_MEAN = "local_mean"
    """Four times the difference from the local mean, around 128: evens out illumination (Graham 2015)."""


class Normalise(_OneStep):
    """Normalise intensities inside the field of view."""

    kind: Literal["normalise"] = "normalise"
    method: NormaliseMethod = Field(
        default=NormaliseMethod.STRETCH,
        description="stretch: brightness and contrast; grey_world: colour cast; local_mean: uneven illumination.",
    )


Crop = FieldCrop | CentreCrop | DiscCrop
Intensity = Clahe | Normalise
Step = FieldCrop | CentreCrop | DiscCrop | Resize | Clahe | Normalise
KINDS: tuple[type[Step], ...] = (FieldCrop, CentreCrop, DiscCrop, Resize, Clahe, Normalise)
DEFAULT_STEPS: tuple[Step, ...] = (FieldCrop(), CentreCrop(), Resize(), Clahe())
_ORDER = ("field_crop", "centre_crop", "disc_crop", "resize")


def _kinds_in_words() -> str:
    """Every kind with the names of its settings, for the command's help, which cannot show them otherwise."""
    words = []
    for model in KINDS:
        names = [name for name in model.model_fields if name != "kind"]
        words.append(str(model.model_fields["kind"].default) + (f" ({', '.join(names)})" if names else ""))
    return ", ".join(words)


class PreprocessSettings(Settings):
    """Settings of `preprocess`. The number of threads is no setting: it changes no pixel."""

    image_size_px: int = by_preset(
        smoke=512, base=512, large=768, description="Side of the square prepared picture, in pixels.", ge=64, le=2048
    )
    steps: tuple[Annotated[Step, Field(discriminator="kind")], ...] = Field(
        default=DEFAULT_STEPS,
        description="What is done to each photograph, in this order; a JSON list of objects, each with its kind and "
        f"any of its settings. Kinds: {_kinds_in_words()}. Crops stand before the one resize.",
    )
    max_set_aside_share: float = Field(
        default=0.1, ge=0.0, lt=1.0, description="Share of images that may be set aside before the stage fails."
    )

    @property
    def disc_crop(self) -> DiscCrop | None:
        """The step that cuts around the disc, where there is one."""
        return next((step for step in self.steps if isinstance(step, DiscCrop)), None)

    @field_validator("steps")
    @classmethod
    def _in_order(cls, steps: tuple[Step, ...]) -> tuple[Step, ...]:
        problems = [*_repeated(steps), *_misplaced([step.kind for step in steps if step.kind in _ORDER])]
        if problems:
            raise ValueError("; ".join(problems))
        return steps


def _repeated(steps: tuple[Step, ...]) -> list[str]:
    """A step twice would do nothing the second time, or too much."""
    names = Counter(f"{step.kind} by {step.method}" if isinstance(step, Normalise) else step.kind for step in steps)
    return [f"{name} stands {count} times; once is allowed" for name, count in names.items() if count > 1]


def _misplaced(kinds: list[str]) -> list[str]:
    """What is wrong with the order of crops and resize."""
    if "resize" not in kinds:
        return ["the chain has no resize, which brings every photograph to image_size_px"]
    wrong = []
    for earlier, later in pairwise(kinds):
        if _ORDER.index(later) >= _ORDER.index(earlier):
            continue
        why = "pixels are resampled once, after all crops" if earlier == "resize" else f"it would undo {earlier}"
        wrong.append(f"{later} stands after {earlier}: {why}; the order is {', '.join(_ORDER)}")
    return wrong
