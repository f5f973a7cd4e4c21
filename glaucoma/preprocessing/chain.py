"""The chain of steps on one photograph: crops choose a square, one resize makes it, intensities change in between."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import assert_never

import cv2
import numpy as np
from numpy.typing import NDArray

from glaucoma.datasets.field_of_view import FieldOfView, find_field
from glaucoma.errors import ArcError
from glaucoma.preprocessing.disc import Box, NoDiscError
from glaucoma.preprocessing.geometry import (
    Geometry,
    cut,
    narrowed,
    square_around,
    square_around_disc,
    whole_square,
)
from glaucoma.preprocessing.intensity import equalise, normalise
from glaucoma.preprocessing.resample import draw_field, resize_photograph
from glaucoma.preprocessing.settings import (
    CentreCrop,
    Clahe,
    DiscCrop,
    FieldCrop,
    Intensity,
    Normalise,
    PreprocessSettings,
    Resize,
    Step,
    WithoutDisc,
)

Pixels = NDArray[np.uint8]


class StepError(Exception):
    """A step failed on this photograph; the sentence is the reason for setting it aside."""


@dataclass(frozen=True)
class Made:
    """What the chain makes of a photograph.

    Attributes:
        picture: RGB uint8 (S, S, 3), black outside the field.
        inside: 1 in the field of view, 0 outside, uint8 (S, S).
        geometry: The way back to the photograph's pixels.
        no_disc: Why a crop around the disc was asked for and not made; None where it was, or was not asked for.
    """

    picture: Pixels
    inside: Pixels
    geometry: Geometry
    no_disc: str | None = None


def run_chain(
    photograph: Pixels, field: FieldOfView, settings: PreprocessSettings, locate_disc: Callable[[], Box]
) -> Made:
    """Runs the steps on an RGB photograph (H, W, 3) uint8.

    Args:
        locate_disc: Gives the disc's box or raises `NoDiscError`; called where a step asks for it.

    Raises:
        NoDiscError: No disc is known, and photographs without one are to be set aside.
        StepError: A step failed, for whatever reason.
    """
    run = _Run(photograph, field, settings.image_size_px, locate_disc)
    for step in settings.steps:
        try:
            run.take(step)
        except (ArcError, NoDiscError):
            raise
        except Exception as error:  # whatever one photograph does to a step, the others go on
            why = " ".join(str(error).split())[:200]
            raise StepError(f"the step {step.kind} failed ({type(error).__name__}: {why})") from error
    return run.made()


def prepared_picture(photograph: Pixels, settings: PreprocessSettings) -> tuple[Pixels, Geometry]:
    """What `settings` make of one RGB photograph outside a dataset, as a trained model wants it, and the way back.

    Raises:
        NoFieldError: Nothing is lit.
        NoDiscError: A crop around the disc is asked for: nobody has marked it here.
        StepError: A step failed.
    """

    def nobody() -> Box:
        raise NoDiscError("nothing marks the disc of a photograph outside a dataset")

    made = run_chain(photograph, find_field(photograph), settings, nobody)
    return made.picture, made.geometry


class _Run:
    """One photograph on its way: what is computed so far, and the square that the crops have chosen."""

    def __init__(self, photograph: Pixels, field: FieldOfView, size_px: int, locate_disc: Callable[[], Box]) -> None:
        self._picture = photograph
        self._shown: Geometry | None = None  # what the picture shows; None: all of the photograph
        self._square = whole_square(*photograph.shape[:2])
        self._field = field
        self._size_px = size_px
        self._locate_disc = locate_disc
        self._inside: Pixels | None = None
        self._no_disc: str | None = None

    def take(self, step: Step) -> None:
        if isinstance(step, FieldCrop):
            self._square = square_around(self._field)
        elif isinstance(step, CentreCrop):
            self._square = narrowed(self._square, step.share) if self._field.is_round else self._square
        elif isinstance(step, DiscCrop):
            self._crop_to_disc(step)
        elif isinstance(step, Resize):
            self._picture = resize_photograph(self._cut(), self._size_px, step.interpolation)
            self._shown = self._square = self._square.scaled_to(self._size_px)
            self._inside = None
        else:
            self._change(step)

    def made(self) -> Made:
        inside = self._field_here()
        black = np.zeros_like(self._picture)
        return Made(cv2.copyTo(self._picture, inside, black), inside, self._square, self._no_disc)

    def _crop_to_disc(self, step: DiscCrop) -> None:
        try:
            self._square = square_around_disc(self._locate_disc(), step.side_disc_diameters)
        except NoDiscError as error:
            if step.without_disc is WithoutDisc.SET_ASIDE:
                raise
            self._no_disc = str(error)

    def _change(self, step: Intensity) -> None:
        self._picture = self._cut()
        self._shown = self._square
        inside = self._field_here()
        if isinstance(step, Clahe):
            self._picture = equalise(self._picture, inside, step)
        elif isinstance(step, Normalise):
            left, top, right, bottom = self._field.box
            radius = max(right - left, bottom - top) / 2 * self._square.scale
            self._picture = normalise(self._picture, inside, step, field_radius_px=radius)
        else:
            assert_never(step)

    def _cut(self) -> Pixels:
        """The chosen square of what is computed so far."""
        if self._shown == self._square:
            return self._picture
        self._inside = None
        shown = self._shown or Geometry(0, 0, 0)
        return cut(
            self._picture,
            Geometry(self._square.x_px - shown.x_px, self._square.y_px - shown.y_px, self._square.side_px),
        )

    def _field_here(self) -> Pixels:
        if self._inside is None:
            self._inside = draw_field(self._field, self._square, self._picture.shape[0])
        return self._inside
