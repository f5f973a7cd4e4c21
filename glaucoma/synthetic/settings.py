"""What a generated archive holds."""

from __future__ import annotations

from enum import StrEnum
from typing import Self

from pydantic import Field, model_validator

from glaucoma.settings import Settings, by_preset


class SyntheticLayout(StrEnum):
    """How the archive lies on disk; each is a layout that `normalize` recognises by itself."""

    REFUGE = "refuge"
    """Given splits with a change of camera between them, inverted BMP masks, labels in .xlsx files."""
    CLASS_FOLDERS = "class_folders"
    """A folder per class, no masks; names carry patient and eye."""
    IMAGES_MASKS = "images_masks"
    """`images/`, `masks/` (0/1/2) and `labels.csv`: all that ARC can use."""
    ACRIMA = "acrima"
    """Photographs cropped to the disc, the label in the file's name, no masks, no patients."""


_WITHOUT_SUSPECTS = frozenset({SyntheticLayout.REFUGE, SyntheticLayout.ACRIMA})


class SyntheticSettings(Settings):
    """How many patients, how ill, photographed where, and how the archive is laid out."""

    patients: int = by_preset(
        smoke=80, base=300, large=1500, ge=1, le=9999, description="Patients; two photographs each, one of each eye."
    )
    glaucoma_share: float = Field(
        default=0.4, ge=0, le=1, description="Share of patients with glaucoma; one in eight of them in one eye only."
    )
    suspect_share: float = Field(
        default=0.0, ge=0, le=1, description="Share of patients labelled suspect: a vertical CDR between the classes."
    )
    sites: int = Field(
        default=2, ge=1, le=4, description="Hospitals, each with its own camera: colour, pixels, field, sharpness."
    )
    layout: SyntheticLayout = Field(default=SyntheticLayout.IMAGES_MASKS, description="How the archive lies on disk.")
    photo_height_px: int = by_preset(
        smoke=480,
        base=1200,
        large=2056,
        ge=96,
        le=4096,
        description="Height of the first site's photographs; the other sites' are a fixed share of it.",
    )
    seed: int = Field(default=0, ge=0, le=2**32 - 1, description="The same settings and seed give the same bytes.")

    @model_validator(mode="after")
    def _shares_fit(self) -> Self:
        if self.glaucoma_share + self.suspect_share > 1:
            raise ValueError(
                f"glaucoma_share {self.glaucoma_share} and suspect_share {self.suspect_share} are more than 1 together"
            )
        if self.suspect_share and self.layout in _WITHOUT_SUSPECTS:
            raise ValueError(
                f"the layout {self.layout.value} has no word for a suspect: "
                "set suspect_share to 0, or take class_folders or images_masks"
            )
        return self
