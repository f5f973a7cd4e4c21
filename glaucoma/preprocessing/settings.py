"""What the user may choose about preprocessing."""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field

from glaucoma.settings import Settings, by_preset


class Clahe(StrEnum):
    """Which channel contrast-limited adaptive histogram equalisation (CLAHE) works on."""

    GREEN = "green"
    """The green channel, where vessels and the cup's edge show best; red and blue stay as they are."""
    LIGHTNESS = "lightness"
    """L of CIE LAB: contrast rises, hue stays."""
    NONE = "none"


class PreprocessSettings(Settings):
    """Settings of `preprocess`. The number of threads is no setting: it changes no pixel."""

    image_size_px: int = by_preset(
        smoke=512, base=512, large=768, description="Side of the square prepared picture, in pixels.", ge=64, le=2048
    )
    crop_to_field: bool = Field(
        default=True, description="Cut a photograph down to the square around its field of view; false keeps all of it."
    )
    centre_crop_share: float = Field(
        default=0.1,
        ge=0.0,
        le=0.5,
        description="Share of that square's side that is removed, half at each edge, from photographs with a round "
        "field (whole retinas). Crops around the disc are not narrowed.",
    )
    clahe: Clahe = Field(default=Clahe.GREEN, description="Local contrast: green channel, lightness, or none.")
    clahe_clip_limit: float = Field(default=2.0, gt=0.0, le=40.0, description="CLAHE's clip limit; higher is stronger.")
    clahe_tiles: int = Field(default=8, ge=1, le=64, description="CLAHE's tiles along each side.")
    max_set_aside_share: float = Field(
        default=0.1, ge=0.0, lt=1.0, description="Share of images that may be set aside before the stage fails."
    )
